"""What one column of a table is, as inferred from its values: its kind, or why a model leaves it out."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from msgspec.structs import replace

from reparax.data.facts import Facts
from reparax.data.values import (
    LARGEST_EXACT,
    Category,
    Cells,
    Levels,
    coarse_step_of,
    refuse_merged_values,
    spikes_of,
)
from reparax.errors import DataError
from reparax.summary import CATEGORY_LIKE, Column

NUMERIC = frozenset({"continuous", "positive", "zero-inflated", "count", "ordinal", "datetime"})
"""Kinds of numbers that are inferred from the values; others are chosen by the user."""
MOST_ORDINAL = 20
LEAST_REPEATED = 5
LEAST_INFLATED = 0.1
NEXT_INFLATED = 0.2  # any other spike has at most this fraction of the rows that the inflated one has
HEAVY_TAIL = 1.0
FEWEST_QUANTILES = 5
MOST_STATED_SPIKES = 1000


def column_of(name: str, cells: Cells, kind: str | None = None) -> Column:
    """The column of cells that are not all missing.

    Numbers: ``binary`` where they are 0 and 1; ``ordinal`` where there are at most 20 distinct ones, each in five rows
    or more on average; ``zero-inflated`` where 0 is the least (or greatest) and the only one that very many rows share;
    ``count`` where they are whole and not negative; ``positive`` where they are, and only their logarithms are about
    symmetric; else ``continuous``. Text: ``binary`` where there are two different ones, else ``categorical``.

    Args:
        name: The column's name.
        cells: Its cells.
        kind: What the user says it is; None to infer it from the cells.

    Raises:
        DataError: The cells cannot be of that kind.
    """
    return described_column(name, Facts.of(cells), kind)


def described_column(name: str, facts: Facts, kind: str | None = None) -> Column:
    """The same from what is known of the cells.

    Args:
        name: The column's name.
        facts: What is known of its cells.
        kind: As of `column_of`.

    Raises:
        DataError: The cells cannot be of that kind.
    """
    if facts.kind == "datetime" and kind not in {None, "datetime"}:
        raise _impossible(name, facts, kind)
    if kind in CATEGORY_LIKE or (kind is None and facts.categories):
        return _category_column(name, facts, kind)
    if facts.kind == "category" or (kind == "datetime" and facts.kind != "datetime"):
        raise _impossible(name, facts, kind)
    return _number_column(name, facts, kind)


def _impossible(name: str, facts: Facts, kind: str | None) -> DataError:
    of = {"category": "text", "boolean": "truth values", "datetime": "dates", "number": "numbers"}[facts.kind]
    examples = ", ".join(repr(str(value)[:20]) for value in facts.categories[:3])
    return DataError(
        expected=f"column {name!r} of kind {kind}",
        got=f"{of}{f' such as {examples}' if examples else ''}",
        cure="choose categorical, or exclude it",
    )


def _category_column(name: str, facts: Facts, kind: str | None) -> Column:
    categories, counts = facts.as_categories()
    inferred = "boolean" if facts.kind == "boolean" else "binary" if len(categories) == 2 else "categorical"
    if kind in {"binary", "boolean"} and len(categories) > 2:
        raise DataError(
            expected=f"two different values in column {name!r}, to be {kind}",
            got=f"{len(categories)}",
            cure="choose categorical",
        )
    return Column(
        name=name,
        kind=kind or inferred,
        dtype=facts.dtype,
        missing=facts.missing,
        low=0.0,
        high=float(len(categories) - 1),
        mean=0.0,
        std=1.0,
        spread=1.0,
        categories=categories,
        category_fractions=tuple((counts / max(1, int(counts.sum()))).tolist()),
    )


def _number_column(name: str, facts: Facts, kind: str | None) -> Column:
    levels = facts.levels
    if facts.kind == "number" and kind is None and levels.values.tolist() == [0.0, 1.0]:
        return _category_column(name, facts, None)
    step = facts.step_of_all()
    kind, spikes = _kind_and_spikes(name, levels, kind, step, datetime=facts.kind == "datetime")
    mean, std = facts.moments()
    coarse_step, coarse_fraction = coarse_step_of(levels.without(spikes), step)
    return Column(
        name=name,
        kind=kind,
        dtype=facts.dtype,
        missing=facts.missing,
        low=float(levels.values[0]),
        high=float(levels.values[-1]),
        mean=mean,
        std=std,
        spread=levels.spread(),
        step=step,
        coarse_step=coarse_step,
        coarse_start=float(np.floor(levels.values[0] / coarse_step) * coarse_step) if coarse_step else 0.0,
        coarse_fraction=coarse_fraction,
        quantiles=_quantiles(levels, spikes),
        spikes=tuple(spikes.tolist()),
        spike_fractions=levels.fractions_of(spikes),
    )


def remainder_column(name: str, values: Float[np.ndarray, " n"], child: Column, *, is_code: bool) -> Column:
    """What a relation leaves of a column, as a column of its own.

    Args:
        name: Its name.
        values: What is left in each row, NaN where unknown; some are known.
        child: The column.
        is_code: Whether these are codes: 0 for the category that the relation implies, else one more than that of the
            child.
    """
    present = values[~np.isnan(values)]
    missing = (len(values) - len(present)) / len(values)
    if is_code:
        categories = ("as implied", *map(str, child.categories))
        counts = np.bincount(present.astype(np.int64), minlength=len(categories))[: len(categories)]
        return Column(
            name=name, kind="categorical", dtype="string", missing=missing, low=0.0, high=float(len(categories) - 1),
            mean=0.0, std=1.0, spread=1.0, categories=categories,
            category_fractions=tuple((counts / len(present)).tolist()),
        )  # fmt: skip
    levels = Levels.of(present)
    mean, std = levels.moments()
    spikes = spikes_of(levels, child.step)
    few = len(levels.values) <= MOST_ORDINAL and levels.num_rows >= LEAST_REPEATED * len(levels.values)
    if few or len(levels.values) == 1:
        spikes = levels.values
    return Column(
        name=name, kind="continuous", dtype="float64", missing=missing, low=float(levels.values[0]),
        high=float(levels.values[-1]), mean=mean, std=std, spread=levels.spread(), step=child.step,
        quantiles=_quantiles(levels, spikes), spikes=tuple(spikes.tolist()),
        spike_fractions=levels.fractions_of(spikes),
    )  # fmt: skip


def _kind_and_spikes(
    name: str, levels: Levels, kind: str | None, step: float, *, datetime: bool
) -> tuple[str, np.ndarray]:
    if kind is not None:
        return kind, spikes_of(levels, step) if kind not in NUMERIC else _stated_spikes(name, levels, kind)
    spikes = spikes_of(levels, step)
    if datetime:
        return "datetime", spikes
    few = len(levels.values) <= MOST_ORDINAL and levels.num_rows >= LEAST_REPEATED * len(levels.values)
    if few or len(levels.values) == 1:
        return "ordinal", levels.values
    return _inferred(levels, spikes), spikes


def _inferred(levels: Levels, spikes: np.ndarray) -> str:
    """The kind of numbers with many values that are not dates."""
    low, high = levels.values[0], levels.values[-1]
    if 0.0 in spikes and 0.0 in {low, high}:
        fractions = sorted(levels.fractions_of(spikes))
        (zero,) = levels.fractions_of(np.zeros(1))
        if (
            zero >= LEAST_INFLATED
            and zero == fractions[-1]
            and (len(fractions) < 2 or fractions[-2] <= NEXT_INFLATED * zero)
        ):
            return "zero-inflated"
    if low >= 0 and levels.whole:
        return "count"
    if low > 0 and levels.skewness() > HEAVY_TAIL:
        logs = Levels(np.log(levels.values), levels.counts)
        if abs(logs.skewness()) < levels.skewness() / 2:
            return "positive"
    return "continuous"


def _stated_spikes(name: str, levels: Levels, kind: str) -> np.ndarray:
    """The spikes of a kind that the user chose.

    Raises:
        DataError: The values cannot be of that kind.
    """
    low = levels.values[0]
    if kind == "ordinal":
        if len(levels.values) > MOST_STATED_SPIKES:
            raise DataError(
                expected=f"at most {MOST_STATED_SPIKES} different values in column {name!r}, to be ordinal",
                got=f"{len(levels.values)}", cure="choose continuous or count",
            )  # fmt: skip
        return levels.values
    wrong = {
        "count": "whole numbers from 0 up" if low < 0 or not levels.whole else "",
        "positive": "numbers above 0" if low <= 0 else "",
        "zero-inflated": "some zeros" if 0.0 not in levels.values else "",
    }.get(kind, "")
    if wrong:
        raise DataError(
            expected=f"{wrong} in column {name!r}, to be {kind}",
            got=f"values from {low:g} to {levels.values[-1]:g}", cure="choose continuous",
        )  # fmt: skip
    return np.zeros(1) if kind == "zero-inflated" else levels.values[:0]


def _quantiles(levels: Levels, spikes: np.ndarray) -> tuple[float, ...]:
    rest = levels.without(spikes) if len(spikes) else levels
    if not len(rest.values):
        return ()
    if rest.num_rows < FEWEST_QUANTILES and len(spikes):
        rest = Levels.of(np.concatenate([np.repeat(rest.values, rest.counts), spikes]))
    return rest.quantiles()


def refitted(column: Column, values: np.ndarray) -> Column:
    """The same column with the shares, moments and quantiles of some of its values; kind, range and levels stay.

    Args:
        column: The column.
        values: The column of a matrix: numbers or codes, NaN where missing.
    """
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    missing = (len(values) - len(present)) / len(values)
    if column.is_category:
        # The code after the last, of categories that the fit did not have, is in none of these.
        counts = np.bincount(present.astype(np.int64), minlength=len(column.categories))[: len(column.categories)]
        return with_fractions(column, missing, counts, len(present))
    return with_levels(column, missing, Levels.of(present), dtype=values.dtype)


def with_fractions(column: Column, missing: float, counts: np.ndarray, num_present: int) -> Column:
    """A column of categories with other numbers of cells in each."""
    if not num_present:
        return replace(column, missing=missing)
    return replace(column, missing=missing, category_fractions=tuple((counts / num_present).tolist()))


def with_levels(column: Column, missing: float, levels: Levels, *, dtype: np.dtype) -> Column:
    """A column of numbers with the moments and quantiles of other cells.

    Args:
        column: The column.
        missing: The fraction of missing cells.
        levels: The values of the cells.
        dtype: The dtype in which the values are stored.
    """
    if not len(levels.values):
        return replace(column, missing=missing)
    mean, std = levels.moments()
    spikes = np.asarray(column.spikes, dtype if dtype.kind == "f" else None).astype(np.float64)
    return replace(
        column,
        missing=missing,
        mean=mean,
        std=std,
        spread=levels.spread(),
        quantiles=_quantiles(levels, spikes) or column.quantiles,
        spike_fractions=levels.fractions_of(spikes),
    )


MOST_ALONE = 0.5  # texts that are in one row alone say nothing of others
FEWEST_TEXTS = 50
FEWEST_ROWS = 20
FEWEST_RUNNING = 200  # fewer may be years
FEWEST_NAMED = 10  # where the column's name says that it names the rows
WORDS = 4.0
_NAME = re.compile(
    r"(.*[ _.-])?(id|idx|index|key|uuid|guid|rowid|rownum|rownumber|row[ _.-]?(num|number)?)|id[ _.-].*|unnamed: \d+",
    re.IGNORECASE,
)
_CAMEL = re.compile(r".*[a-z](Id|ID)")
CHOSEN = "as asked"
EMPTY = "every cell is missing"
_LARGE_IDENTIFIER = "an identifier: distinct whole numbers and too large for a real number"


def exclusions(columns: Mapping[str, Cells]) -> dict[str, str]:
    """The columns to leave out, and why.

    These are text columns in which most texts occur once or are long (names, addresses, comments), and columns of
    distinct whole numbers that count the rows or are named id.
    """
    reasons = {name: _reason(name, cells) for name, cells in columns.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _reason(name: str, cells: Cells) -> str | None:
    present = len(cells.values) - cells.num_missing
    if cells.kind == "category" and cells.is_text:
        return text_reason(cells.categories, np.bincount(cells.present().astype(np.int64), minlength=1))
    if cells.kind == "category" and "int" in cells.dtype and FEWEST_ROWS <= present == len(cells.categories):
        return _LARGE_IDENTIFIER
    if cells.kind != "number" or cells.num_missing or present < FEWEST_NAMED:
        return None
    return _number_reason(name, cells.values)


def text_reason(categories: Sequence[Category], counts: np.ndarray) -> str | None:
    """Why a column of text is left out, if it is.

    Args:
        categories: Its distinct texts, the most frequent first.
        counts: How many rows have each.
    """
    present = int(counts.sum())
    alone = int((counts == 1).sum()) / max(1, present)
    if present > FEWEST_TEXTS and alone > MOST_ALONE:
        return "an identifier or free text: most texts occur in one row only"
    if present >= FEWEST_ROWS and alone == 1:
        return "an identifier: every row has a different text"
    texts = [str(category) for category in categories[:1000]]
    long = sum(len(text.split()) for text in texts) > WORDS * len(texts)
    return "free text" if long and len(categories) >= MOST_ALONE * present else None


def _number_reason(name: str, values: np.ndarray) -> str | None:
    low, high = float(values.min()), float(values.max())
    fewest = FEWEST_ROWS if low in {0.0, 1.0} else FEWEST_RUNNING
    counts = high - low == len(values) - 1 and len(values) >= fewest
    huge = values.dtype.kind in "iu" and max(-low, high) > LARGEST_EXACT
    named = _NAME.fullmatch(name) is not None or _CAMEL.fullmatch(name) is not None
    if not (counts or huge or named) or (values != np.rint(values)).any() or len(np.unique(values)) < len(values):
        return None
    if counts:
        return "a count of the rows" if low in {0.0, 1.0} else "a running number of the rows"
    return _LARGE_IDENTIFIER if huge else "an identifier: distinct whole numbers"


def too_large(cells: Cells) -> bool:
    """Whether the cells are whole numbers too large for floating-point numbers to distinguish."""
    if cells.kind != "number" or cells.values.dtype.kind not in "iu":
        return False
    return max(-float(cells.values.min()), float(cells.values.max())) > LARGEST_EXACT


def refuse_merged(cells: Cells, column: Column) -> None:
    """Refuses whole numbers beyond 2**53 as amounts if floating-point numbers do not tell them apart.

    Their rounding may change a value by at most 1e-4 standard deviations, as of `reparax.data.values.as_real`.

    Raises:
        DataError: It changes them more.
    """
    if column.is_category or not too_large(cells):
        return
    refuse_merged_values(
        cells.values, f" in column {column.name!r}",
        "; if they are names and not amounts, make the column categorical or leave it out "
        f"(--exclude {column.name}, exclude=[{column.name!r}])",
    )  # fmt: skip


def notes_on(excluded: Mapping[str, str], most: int = 10) -> list[str]:
    """A sentence on each column that was left out; beyond the first ones, one sentence on all others."""
    names = list(excluded)
    notes = [f"column {name!r} was left out: {excluded[name]}" for name in names[:most]]
    if len(names) > most:
        listed = ", ".join(map(repr, names[most : most + 20])) + (", ..." if len(names) > most + 20 else "")
        notes.append(f"{len(names) - most} more columns were left out: {listed}")
    return notes


RADIUS = 0.5
"""In standard deviations. Chosen on six tables with anomalies, one run each: mean average precision 0.48; 0.46 with
the radii of the anomaly score."""


def marginal_oddity(values: Float[np.ndarray, "n d"], columns: tuple[Column, ...]) -> Float[np.ndarray, " n"]:
    """-sum_j log P_j(near x_j) over the observed cells, P_j the fraction of rows whose cell j is near; nats.

    Near means the same category, or within half a standard deviation of a number.

    Args:
        values: The rows of a table.
        columns: Its columns.
    """
    total = np.zeros(len(values))
    for cells, column in zip(values.T, columns, strict=True):
        observed = ~np.isnan(cells)
        ordered = np.sort(cells[observed])
        radius = 0.0 if column.is_category else RADIUS * column.std
        low, high = cells[observed] - radius, cells[observed] + radius
        near = np.searchsorted(ordered, high, "right") - np.searchsorted(ordered, low, "left")
        total[observed] -= np.log((near + 1) / (len(ordered) + 1))
    return total
