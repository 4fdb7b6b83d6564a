"""Which columns are missing in the same rows, and whether the rest of a row says which of its cells are missing."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float
from msgspec.structs import replace

from reparax.summary import Column

MOST_ROWS = 10_000
"""Rows that are tested, evenly spaced; more of them would find only dependence that is too weak to matter."""
MOST_CATEGORIES = 32
"""Categories of a column, or numbers that many rows share, that are tested, the most frequent ones."""
BLOCK = 128
"""Columns of numbers that are tested in one matrix product."""
LEVEL = 0.01
"""The probability of calling any gaps of a table dependent that are not."""
FEWEST_EXPECTED = 5.0
"""Below this expected count, the tail of a count is that of a Poisson variable instead of a Normal one."""


def with_gaps_described(columns: tuple[Column, ...], values: Float[np.ndarray, "n d"]) -> tuple[Column, ...]:
    """The columns, each with the first one that is missing in the same rows, and with whether gaps depend on the row.

    Args:
        columns: The columns of a table.
        values: Its rows, NaN where cells are missing.
    """
    gaps = [
        np.packbits(np.isnan(values[:, index])).tobytes() if column.missing > 0 else b""
        for index, column in enumerate(columns)
    ]
    return with_gaps_of(columns, values, gaps)


def with_gaps_of(
    columns: tuple[Column, ...], values: Float[np.ndarray, "n d"], gaps: Sequence[bytes]
) -> tuple[Column, ...]:
    """The same where it is known which columns are missing in the same rows.

    Args:
        columns: The columns of a table.
        values: Some of its rows.
        gaps: For each column with missing cells, a mark that it shares with those that are missing in the same rows.
    """
    groups: dict[bytes, list[int]] = {}
    for index, column in enumerate(columns):
        if column.missing > 0:
            groups.setdefault(gaps[index], []).append(index)
    if not groups:
        return columns
    depends = _depends(columns, values, list(groups.values()))
    result = list(columns)
    for group, found in zip(groups.values(), depends, strict=True):
        for index in group:
            first = columns[group[0]].name if index != group[0] else ""
            result[index] = replace(columns[index], missing_with=first, missing_depends=bool(found))
    return tuple(result)


def _depends(
    columns: tuple[Column, ...], values: Float[np.ndarray, "n d"], groups: list[list[int]]
) -> Bool[np.ndarray, " g"]:
    """Whether the gaps of each group are associated with a feature of the other columns, or with other gaps.

    The smallest of all p-values, times their number and that of the groups (Bonferroni), is below `LEVEL`.
    """
    rows = values[:: -(-len(values) // MOST_ROWS)].astype(np.float64)
    gone = np.isnan(rows[:, [group[0] for group in groups]]).astype(np.float64)
    own = [[index in group for group in groups] for index in range(len(columns))]
    least, count = np.ones(len(groups)), np.zeros(len(groups))
    for owners, features, are_binary in _features(columns, rows, values.dtype):
        p = _p_values(gone, features, are_binary=are_binary)
        p[np.asarray(own)[owners].T] = np.nan
        least, count = np.fmin(least, np.fmin.reduce(p, axis=1)), count + np.isfinite(p).sum(axis=1)
    p = _p_values(gone, gone, are_binary=True)
    np.fill_diagonal(p, np.nan)
    least, count = np.fmin(least, np.fmin.reduce(p, axis=1)), count + np.isfinite(p).sum(axis=1)
    return least * count * len(groups) < LEVEL


def _p_values(
    gone: Float[np.ndarray, "n g"], features: Float[np.ndarray, "n f"], *, are_binary: bool
) -> Float[np.ndarray, "g f"]:
    """Of the sum of each feature over the rows with each gap, if gaps were in random rows; NaN for constants.

    Rows in which a feature is NaN are left out.
    """
    from scipy.special import ndtr, pdtrc  # here, as importing SciPy takes longer than reading a small table

    observed = ~np.isnan(features)
    known = np.where(observed, features, 0.0)
    size, total = observed.sum(axis=0), known.sum(axis=0)
    missing, sums = gone.T @ observed, gone.T @ known
    share = missing / np.maximum(size, 1)
    squares = (known**2).sum(axis=0) - total**2 / np.maximum(size, 1)
    variance = share * (1 - share) * squares * size / np.maximum(size - 1, 1)
    varies = variance > 1e-9
    p = 2 * ndtr(-np.abs(sums - share * total) / np.sqrt(np.where(varies, variance, np.inf)))
    if are_binary:
        # The rarer of both outcomes, of gaps and features: the count of both is then small if any of the four is.
        sums = np.where(share > 0.5, total - sums, sums)
        missing = np.minimum(missing, size - missing)
        sums = np.where(total > size / 2, missing - sums, sums)
        expected = missing * np.minimum(total, size - total) / np.maximum(size, 1)
        tail = np.where(sums > 0, pdtrc(np.maximum(sums - 1, 0), expected), 1.0)
        p = np.where(expected < FEWEST_EXPECTED, tail, p)
    return np.where(varies, p, np.nan)


def _features(
    columns: tuple[Column, ...], rows: Float[np.ndarray, "n d"], dtype: np.dtype
) -> Iterator[tuple[list[int], Float[np.ndarray, "n f"], bool]]:
    """What gaps are tested against: features in blocks, the columns they belong to, and whether they are 0 or 1.

    Of categories, and numbers that many rows share, whether a cell is each; of numbers, the rank and its square. NaN
    where a cell is missing.
    """
    numbers = [index for index, column in enumerate(columns) if not column.is_category]
    for start in range(0, len(numbers), BLOCK):
        block = numbers[start : start + BLOCK]
        ranks = np.stack([_rank(rows[:, index]) for index in block], axis=1)
        yield [*block, *block], np.concatenate([ranks, ranks**2], axis=1), False
    for index, column in enumerate(columns):
        states = _states(column, dtype)
        if len(states):
            cells = rows[:, index, None]
            yield [index] * len(states), np.where(np.isnan(cells), np.nan, cells == states), True


def _states(column: Column, dtype: np.dtype) -> Float[np.ndarray, " k"]:
    """The most frequent categories, or numbers that many rows share, as the matrix has them."""
    if column.is_category:  # the most frequent first
        return np.arange(min(len(column.categories), MOST_CATEGORIES), dtype=float)
    order = np.argsort(-np.asarray(column.spike_fractions), kind="stable")[:MOST_CATEGORIES]
    return np.asarray(column.spikes, dtype)[order].astype(float)


def _rank(cells: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The ranks of numbers, from -1/2 to 1/2; NaN where they are missing."""
    rank, observed = np.full(len(cells), np.nan), ~np.isnan(cells)
    if observed.any():
        _, place, counts = np.unique(cells[observed], return_inverse=True, return_counts=True)
        rank[observed] = ((np.cumsum(counts) - counts / 2) / counts.sum() - 0.5)[place]
    return rank
