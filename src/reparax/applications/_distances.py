"""How far rows of a table are from each other, for columns of numbers, categories and gaps together."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float, UInt64

from reparax.summary import Column

NUMBERS_AT_ONCE = 1 << 23
GAP = -1.0
"""The code of a missing cell, below those of all categories and, for comparing rows, in place of its number."""
TIE = 1e-9


def comparable(values: np.ndarray, columns: tuple[Column, ...] | None) -> Float[np.ndarray, "n d"]:
    """Rows whose equal cells are equal bits: numbers as multiples of their step or in float32.

    Args:
        values: One row for each example; NaN for missing cells.
        columns: The columns of a table; None for images and arrays.
    """
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    if columns is None:
        return rows.astype(np.float32).astype(np.float64)
    cells = [
        np.rint(cell / column.step) if column.step > 0 and not column.is_category else cell.astype(np.float32)
        for cell, column in zip(rows.T, columns, strict=True)
    ]
    return np.stack(cells, axis=1).astype(np.float64) + 0.0  # no negative zeros


def equal_rows(rows: Float[np.ndarray, "m d"], to: Iterable[Float[np.ndarray, "n d"]]) -> np.ndarray:
    """Whether each row equals one of the others; gaps are equal to gaps. All from `comparable`.

    Args:
        rows: The rows.
        to: The others, some at a time.
    """
    own, checksums = np.nan_to_num(rows, nan=np.inf), _checksums(rows)
    equal: set[bytes] = set()
    for some in to:
        alike = some[np.isin(_checksums(some), checksums)]
        equal.update(row.tobytes() for row in np.nan_to_num(alike, nan=np.inf))
    return np.asarray([row.tobytes() in equal for row in own], bool)


def _checksums(rows: Float[np.ndarray, "n d"]) -> UInt64[np.ndarray, " n"]:
    """A number for each row, the same for equal ones and rarely for others."""
    bits = np.ascontiguousarray(np.nan_to_num(rows, nan=np.inf)).view(np.uint64)
    factors = np.random.default_rng(0).integers(1 << 63, size=rows.shape[1], dtype=np.uint64) * np.uint64(2)
    # The low bits of round numbers are zeros, and products keep them.
    return ((bits ^ (bits >> np.uint64(32))) * (factors + np.uint64(1))).sum(axis=1, dtype=np.uint64)


class Space:
    """Distances between rows, summed over the columns, each of which counts from 0 to 1.

    Numbers differ by the fraction of real rows between them, categories by 0 or 1. A gap is as far from a number as
    the number from the median, and 1/2 more. Examples that are no rows of a table have the Euclidean distance.

    Args:
        real: The real rows, which give the scale of numbers: rows of the fit and held-out ones alike.
        columns: The columns of a table; None for images and arrays.
    """

    def __init__(self, real: Float[np.ndarray, "n d"], columns: tuple[Column, ...] | None) -> None:
        self._columns = columns
        is_category = np.asarray([column.is_category for column in columns or ()], bool)
        self._codes, self._numbers = np.flatnonzero(is_category), np.flatnonzero(~is_category)
        self._levels = [] if columns is None else [_levels(real[:, index]) for index in self._numbers.tolist()]

    def nearest(
        self, rows: Float[np.ndarray, "m d"], to: Float[np.ndarray, "n d"]
    ) -> Iterator[Float[np.ndarray, "some n"]]:
        """The distances of each row to all others, a block of rows at a time."""
        from scipy.spatial.distance import cdist  # here, as the explorer opens without it

        block = max(1, NUMBERS_AT_ONCE // len(to))
        if self._columns is None:
            for start in range(0, len(rows), block):
                yield cdist(rows[start : start + block], to)
            return
        numbers, codes = (self._ranked(rows), self._ranked(to)), (self._coded(rows), self._coded(to))
        for start in range(0, len(rows), block):
            places = slice(start, start + block)
            total = np.zeros((len(rows[places]), len(to)))
            if len(self._numbers):
                total += cdist(numbers[0][places], numbers[1], "cityblock")
            if len(self._codes):
                total += len(self._codes) * cdist(codes[0][places], codes[1], "hamming")
            yield total

    def _coded(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        return np.nan_to_num(rows[:, self._codes], nan=GAP)

    def _ranked(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """The ranks of numbers between 0 and 1; where a column has gaps, beside half of whether the cell is missing."""
        parts = []
        for index, (levels, ranks) in zip(self._numbers.tolist(), self._levels, strict=True):
            is_missing = np.isnan(rows[:, index])
            parts.append(np.where(is_missing, 0.5, np.interp(np.nan_to_num(rows[:, index]), levels, ranks)))
            parts.append(is_missing / 2)
        return np.stack(parts, axis=1)


def _levels(cells: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """The different values of a column, and the fraction of its cells below each, ties counted half."""
    present = np.sort(cells[~np.isnan(cells)])
    if not len(present):
        return np.zeros(1), np.full(1, 0.5)
    levels, first, counts = np.unique(present, return_index=True, return_counts=True)
    return levels, (first + counts / 2) / len(present)


def closest(space: Space, rows: Float[np.ndarray, "m d"], to: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " m"]:
    """The distance of each row to the closest of the others."""
    return np.concatenate([block.min(axis=1) for block in space.nearest(rows, to)])


def neighbor_weights(
    space: Space, rows: Float[np.ndarray, "m d"], to: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " n"]:
    """The fraction of the rows of which each of the others is the closest; equally close ones share a row."""
    total = np.zeros(len(to))
    for block in space.nearest(rows, to):
        is_closest = block <= block.min(axis=1, keepdims=True) + TIE
        total += (is_closest / is_closest.sum(axis=1, keepdims=True)).sum(axis=0)
    return total / len(rows)
