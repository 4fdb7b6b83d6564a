"""The cells of a column: their dtype, moments and distinct values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from reparax.errors import DataError
from reparax.summary import QUANTILE_LEVELS, Column, Kind

Category = str | int | float | bool


@dataclass(frozen=True)
class Cells:
    """The cells of one column.

    Attributes:
        kind: ``"number"``, ``"datetime"`` (days since 1970), or codes of a ``"category"`` or a ``"boolean"``.
        values: One number for each row; NaN for missing cells.
        dtype: The original data type, as in `Column.dtype`.
        categories: What the codes stand for.
        step: For dates, the largest unit of which all are multiples, in days.
        is_text: Whether the categories are free text rather than declared categories.
        notes: Notes on reading the column.
    """

    kind: Literal["number", "datetime", "category", "boolean"]
    values: np.ndarray
    dtype: str
    categories: tuple[Category, ...] = ()
    step: float = 0.0
    is_text: bool = False
    notes: tuple[str, ...] = ()

    def present(self) -> np.ndarray:
        """The values that are not missing."""
        return self.values if self.num_missing == 0 else self.values[~np.isnan(self.values)]

    @cached_property
    def num_missing(self) -> int:
        """The number of missing cells."""
        return int(np.isnan(self.values).sum()) if self.values.dtype.kind == "f" else 0

    @property
    def missing(self) -> float:
        """The fraction of missing cells."""
        return self.num_missing / max(1, len(self.values))

    @property
    def precision(self) -> float:
        """The relative precision of the numbers."""
        return float(np.finfo(np.float32 if self.dtype in {"float16", "float32"} else np.float64).eps)

    def as_categories(self) -> "Cells":
        """Numbers as categories: 0 and 1 in this order, others with the most frequent first."""
        present = ~np.isnan(self.values.astype(np.float64))
        levels, codes, counts = np.unique(self.values[present], return_inverse=True, return_counts=True)
        categories, order = category_names(levels, counts, self.dtype)
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order))
        values = np.full(len(self.values), np.nan)
        values[present] = rank[codes]
        return replace(self, kind="category", values=values, categories=categories)

    @classmethod
    def of_column(cls, values: np.ndarray, column: Column) -> "Cells":
        """The cells of a column of a matrix."""
        if column.is_category:
            kind = "boolean" if column.kind == "boolean" else "category"
            return cls(kind, values, column.dtype, column.categories)
        return cls("datetime" if column.kind == "datetime" else "number", values, column.dtype, step=column.step)


def category_names(levels: np.ndarray, counts: np.ndarray, dtype: str) -> tuple[tuple[Category, ...], np.ndarray]:
    """Distinct numbers as categories, 0 and 1 or the most frequent first, and their places among the numbers.

    Args:
        levels: The distinct numbers in ascending order.
        counts: How many cells have each.
        dtype: The data type of the column.
    """
    order = np.argsort(-counts, kind="stable") if levels.tolist() != [0, 1] else np.arange(2)
    are_integers = bool((levels == np.rint(levels)).all()) and not dtype.startswith("float")
    return tuple((levels.astype(np.int64) if are_integers else levels.astype(np.float64))[order].tolist()), order


def label_cells(labels: np.ndarray) -> Cells:
    """Labels as cells: numbers, or categories with the most frequent text first; an empty text is missing."""
    if labels.dtype.kind in "biuf":
        return Cells("number", labels.astype(np.int64) if labels.dtype.kind == "b" else labels, labels.dtype.name)
    texts, codes, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    order = [place for place in np.argsort(-counts, kind="stable").tolist() if texts[place]]
    rank = np.full(len(texts), np.nan)
    rank[order] = np.arange(len(order))
    return Cells("category", rank[codes], "string", tuple(map(str, texts[order])), is_text=True)


LARGEST_INTEGER = 2**24  # float32 represents every whole number up to this one
LARGEST_REAL = 1e37  # a tenth of the range of float32, so that differences of values fit
LOST_DIGITS = 1e-4  # the rounding error allowed for float32, in standard deviations of the column
SMALLEST_STD = float(np.finfo(np.float32).tiny)
VALUES_AT_ONCE = 2**22
ROWS_IN_CACHE = 4096


def chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of rows small enough for temporary copies to cost little memory."""
    rows = max(1, VALUES_AT_ONCE // max(1, values[:1].size))
    return (values[start : start + rows] for start in range(0, len(values), rows))


def by_columns(table: np.ndarray) -> np.ndarray:
    """The same table with contiguous columns, which makes work on single columns ten times as fast."""
    copy = np.empty(table.shape, table.dtype, order="F")
    for start in range(0, len(table), ROWS_IN_CACHE):
        copy[start : start + ROWS_IN_CACHE] = table[start : start + ROWS_IN_CACHE]
    return copy


def by_rows(columns: Sequence[np.ndarray], dtype: DTypeLike) -> np.ndarray:
    """The matrix of columns, copied in blocks of rows that stay in the cache, which is ten times as fast."""
    matrix = np.empty((len(columns[0]), len(columns)), dtype)
    for start in range(0, len(matrix), ROWS_IN_CACHE):
        for index, column in enumerate(columns):
            matrix[start : start + ROWS_IN_CACHE, index] = column[start : start + ROWS_IN_CACHE]
    return matrix


def refuse_non_numbers(values: np.ndarray) -> None:
    """Refuses arrays of other things than numbers.

    Raises:
        DataError: The dtype is not boolean, integer or floating.
    """
    if values.dtype.kind in "biuf":
        return
    if values.dtype.kind == "V" and values.dtype.name != f"void{8 * values.dtype.itemsize}":  # of jax: bfloat16, int4
        raise DataError(
            expected="numbers of a type of NumPy", got=f"{values.dtype.name}", cure="convert them: x.astype('float32')"
        )
    got, cure = {
        "c": ("complex numbers", "use separate columns for real and imaginary parts"),
        "U": ("strings", "convert them to numbers, or leave these columns out"),
        "S": ("byte strings", "convert them to numbers, or leave these columns out"),
        "M": ("dates", "convert them to numbers (for example days since the first), or leave them out"),
        "m": ("durations", "convert them to numbers (for example seconds)"),
        "V": ("records", "use a plain two-dimensional array, or a data frame"),
    }.get(values.dtype.kind, ("Python objects", "use an array of one numeric dtype, with rows of the same length"))
    raise DataError(expected="an array of numbers", got=got, cure=cure)


def refuse_non_finite(values: np.ndarray, names: tuple[str, ...] | None, ids: np.ndarray | None = None) -> None:
    """Refuses values that are not finite.

    Raises:
        DataError: A value is NaN or infinite; the message says where the first one is.
    """
    if values.dtype.kind != "f":
        return
    num_missing = sum(chunk.size - int(np.isfinite(chunk).sum()) for chunk in chunks(values))
    if not num_missing:
        return
    row = next(index for index, example in enumerate(values) if not np.isfinite(example).all())
    inside = tuple(map(int, np.argwhere(~np.isfinite(values[row]))[0]))
    if values.ndim == 2:
        place = f"column {column_name(names, inside[0])!r}, row {row + 1}"
        cure = "fill them first, or fit a model on data in which cells are missing"
    else:
        cure = "drop or fill them first"
        place = f"example {row + 1}{f' ({ids[row]})' if ids is not None else ''} at {inside}"
    raise DataError(
        expected="finite numbers",
        got=f"{num_missing} missing, NaN or infinite value{'s' if num_missing > 1 else ''}, the first in {place}",
        cure=cure,
    )


def column_name(names: tuple[str, ...] | None, index: int) -> str:
    """The name of a column; ``column_0``, ``column_1``, ... if the table has no names."""
    return names[index] if names is not None else f"column_{index}"


def whole(values: np.ndarray) -> bool:
    """Whether every value is a whole number."""
    if values.dtype.kind != "f":
        return True
    return all(bool((chunk == np.rint(chunk)).all()) for chunk in chunks(values))


def kind_of(values: np.ndarray) -> Kind:
    """``"binary"``, ``"integer"`` or ``"real"``: the narrowest kind of all (finite) values."""
    if values.size == 0 or not whole(values):
        return "real"
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return "binary"
    return "integer" if max(-low, high) <= LARGEST_INTEGER else "real"


def moments(values: np.ndarray, *, per_dimension: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in float64, in two passes over blocks of rows.

    Args:
        values: An array of shape ``(n, *event_shape)``, n at least 1.
        per_dimension: Whether to average over the examples only, or over all axes.
    """
    axis = 0 if per_dimension else None
    count = len(values) if per_dimension else values.size
    mean = sum(chunk.sum(axis=axis, dtype=np.float64) for chunk in chunks(values)) / count
    squares = sum(np.square(chunk - mean, dtype=np.float64).sum(axis=axis) for chunk in chunks(values))
    return np.asarray(mean), np.sqrt(squares / count)


def as_real(values: np.ndarray, names: tuple[str, ...] | None) -> np.ndarray:
    """The values as float32, or as float64 if float32 would lose digits that distinguish rows.

    Rounding may change a value by at most 1e-4 standard deviations of its column: times near 1.7e9 that differ by
    seconds, for example, stay float64.

    Raises:
        DataError: A value is too large for float32.
    """
    if values.dtype.kind == "f":
        _refuse_too_large(values, names)
    if values.dtype == np.float32 or values.dtype == np.float16:
        return values.astype(np.float32, copy=False)
    single = values.astype(np.float32)
    _, std = moments(values, per_dimension=True)
    pairs = zip(chunks(values), chunks(single), strict=True)
    lost = np.max([np.abs(exact - rounded.astype(np.float64)).max(axis=0) for exact, rounded in pairs], axis=0)
    constant = values.min(axis=0) == values.max(axis=0)
    return single if bool(((lost <= LOST_DIGITS * std) | constant).all()) else values.astype(np.float64)


def merged_by(values: np.ndarray) -> float:
    """By how much floating-point numbers round whole numbers beyond 2**53; 0 if at most by 1e-4 standard deviations.

    Args:
        values: Whole numbers of an integer dtype, shape ``(n, *event_shape)``.
    """
    if max(-float(values.min()), float(values.max())) <= LARGEST_EXACT:
        return 0.0
    low, high = values.min(axis=0), values.max(axis=0)
    rounding = np.spacing(np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))) / 2
    # Differences of 64-bit numbers wrap around in signed ones and are exact in unsigned ones.
    spread = (values.astype(np.uint64) - low.astype(np.uint64)).astype(np.float64).std(axis=0)
    merged = (low != high) & (rounding > 0.5) & (rounding > LOST_DIGITS * spread)
    return float(np.max(np.where(merged, rounding, 0.0)))


def refuse_merged_values(values: np.ndarray, place: str = "", cure: str = "") -> None:
    """Refuses whole numbers beyond 2**53 if floating-point numbers do not tell them apart.

    Args:
        values: Numbers, shape ``(n, *event_shape)``.
        place: Where they are, for the message.
        cure: What else to do about it.

    Raises:
        DataError: Rounding changes them by more than 1e-4 standard deviations.
    """
    rounding = merged_by(values) if values.dtype.kind in "iu" else 0.0
    if rounding:
        raise DataError(
            expected="whole numbers up to 2**53, beyond which floating-point numbers are not exact",
            got=f"{values.min()} to {values.max()}{place}, which would be rounded to multiples of {2 * rounding:.0f}",
            cure=f"subtract the smallest one before they become floating-point numbers{cure}",
        )


def loses_digits(cells: Cells, column: Column) -> bool:
    """Whether float32 would lose digits of a column: more than 1e-4 standard deviations, or a quarter of its step."""
    if column.is_category:
        return False
    exact = cells.present().astype(np.float64)
    lost = float(np.abs(exact - exact.astype(np.float32)).max(initial=0.0))
    return lost > LOST_DIGITS * column.std or (column.step > 0 and lost > column.step / 4)


def _refuse_too_large(values: np.ndarray, names: tuple[str, ...] | None) -> None:
    if max(-float(values.min()), float(values.max())) <= LARGEST_REAL:
        return
    row, *inside = map(int, np.argwhere(np.abs(values) > LARGEST_REAL)[0])
    place = f"column {column_name(names, inside[0])!r}, " if values.ndim == 2 else ""
    raise DataError(
        expected=f"values up to {LARGEST_REAL:g} in size",
        got=f"{values[(row, *inside)]:g} in {place}row {row + 1}",
        cure="rescale the values (use another unit, or a logarithm)",
    )


MOST_ATOMS = 64
FEWEST_ROWS = 10  # a spike is a value of at least this many rows
SMALLEST_SHARE = 0.005  # and of at least this fraction of the rows
MOST_OF_REST = 2 / 3
STICKS_OUT = 3.0
DENSE = 2.0
NEIGHBORS = 5
FEWEST_LEVELS = 10  # with at least this many distinct values, a common divisor is not a coincidence
DECIMALS = 6
LARGEST_EXACT = 2.0**53


class Levels(NamedTuple):
    """The distinct values of a column in ascending order, and how many rows have each.

    Attributes:
        values: The distinct values, float64.
        counts: The number of rows with each.
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, present: np.ndarray) -> Self:
        """The levels of the values that are not missing."""
        return cls.of_distinct(*np.unique(present, return_counts=True))

    @classmethod
    def of_distinct(cls, values: np.ndarray, counts: np.ndarray) -> Self:
        """The levels of distinct values in ascending order and their counts."""
        return cls(values.astype(np.float64) + 0.0, counts)  # minus zero is zero

    @property
    def num_rows(self) -> int:
        """The number of values, including repetitions."""
        return int(self.counts.sum())

    @property
    def whole(self) -> bool:
        """Whether every value is a whole number."""
        return bool((self.values == np.rint(self.values)).all())

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation, which is 1 for a constant."""
        if len(self.values) == 1:
            return float(self.values[0]), 1.0
        rows = self.num_rows
        mean = float((self.values * (self.counts / rows)).sum())
        std = float(np.sqrt((np.square(self.values - mean) * (self.counts / rows)).sum()))
        return mean, std if std >= SMALLEST_STD else 1.0

    def spread(self) -> float:
        """The standard deviation after clipping to the 1 % and 99 % quantiles; 1 for a constant."""
        ends = np.cumsum(self.counts)
        low, high = self.values[np.searchsorted(ends, np.array([0.01, 0.99]) * (ends[-1] - 1), side="right")]
        kept = self if low == high else Levels(np.clip(self.values, low, high), self.counts)
        return kept.moments()[1]

    def skewness(self) -> float:
        """The third standardized moment; 0 for a constant."""
        mean, std = self.moments()
        return float((((self.values - mean) / std) ** 3 * (self.counts / self.num_rows)).sum())

    def without(self, spikes: np.ndarray) -> "Levels":
        """The levels that are not spikes."""
        rest = ~np.isin(self.values, spikes)
        return Levels(self.values[rest], self.counts[rest])

    def fractions_of(self, spikes: np.ndarray) -> tuple[float, ...]:
        """The fraction of the rows with each spike, 0 if there are none."""
        place = np.searchsorted(self.values, spikes).clip(max=len(self.values) - 1)
        counts = np.where(self.values[place] == spikes, self.counts[place], 0)
        return tuple((counts / self.num_rows).tolist())

    def quantiles(self) -> tuple[float, ...]:
        """The quantiles at `QUANTILE_LEVELS`, linear between order statistics."""
        ends = np.cumsum(self.counts)
        positions = np.asarray(QUANTILE_LEVELS) * (ends[-1] - 1)
        below = np.floor(positions).astype(np.int64)
        above = np.minimum(below + 1, ends[-1] - 1)
        low = self.values[np.searchsorted(ends, below, side="right")]
        high = self.values[np.searchsorted(ends, above, side="right")]
        return tuple((low + (high - low) * (positions - below)).tolist())


def spikes_of(levels: Levels, step: float) -> np.ndarray:
    """The values that many rows share: at least 10 rows and 0.5 % of all, and at most the 64 most frequent.

    If a typical row shares its value with few others (numbers spread over a wide range), only values that are clearly
    more frequent than their neighbors; if more than 64 remain, only those three times as frequent as the median.

    If most of the other rows also have values of at least 10 rows that are clearly more frequent than their neighbors,
    as in amounts of which only certain ones occur, these are added, the most frequent first.

    Args:
        levels: The values that are not missing.
        step: The number of which all are multiples, or 0.
    """
    fewest = max(FEWEST_ROWS, int(np.ceil(SMALLEST_SHARE * levels.num_rows)))
    many = levels.counts >= fewest
    if not many.any():
        return levels.values[:0]
    typical = float((levels.counts * (levels.counts / levels.num_rows)).sum())
    if len(levels.values) > 1 and typical < DENSE * fewest:
        many &= _sticks_out(levels, step)
    if many.sum() > MOST_ATOMS:
        many &= levels.counts >= STICKS_OUT * np.median(levels.counts[many])
    more = ~many & (levels.counts >= FEWEST_ROWS) & _sticks_out(levels, step)
    if levels.counts[more].sum() < MOST_OF_REST * levels.counts[~many].sum():
        more[:] = False
    places = np.flatnonzero(many | more)
    # Those of the first kind come first, and the most frequent ones of each.
    places = places[np.lexsort((-levels.counts[places], ~many[places]))[:MOST_ATOMS]]
    return levels.values[np.sort(places)]


def _sticks_out(levels: Levels, step: float) -> np.ndarray:
    """Which values are clearly more frequent than their neighbors."""
    around = _around(levels, step)
    return levels.counts >= np.maximum(2 * around, around + 3 * np.sqrt(around))


def _around(levels: Levels, step: float) -> np.ndarray:
    """The mean count of the multiples of the step (without a step, of the distinct values) within five of each."""
    places = np.rint(levels.values / step) if step > 0 else np.arange(len(levels.values), dtype=np.float64)
    sums = np.concatenate([[0], np.cumsum(levels.counts)])
    first = np.searchsorted(places, places - NEIGHBORS, side="left")
    last = np.searchsorted(places, places + NEIGHBORS, side="right")
    room = np.minimum(places - places[0], NEIGHBORS) + np.minimum(places[-1] - places, NEIGHBORS)
    return (sums[last] - sums[first] - levels.counts) / np.maximum(room, 1)


def step_of(values: np.ndarray, precision: float) -> float:
    """The largest number of which all values are multiples; 0 if there is none with at most 6 decimals.

    Common divisors other than powers of ten (25, 0.5) need at least 10 distinct values, as they could be coincidences.

    Args:
        values: Distinct values.
        precision: The relative precision of the data type.
    """
    size = float(np.abs(values).max(initial=0.0))
    if bool((values == np.rint(values)).all()):
        return float(_divisor(values)) if size < LARGEST_EXACT else 1.0
    some = values[:: max(1, len(values) // 500)]
    for decimals in range(1, DECIMALS + 1):
        scale = 10.0**decimals
        if size * scale * precision * 4 > 0.05:  # the data type is too coarse to tell
            return 0.0
        if _whole_within(some * scale, precision) and _whole_within(values * scale, precision):
            return _divisor(np.rint(values * scale)) / scale
    return 0.0


MULTIPLES = (100, 50, 25, 20, 10, 5, 2)
MOSTLY = 0.7  # of the values that are not spikes are multiples of a coarse step
FEWEST_ON_GRID = 50


def coarse_step_of(levels: Levels, step: float) -> tuple[float, float]:
    """A multiple of the step of which most values are multiples in turn, and the fraction that are; 0 without one.

    Args:
        levels: The values that are not spikes.
        step: The number of which all are multiples, or 0.
    """
    if step <= 0 or levels.num_rows < FEWEST_ON_GRID:
        return 0.0, 0.0
    units = np.rint(levels.values / step)
    for multiple in MULTIPLES:
        fraction = float(levels.counts[units % multiple == 0].sum() / levels.num_rows)
        if fraction >= max(MOSTLY, 2 / multiple) and units[-1] - units[0] >= 4 * multiple:
            return multiple * step, fraction
    return 0.0, 0.0


def _whole_within(scaled: np.ndarray, precision: float) -> bool:
    return bool((np.abs(scaled - np.rint(scaled)) <= 4 * precision * np.abs(scaled)).all())


def _divisor(integers: np.ndarray) -> int:
    numbers = np.abs(integers[integers != 0])
    if len(numbers) < FEWEST_LEVELS:
        return 1
    return int(np.gcd.reduce(numbers.astype(np.int64)))


def rounded(values: np.ndarray, step: float) -> np.ndarray:
    """The nearest multiples of a step; the values unchanged if it is 0."""
    units, scale = whole_units(step)
    return np.rint(values / step) * units / scale if units > 0 else values


def whole_units(step: float) -> tuple[float, float]:
    """A step as a quotient: multiples of the first number, divided by the second, have no rounding error of the step.

    Args:
        step: The step of a column; where it is 0 or too small for a quotient, the first number is 0.
    """
    if step <= 0 or step >= 1:
        return max(step, 0.0), 1.0
    scales = 10.0 ** np.arange(1, 16)
    scale = scales[np.argmin(np.abs(step * scales - np.rint(step * scales)) > 1e-6)]
    return float(np.rint(step * scale)), float(scale)


def plain(values: np.ndarray | float) -> float | tuple[float, ...]:
    """An array as a number, or as a flat tuple of numbers, for JSON."""
    flat = np.asarray(values, np.float64)
    return float(flat) if flat.ndim == 0 else tuple(flat.ravel().tolist())
