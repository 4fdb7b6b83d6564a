"""Constraints on the rows of a table: ranges, orders, combinations, uniqueness, and what never occurs together.

Draws that break one are drawn again.
"""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from jaxtyping import Bool, Float

from reparax.summary import Column

EXPECTED_TOGETHER = 30.0
"""Two states never occur together if no row has both, and this many would if they were independent."""
FEWEST_IN_STATE = 30
MOST_STATES = 20
"""The most frequent states of a column are looked at."""
MOST_FOUND = 500
SEARCHED_ROWS = 20_000
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""The relative difference of numbers that are one when stored in float32."""
MOST_COLUMNS = 100


class Within(msgspec.Struct, frozen=True, tag="within"):
    """A number is not below a bound, nor above another.

    Attributes:
        column: The name of the column.
        low: The lower bound; None for none.
        high: The upper bound; None for none.
        stated: Whether the user stated it.
    """

    column: str
    low: float | None = None
    high: float | None = None
    stated: bool = True

    def __str__(self) -> str:
        low = [f"from {self.low:g}"] if self.low is not None else []
        high = [f"up to {self.high:g}"] if self.high is not None else []
        return f"{self.column} is {' '.join([*low, *high])}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it concerns."""
        return (self.column,)

    def holds(self, cells: Float[np.ndarray, "n 1"]) -> Bool[np.ndarray, " n"]:
        """In which rows it holds; true where the cell is missing."""
        low, high = (-np.inf if self.low is None else self.low), (np.inf if self.high is None else self.high)
        return ~((cells[:, 0] < low) | (cells[:, 0] > high))


