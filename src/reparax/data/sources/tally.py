"""What one pass over a column finds: counts, range, moments, distinct values and their common divisor."""

import hashlib
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reparax.data.columns import too_large
from reparax.data.facts import Facts, Moments
from reparax.data.text import Distinct, cells_of_texts
from reparax.data.values import DECIMALS, LARGEST_EXACT, SMALLEST_STD, Category, Cells, Levels
from reparax.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MOST_TEXTS = 1 << 18
"""Different texts of a column that are counted."""


@dataclass(frozen=True)
class Spread:
    """The mean of some numbers and the sum of their squared deviations; Chan et al. (1979), equation 2.1.

    Attributes:
        count: How many numbers.
        mean: Their mean, or their means.
        squares: The sum of the squared deviations from it.
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Spread":
        """Those of numbers along the first axis."""
        if not len(values):
            return cls(0, np.zeros(values.shape[1:]), np.zeros(values.shape[1:]))
        mean = values.mean(axis=0, dtype=np.float64)
        return cls(len(values), np.asarray(mean), np.asarray(np.square(values - mean, dtype=np.float64).sum(axis=0)))

    def joined(self, other: "Spread") -> "Spread":
        """Those of both."""
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        squares = self.squares + other.squares + np.square(apart) * (self.count * other.count / count)
        return Spread(count, self.mean + apart * (other.count / count), squares)

    def without(self, other: "Spread") -> "Spread":
        """Those of the others of these numbers."""
        count = self.count - other.count
        if not other.count or not count:
            return self
        mean = self.mean + (self.mean - other.mean) * (other.count / count)
        apart = np.square(other.mean - mean) * (count * other.count / self.count)
        return Spread(count, mean, np.maximum(self.squares - other.squares - apart, 0.0))

    @property
    def std(self) -> np.ndarray:
        """The standard deviation, 1 where it is 0."""
        std = np.sqrt(self.squares / max(1, self.count))
        return np.where(std < SMALLEST_STD, 1.0, std)


class _Divisors:
    """The largest number of which all are multiples, as `reparax.data.values.step_of` finds it in many of them."""

    def __init__(self, precision: float) -> None:
        self._precision, self._size = precision, 0.0
        self._divisors = dict.fromkeys(range(DECIMALS + 1), 0)

    def add(self, values: np.ndarray) -> None:
        if not self._divisors or not len(values):
            return
        self._size = max(self._size, float(np.abs(values).max()))
        for decimals in list(self._divisors):
            scaled = values * 10.0**decimals
            units = np.rint(scaled)
            allowed = 4 * self._precision * np.abs(scaled) if decimals else 0.0
            if not self._is_fine_enough(decimals) or bool((np.abs(scaled - units) > allowed).any()):
                del self._divisors[decimals]
            elif self._divisors[decimals] != 1 and self._size * 10.0**decimals < LARGEST_EXACT:
                of_piece = int(np.gcd.reduce(np.abs(units).astype(np.int64)))
                self._divisors[decimals] = int(np.gcd(self._divisors[decimals], of_piece))

    def _is_fine_enough(self, decimals: int) -> bool:
        return not decimals or self._size * 10.0**decimals * self._precision * 4 <= 0.05

    @property
    def step(self) -> float:
        """The number; 0 if there is none."""
        if not self._divisors:
            return 0.0
        decimals = min(self._divisors)
        if decimals == 0:
            return float(self._divisors[0]) if self._size < LARGEST_EXACT else 1.0
        return self._divisors[decimals] / 10.0**decimals


class Counts(NamedTuple):
    """Cells of some rows of a column.

    Attributes:
        missing: The fraction of missing cells.
        levels: The distinct numbers, or the codes of all categories, with their counts.
        moments: The mean and the standard deviation where the levels are those of a sample.
    """

    missing: float
    levels: Levels
    moments: tuple[float, float] | None = None


class NumberTally:
    """Numbers, truth values or dates.

    Args:
        name: The name of the column.
        most: How many distinct values are counted; of more of them, those of a sample are used instead.
    """

    def __init__(self, name: str, most: int) -> None:
        self.name, self._most = name, most
        self.rows = self.num_missing = 0
        self.low, self.high, self.lost = np.inf, -np.inf, 0.0
        self.is_huge, self.is_whole, self.checksum = False, True, 0
        self.levels: Levels | None = Levels(np.zeros(0), np.zeros(0, np.int64))
        self.spread = Spread.of(np.zeros(0))
        self._gaps = hashlib.blake2b(digest_size=16)
        self._fraction: float | None = None
        self._cells: Cells | None = None
        self._divisors: _Divisors | None = None
        self._step = 1.0

    def add(self, cells: Cells) -> None:
        """Counts more cells."""
        self.is_huge |= cells.kind == "category" or too_large(cells)
        self._cells = self._cells or replace(cells, values=cells.values[:0])
        present = cells.present()
        self.rows, self.num_missing = self.rows + len(cells.values), self.num_missing + cells.num_missing
        self.checksum = zlib.crc32(np.ascontiguousarray(cells.values).data, self.checksum)
        missing = np.isnan(cells.values) if cells.num_missing else np.zeros(len(cells.values), bool)
        self._gaps.update(np.packbits(missing).tobytes())
        if not len(present) or self.is_huge:
            return
        exact = present.astype(np.float64)
        self.low, self.high = min(self.low, float(exact.min())), max(self.high, float(exact.max()))
        self.lost = max(self.lost, float(np.abs(exact - exact.astype(np.float32)).max()))
        self.spread = self.spread.joined(Spread.of(exact))
        self._step = min(self._step, cells.step)
        fractions = exact[exact != np.rint(exact)] if self.is_whole else exact[:0]
        if len(fractions):
            self.is_whole, self._fraction = False, float(fractions[0])
        self._count(exact, cells.precision)

    def _count(self, exact: np.ndarray, precision: float) -> None:
        if self.levels is not None:
            self.levels = merged(self.levels, Levels.of(exact))
            if len(self.levels.values) > self._most:
                self._divisors = _Divisors(precision)
                self._divisors.add(self.levels.values)
                self.levels = None
        elif self._divisors is not None:
            self._divisors.add(exact)

    @property
    def missing(self) -> float:
        """The fraction of missing cells."""
        return self.num_missing / max(1, self.rows)

    @property
    def gaps(self) -> bytes:
        """A mark of the rows in which cells are missing."""
        return self._gaps.digest()

    @property
    def cells(self) -> Cells:
        """Some cells, for their data type."""
        assert self._cells is not None
        return self._cells

    def facts(self, sample: np.ndarray) -> Facts:
        """What is known of all cells; of many distinct values, the levels are those of a sample of them."""
        cells = self.cells
        step = self._step if cells.kind == "datetime" else cells.step
        given = (cells.kind, cells.dtype, self.missing)
        if self.levels is not None:
            levels = with_codes(self.levels, len(cells.categories)) if cells.categories else self.levels
            return Facts(*given, levels, cells.categories, step, cells.precision)
        assert self._divisors is not None
        exact = Moments(float(self.spread.mean), float(self.spread.std), self._divisors.step)
        return Facts(*given, self.with_ends(sample), (), step, cells.precision, exact=exact)

    def with_ends(self, sample: np.ndarray) -> Levels:
        """The levels of a sample, with the least and the greatest value of all, and one that is not whole."""
        ends = [self.low, self.high, *([] if self._fraction is None else [self._fraction])]
        return Levels.of(np.concatenate([sample.astype(np.float64), np.setdiff1d(ends, sample)]))

    def without(self, other: "NumberTally", sample: np.ndarray) -> Counts:
        """The cells of the other rows.

        Args:
            other: The same of some of the rows, with all their distinct values.
            sample: Numbers of a sample of the other rows.
        """
        spread = self.spread.without(other.spread)
        missing = 1.0 - spread.count / max(1, self.rows - other.rows)
        if self.levels is None:
            return Counts(missing, self.with_ends(sample), (float(spread.mean), float(spread.std)))
        assert other.levels is not None
        return Counts(missing, subtracted(self.levels, other.levels))


def merged(one: Levels, other: Levels) -> Levels:
    """The levels of both."""
    values, places = np.unique(np.concatenate([one.values, other.values]), return_inverse=True)
    counts = np.bincount(places, np.concatenate([one.counts, other.counts]), minlength=len(values))
    return Levels(values, counts.astype(np.int64))


def with_codes(levels: Levels, count: int) -> Levels:
    """Codes with the number of rows of each, those without rows too."""
    counts = np.zeros(count, np.int64)
    counts[levels.values.astype(np.int64)] = levels.counts
    return Levels(np.arange(count, dtype=np.float64), counts)


def subtracted(one: Levels, other: Levels) -> Levels:
    """The levels of the first without those of the second, which are among them."""
    counts = one.counts.copy()
    counts[np.searchsorted(one.values, other.values)] -= other.counts
    return Levels(one.values[counts > 0], counts[counts > 0])


class TextTally:
    """Texts, or declared categories.

    Args:
        name: The name of the column.
        declared: Whether these are declared categories.
    """

    def __init__(self, name: str, *, declared: bool) -> None:
        self.name, self.declared = name, declared
        self.rows, self.checksum = 0, 0
        self.counts: dict[Category, int] = {}
        self._gaps = hashlib.blake2b(digest_size=16)

    def add_texts(self, series: "pl.Series") -> None:
        """Counts more texts."""
        counted = series.rename("text").drop_nulls().value_counts(name="count")
        self._add(len(series), dict(zip(counted["text"].to_list(), counted["count"].to_list(), strict=True)))
        self._mark(series.is_null().to_numpy(), series.hash().to_numpy())

    def add_declared(self, cells: Cells) -> None:
        """Counts more declared categories."""
        counts = np.bincount(cells.present().astype(np.int64), minlength=len(cells.categories))
        self._add(len(cells.values), dict(zip(cells.categories, counts.tolist(), strict=True)))
        self._mark(np.isnan(cells.values), cells.values)

    def _add(self, rows: int, counts: dict[Category, int]) -> None:
        self.rows += rows
        for text, count in counts.items():
            self.counts[text] = self.counts.get(text, 0) + count
        if len(self.counts) > MOST_TEXTS:
            raise DataError(
                expected=f"at most {MOST_TEXTS:,} different texts in column {self.name!r}, to be counted in one pass",
                got="more of them",
                cure=f"leave it out (--exclude {self.name}, exclude=), or store numbers and dates as such",
            )

    def _mark(self, missing: np.ndarray, values: np.ndarray) -> None:
        self._gaps.update(np.packbits(missing).tobytes())
        self.checksum = zlib.crc32(np.ascontiguousarray(values).data, self.checksum)

    @property
    def gaps(self) -> bytes:
        """A mark of the rows in which cells are missing, other than by a text that says so."""
        return self._gaps.digest()

    def cells(self) -> tuple[Cells, np.ndarray]:
        """One cell for each distinct text, and the number of rows with each."""
        import polars as pl

        texts = self._texts()
        counts = np.asarray([self.counts[text] for text in texts], np.int64)
        if self.declared:
            return Cells("category", np.arange(len(texts), dtype=np.float64), "category", tuple(texts)), counts
        series = pl.Series("text", texts, dtype=pl.String)
        return cells_of_texts(Distinct(series, np.arange(len(counts)), counts)), counts

    def _texts(self) -> list[Category]:
        """The distinct texts, the most frequent first, and equally frequent ones in order."""
        return sorted((text for text, count in self.counts.items() if count), key=self._by_count)

    def _by_count(self, text: Category) -> tuple[int, str]:
        return -self.counts[text], str(text)

    def without(self, other: "TextTally") -> Counts:
        """The cells of the other rows.

        Args:
            other: The same of some of the rows.
        """
        cells, counts = self.cells()
        texts = self._texts()
        counts = counts - np.asarray([other.counts.get(text, 0) for text in texts], np.int64)
        levels = levels_of_texts(cells, counts)
        return Counts(1.0 - levels.num_rows / max(1, self.rows - other.rows), levels)

    def facts(self, cells: Cells, counts: np.ndarray) -> Facts:
        """What is known of the column."""
        levels = levels_of_texts(cells, counts)
        missing = (self.rows - levels.num_rows) / max(1, self.rows)
        return Facts(cells.kind, cells.dtype, missing, levels, cells.categories, cells.step, cells.precision)


def levels_of_texts(cells: Cells, counts: np.ndarray) -> Levels:
    """The levels of distinct texts, of which each has one cell.

    Args:
        cells: The cells.
        counts: The number of rows with each text.
    """
    present = ~np.isnan(cells.values)
    distinct, places = np.unique(cells.values[present], return_inverse=True)
    found = np.bincount(places, counts[present], len(distinct)).astype(np.int64)
    if cells.categories:
        return with_codes(Levels(distinct, found), len(cells.categories))
    return Levels.of_distinct(distinct[found > 0], found[found > 0])
