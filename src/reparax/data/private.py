"""The description of a table by noisy counts, which reveal hardly anything of a single row: differential privacy.

A description holds what single rows may be known by: the largest income, a rare diagnosis. A private one is made of
histograms of single columns, to whose counts Normal noise is added, and in which only values are named that many rows
share. One row changes one count of each histogram by one.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from reparax.data.columns import NUMERIC
from reparax.data.dataset import Dataset, Release, from_cells
from reparax.data.values import Cells, rounded
from reparax.errors import DataError
from reparax.summary import CATEGORY_LIKE, Column

PARTS = 16
"""Each heavy bin is divided into so many, twice."""
DIVISIONS = 2
OF_NUMBERS = 2 + DIVISIONS
"""The histograms of a column of numbers: single values, powers of two, and the parts of these."""
CLEAR = 3.0
"""A part of a bin counts if it is so many standard deviations of the noise above zero."""
LEFT_OUT = "no value is shared by enough rows to be named, as --dp asks"


class Noise(NamedTuple):
    """The noise of private counts.

    Attributes:
        scale: Its standard deviation, in rows.
        delta: The largest probability that a value is named, in any histogram, that a single row has.
        generator: Draws it; nobody else may know its state.
    """

    scale: float
    delta: float
    generator: np.random.Generator

    def of(self, counts: np.ndarray) -> Float[np.ndarray, " k"]:
        """Counts with noise."""
        return counts + self.scale * self.generator.standard_normal(len(counts))


def num_histograms(dataset: Dataset) -> int:
    """How many noisy histograms describe a table: those of its columns, and the number of its rows.

    Raises:
        DataError: It is not a table, or something of it is given and not modeled.
    """
    return 1 + sum(1 if column.is_category else OF_NUMBERS for column in _columns(dataset))


def privately_described(dataset: Dataset, noise: Noise) -> Dataset:
    """The rows of a table with a description of noisy counts in place of their own.

    Numbers beyond the range that is left are moved to its ends. Cells of a category that is not named, and gaps where
    too few rows have one, are drawn from the column's other values, at random; a column of which nothing is named is
    left out. The names of the columns, and whether they are numbers, dates or text, are taken to be no secret.

    Args:
        dataset: The table, as it was read.
        noise: The noise; `num_histograms` counts get it.

    Raises:
        DataError: As for `num_histograms`; or no column is left.
    """
    columns = _columns(dataset)
    values = np.asarray(dataset.values, np.float64)
    num_rows = max(2, int(np.rint(noise.of(np.array([len(values)]))[0])))
    least = 1.0 + noise.scale * float(-ndtri(noise.delta / num_histograms(dataset)))
    released = [_released(values[:, index], column, noise, least) for index, column in enumerate(columns)]
    cells = {
        column.name: each.cells(column, num_rows, noise.generator)
        for column, each in zip(columns, released, strict=True)
        if each is not None
    }
    excluded = dict(dataset.schema.excluded) | {c.name: LEFT_OUT for c in columns if c.name not in cells}
    if not cells:
        raise DataError(
            expected=f"values that some {least:.0f} rows share, to describe the columns",
            got=f"none among {len(values)} rows",
            cure="use more rows, a larger --dp, or fewer columns (--exclude)",
        )
    kinds = {c.name: c.kind for c in columns if c.kind not in NUMERIC | CATEGORY_LIKE and c.name in cells}
    described = from_cells(cells, named=dataset.schema.names is not None, excluded=excluded, kinds=kinds)
    places = {column.name: place for place, column in enumerate(columns)}
    matrix = np.empty((len(values), len(described.schema.columns or ())), np.float64)
    for index, column in enumerate(described.schema.columns or ()):
        drawn = np.asarray(described.values[:, index], np.float64)
        old = columns[places[column.name]]
        matrix[:, index] = _moved(values[:, places[column.name]], old, column, drawn, noise.generator)
    schema = msgspec.structs.replace(described.schema, label=dataset.schema.label)
    notes = tuple(note for note in described.notes if note.startswith("column"))
    release = Release(noise.scale, num_histograms(dataset))
    values = matrix.astype(described.values.dtype)
    return replace(dataset, values=values, schema=schema, notes=(*dataset.notes, *notes), release=release)


def _columns(dataset: Dataset) -> tuple[Column, ...]:
    columns = dataset.schema.columns
    if columns is None or dataset.is_sparse:
        raise DataError(
            expected="a table for --dp, whose columns can be described by noisy counts",
            got="a sparse matrix" if dataset.is_sparse else f"data of kind {dataset.schema.kind}",
            cure="leave --dp out",
        )
    if dataset.conditions is not None or dataset.context is not None:
        raise DataError(
            expected="all columns modeled for --dp, as what is given would be kept as it is",
            got="columns or a context that are given",
            cure="leave --given out, and choose rows by --where when sampling",
        )
    return columns


@dataclass(frozen=True)
class _Released:
    """What noisy counts say of a column.

    Attributes:
        gaps: The number of missing cells.
        levels: Single values, or codes of categories.
        level_counts: The number of rows with each.
        bins: The ends of intervals of numbers, shape (k, 2).
        bin_counts: The number of rows in each.
    """

    gaps: float
    levels: Float[np.ndarray, " l"]
    level_counts: Float[np.ndarray, " l"]
    bins: Float[np.ndarray, "k 2"]
    bin_counts: Float[np.ndarray, " k"]

    def cells(self, column: Column, num_rows: int, generator: np.random.Generator) -> Cells:
        """A column of this description, of some rows in random order: every value as often as it says."""
        weights = np.concatenate([[self.gaps], self.level_counts, self.bin_counts])
        counts = _apportioned(weights, num_rows)
        of_levels, of_bins = counts[1 : 1 + len(self.levels)], counts[1 + len(self.levels) :]
        spread = [_evenly(low, high, count) for (low, high), count in zip(self.bins, of_bins, strict=True)]
        values = np.concatenate([np.full(counts[0], np.nan), np.repeat(self.levels, of_levels), *spread])
        if not column.is_category:
            whole = column.dtype.lstrip("u").startswith("int") or column.dtype == "date"
            return replace(
                Cells.of_column(generator.permutation(np.rint(values) if whole else values), column), step=0.0
            )
        categories = column.categories
        if column.kind != "boolean":  # the most frequent first
            order = self.levels[np.argsort(-self.level_counts, kind="stable")].astype(np.int64)
            values = _places(values, order, len(categories))
            categories = tuple(categories[code] for code in order)
        return replace(Cells.of_column(generator.permutation(values), column), categories=categories)


def _released(values: Float[np.ndarray, " n"], column: Column, noise: Noise, least: float) -> _Released | None:
    """What noisy counts say of a column; None if they name nothing."""
    present = values[~np.isnan(values)]
    levels, counts = np.unique(present, return_counts=True)
    # A gap is one more value of the same histogram.
    noisy = noise.of(np.append(counts, len(values) - len(present)))
    named = noisy[:-1] >= least
    gaps = float(noisy[-1]) if noisy[-1] >= least else 0.0
    rest = np.zeros((0, 2)), np.zeros(0)
    if not column.is_category:
        rest = _binned(present[~np.isin(present, levels[named])], noise, least)
    if not named.any() and not len(rest[1]):
        return None
    return _Released(gaps, levels[named].astype(np.float64), noisy[:-1][named], *rest)


def _binned(
    values: Float[np.ndarray, " n"], noise: Noise, least: float
) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, " k"]]:
    """Intervals of numbers with noisy counts: powers of two first, of either sign, then parts of those with many."""
    exponents = np.frexp(np.abs(values))[1]
    powers, inverse = np.unique(np.where(values == 0, 0, np.sign(values) * (exponents + 4096)), return_inverse=True)
    noisy = noise.of(np.bincount(inverse, minlength=len(powers)))
    kept = (noisy >= least) & (powers != 0)
    sizes = np.ldexp(0.5, (np.abs(powers[kept]) - 4096).astype(int))
    low = np.where(powers[kept] > 0, sizes, -2 * sizes)
    bins, counts = np.stack([low, low + sizes], axis=1), noisy[kept]
    for _ in range(DIVISIONS):
        bins, counts = _divided(values, bins, counts, noise)
    return bins, counts


def _divided(
    values: Float[np.ndarray, " n"], bins: Float[np.ndarray, "k 2"], counts: Float[np.ndarray, " k"], noise: Noise
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, " m"]]:
    """The bins, those with many rows divided into parts; all parts together are one histogram."""
    parts: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    for (low, high), count in zip(bins, counts, strict=True):
        if count < 2 * CLEAR * noise.scale:
            parts.append(np.array([[low, high]]))
            numbers.append(np.array([count]))
            continue
        edges = np.linspace(low, high, PARTS + 1)
        inside = values[(values >= low) & (values < high)] if high > 0 else values[(values > low) & (values <= high)]
        noisy = noise.of(np.histogram(inside, edges)[0])
        kept = noisy > CLEAR * noise.scale
        if not kept.any():
            kept, noisy = np.ones(PARTS, bool), np.full(PARTS, 1.0)
        parts.append(np.stack([edges[:-1], edges[1:]], axis=1)[kept])
        numbers.append(noisy[kept] * count / noisy[kept].sum())
    return np.concatenate([np.zeros((0, 2)), *parts]), np.concatenate([np.zeros(0), *numbers])


def _moved(
    values: Float[np.ndarray, " n"], old: Column, new: Column, drawn: Float[np.ndarray, " m"],
    generator: np.random.Generator,
) -> Float[np.ndarray, " n"]:  # fmt: skip
    """The cells of a column as its private description has them; see `privately_described`."""
    present = drawn[~np.isnan(drawn)]
    if new.is_category:
        known = {category: place for place, category in enumerate(new.categories)}
        places = np.array([known.get(category, np.nan) for category in (old.categories or ())])
        if not old.is_category:  # numbers of which two values are left
            moved = np.where(np.isin(values, new.categories), np.searchsorted(np.sort(new.categories), values), np.nan)
        else:
            moved = np.where(np.isnan(values), np.nan, places[np.nan_to_num(values).astype(np.int64)])
    else:
        moved = np.clip(values, new.low, new.high)
        if not new.quantiles:  # every number is one of a few
            spikes = np.asarray(new.spikes)
            nearest = np.abs(moved[:, None] - spikes).argmin(axis=1)
            moved = np.where(np.isnan(moved), np.nan, spikes[nearest])
        elif new.step:
            moved = np.clip(rounded(moved, new.step), new.low, new.high)
    lost = np.isnan(moved) & ~(np.isnan(values) & (new.missing > 0))
    return np.where(lost, generator.choice(present, len(moved)), moved)


def _places(codes: Float[np.ndarray, " n"], order: np.ndarray, count: int) -> Float[np.ndarray, " n"]:
    """Codes as their places in an order; a gap remains one."""
    rank = np.full(count, np.nan)
    rank[order] = np.arange(len(order))
    return np.where(np.isnan(codes), np.nan, rank[np.nan_to_num(codes).astype(np.int64)])


def _apportioned(weights: Float[np.ndarray, " k"], total: int) -> np.ndarray:
    """Whole numbers in proportion to weights, by the largest remainders."""
    exact = weights * total / weights.sum()
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def _evenly(low: float, high: float, count: int) -> Float[np.ndarray, " c"]:
    """Numbers spread evenly inside an interval."""
    return low + (high - low) * (np.arange(count) + 0.5) / max(1, count)