class Ordered(msgspec.Struct, frozen=True, tag="ordered"):
    """A number is not below that of another column.

    Attributes:
        column: The name of the column.
        parent: The name of the other one.
        stated: Whether the user stated it.
    """

    column: str
    parent: str
    stated: bool = False

    def __str__(self) -> str:
        return f"{self.column} is not below {self.parent}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it concerns."""
        return (self.column, self.parent)

    def holds(self, cells: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """In which rows it holds."""
        return ~(cells[:, 0] < cells[:, 1])


class Combined(msgspec.Struct, frozen=True, tag="combined"):
    """Categories occur together only in the combinations of the data.

    Attributes:
        columns: The names of the columns.
        allowed: The combinations of their codes.
        stated: Whether the user stated it.
    """

    columns: tuple[str, ...]
    allowed: tuple[tuple[int, ...], ...]
    stated: bool = True

    def __str__(self) -> str:
        return f"{' and '.join(self.columns)} occur in the combinations of the data"

    def holds(self, cells: Float[np.ndarray, "n k"]) -> Bool[np.ndarray, " n"]:
        """In which rows it holds; true where a cell is missing."""
        missing = np.asarray(np.isnan(cells).any(axis=1))
        codes = np.where(missing[:, None], 0, cells).astype(np.int64)
        together = np.concatenate([np.asarray(self.allowed, np.int64).reshape(-1, codes.shape[1]), codes])
        _, inverse = np.unique(together, axis=0, return_inverse=True)
        inverse = np.ravel(inverse)
        return missing | np.isin(inverse[len(self.allowed) :], inverse[: len(self.allowed)])


class Unique(msgspec.Struct, frozen=True, tag="unique"):
    """No two rows have the same values in some columns.

    Attributes:
        columns: The names of the columns.
        stated: Whether the user stated it.
    """

    columns: tuple[str, ...]
    stated: bool = True

    def __str__(self) -> str:
        return f"{' and '.join(self.columns)} {'is' if len(self.columns) == 1 else 'are'} different in every row"

    def holds(self, cells: Float[np.ndarray, "n k"]) -> Bool[np.ndarray, " n"]:
        """Which rows are the first with their values; true where a cell is missing."""
        held = np.asarray(np.isnan(cells).any(axis=1))
        complete = np.flatnonzero(~held)
        _, first = np.unique(cells[complete], axis=0, return_index=True)
        held[complete[first]] = True
        return held


class Never(msgspec.Struct, frozen=True, tag="never"):
    """Two cells are never in two states at once: a tip that is not 0, paid in cash.

    Attributes:
        columns: The names of the two columns.
        values: The value of each state; None for a missing cell.
        others: Whether a state is any other value than that.
        stated: Whether the user stated it.
    """

    columns: tuple[str, str]
    values: tuple[float | None, float | None]
    others: tuple[bool, bool] = (False, False)
    stated: bool = False

    def __str__(self) -> str:
        return f"some values of {self.columns[0]} and {self.columns[1]} never occur together"

    def holds(self, cells: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """In which rows it holds."""
        first, second = (in_state(cells[:, place], self.values[place], other=self.others[place]) for place in (0, 1))
        return ~(first & second)


Constraint = Within | Ordered | Combined | Unique | Never


def in_state(x: Float[np.ndarray, " n"], value: float | None, *, other: bool) -> Bool[np.ndarray, " n"]:
    """Which cells have a value, or any other one; of None, which are missing, or not."""
    if value is None:
        return np.isnan(x) != other
    equal = np.abs(x - value) <= ROUNDING * abs(value)
    return ~equal & ~np.isnan(x) if other else equal


def in_words(constraint: Constraint, columns: Sequence[Column]) -> str:
    """A constraint with the names of the categories that it concerns."""
    if not isinstance(constraint, Never):
        return str(constraint)
    known = {column.name: column for column in columns}
    parts = [
        _state_in_words(known[name], value, other=other)
        for name, value, other in zip(constraint.columns, constraint.values, constraint.others, strict=True)
    ]
    return f"never {' with '.join(parts)}"


def _state_in_words(column: Column, value: float | None, *, other: bool) -> str:
    if value is None:
        return f"{column.name} {'given' if other else 'missing'}"
    text = str(column.categories[int(value)]) if column.is_category else f"{value:g}"
    return f"{column.name} {'other than ' if other else ''}{text}"


def held(
    constraints: Sequence[Constraint], columns: Sequence[Column], values: Float[np.ndarray, "n d"]
) -> Bool[np.ndarray, "n c"]:
    """Whether each constraint holds in each row."""
    places = {column.name: place for place, column in enumerate(columns)}
    result = np.ones((len(values), len(constraints)), bool)
    for index, constraint in enumerate(constraints):
        cells = np.asarray(values[:, [places[name] for name in constraint.columns]], np.float64)
        result[:, index] = constraint.holds(cells)
    return result


def find_constraints(
    values: Float[np.ndarray, "n d"], columns: Sequence[Column], tied: Sequence[frozenset[str]] = ()
) -> tuple[Constraint, ...]:
    """What never occurs together in any row although it would, were the columns independent.

    The states of a cell are to be missing, to have one of the most frequent categories or shared numbers, and for
    numbers with one that very many rows share, to have another one.

    Args:
        values: The rows of a table, NaN where missing.
        columns: Its columns.
        tied: Columns with a relation between them, which is not repeated.
    """
    values = np.asarray(values, np.float64)
    if not 2 <= len(columns) <= MOST_COLUMNS:
        return ()
    states = list(_states(values, columns))
    if not states:
        return ()
    some = np.random.default_rng(0).permutation(len(values))[:SEARCHED_ROWS]
    indicators = np.stack([in_state(values[some, place], value, other=other) for place, value, other in states], axis=1)
    counts = indicators.sum(axis=0, dtype=np.float64)
    together = indicators.T.astype(np.float32) @ indicators.astype(np.float32)
    expected = np.outer(counts, counts) / len(some)
    found = []
    for first, second in np.argwhere(np.triu((together == 0) & (expected >= EXPECTED_TOGETHER), 1)):
        (a, of_a, other_a), (b, of_b, other_b) = states[first], states[second]
        if a == b or frozenset((columns[a].name, columns[b].name)) in tied:
            continue
        never = Never((columns[a].name, columns[b].name), (of_a, of_b), (other_a, other_b))
        if bool(never.holds(values[:, [a, b]]).all()):
            found.append((float(expected[first, second]), never))
    found.sort(key=lambda pair: -pair[0])
    return tuple(_without_implied([never for _, never in found])[:MOST_FOUND])


def _without_implied(found: Sequence[Never]) -> list[Never]:
    """What is not said already by another one, of any other value than one."""
    general = {(one.columns, one.values[1]) for one in found if one.others == (True, False)}
    general |= {(one.columns, one.values[0]) for one in found if one.others == (False, True)}
    kept = []
    for one in found:
        plain = one.others == (False, False)
        if not (plain and ((one.columns, one.values[1]) in general or (one.columns, one.values[0]) in general)):
            kept.append(one)
    return kept


def _states(values: Float[np.ndarray, "n d"], columns: Sequence[Column]) -> Iterator[tuple[int, float | None, bool]]:
    """The states of each column that enough rows are in, and enough are not."""
    for place, column in enumerate(columns):
        missing = int(np.isnan(values[:, place]).sum())
        if min(missing, len(values) - missing) >= FEWEST_IN_STATE:
            yield place, None, False
            yield place, None, True
        if column.kind == "datetime":
            continue
        fractions = column.category_fractions if column.is_category else column.spike_fractions
        levels = range(len(column.categories)) if column.is_category else column.spikes
        present = len(values) - missing
        frequent = sorted(zip(fractions, levels, strict=True), key=lambda pair: -pair[0])[:MOST_STATES]
        for fraction, level in frequent:
            if fraction * present >= FEWEST_IN_STATE:
                yield place, float(level), False
        if not column.is_category and frequent and (1 - frequent[0][0]) * present >= FEWEST_IN_STATE:
            yield place, float(frequent[0][1]), True


def combinations_of(names: tuple[str, ...], values: Float[np.ndarray, "n d"], columns: Sequence[Column]) -> Combined:
    """The combinations of codes in the rows without missing cells."""
    places = {column.name: place for place, column in enumerate(columns)}
    cells = values[:, [places[name] for name in names]]
    codes = np.unique(cells[~np.isnan(cells).any(axis=1)].astype(np.int64), axis=0)
    return Combined(names, tuple(tuple(map(int, row)) for row in codes))


def check_constraints(constraints: Sequence[Constraint], columns: Sequence[Column]) -> None:
    """Checks that constraints are on known columns.

    Raises:
        ValueError: They are not.
    """
    known = {column.name for column in columns}
    unknown = {name for constraint in constraints for name in constraint.columns} - known
    if unknown:
        raise ValueError(f"a constraint on unknown columns: {', '.join(sorted(unknown))}")
