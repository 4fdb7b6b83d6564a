"""Facts about the numbers of one column, from its distinct values and how often each occurs."""

from typing import NamedTuple, Self

import numpy as np

from reparax.data._values import SMALLEST_STD
from reparax.summary import QUANTILE_LEVELS

MOST_ATOMS = 64
FEWEST_ROWS = 10  # an atom is a value of at least so many rows
SMALLEST_SHARE = 0.005  # and of at least this share of the rows
STICKS_OUT = 3.0
DENSE = 2.0
NEIGHBORS = 5
FEWEST_LEVELS = 10  # from so many distinct values on, a common divisor is no accident
DECIMALS = 6
LARGEST_EXACT = 2.0**53


class Levels(NamedTuple):
    """The distinct values of a column, ascending, and how many rows have each.

    Attributes:
        values: The distinct values, float64.
        counts: How often each occurs.
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, present: np.ndarray) -> Self:
        """The levels of the values that are there."""
        values, counts = np.unique(present, return_counts=True)
        return cls(values.astype(np.float64) + 0.0, counts)  # minus zero is zero

    @property
    def num_rows(self) -> int:
        """How many values there are, repetitions included."""
        return int(self.counts.sum())

    @property
    def whole(self) -> bool:
        """Whether every value is a whole number."""
        return bool((self.values == np.rint(self.values)).all())

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation; 1 for the latter where constant."""
        if len(self.values) == 1:
            return float(self.values[0]), 1.0
        rows = self.num_rows
        mean = float((self.values * (self.counts / rows)).sum())
        std = float(np.sqrt((np.square(self.values - mean) * (self.counts / rows)).sum()))
        return mean, std if std >= SMALLEST_STD else 1.0

    def spread(self) -> float:
        """The standard deviation with the values beyond the 1 % and 99 % quantiles moved to these; 1 where constant."""
        ends = np.cumsum(self.counts)
        low, high = self.values[np.searchsorted(ends, np.array([0.01, 0.99]) * (ends[-1] - 1), side="right")]
        kept = self if low == high else Levels(np.clip(self.values, low, high), self.counts)
        return kept.moments()[1]

    def skewness(self) -> float:
        """The third standardized moment; 0 where constant."""
        mean, std = self.moments()
        return float((((self.values - mean) / std) ** 3 * (self.counts / self.num_rows)).sum())

    def without(self, atoms: np.ndarray) -> "Levels":
        """The levels that are no atoms."""
        rest = ~np.isin(self.values, atoms)
        return Levels(self.values[rest], self.counts[rest])

    def shares_of(self, atoms: np.ndarray) -> tuple[float, ...]:
        """The share of rows of each atom (0 for one that is not there)."""
        place = np.searchsorted(self.values, atoms).clip(max=len(self.values) - 1)
        found = np.where(self.values[place] == atoms, self.counts[place], 0)
        return tuple((found / self.num_rows).tolist())

    def quantiles(self) -> tuple[float, ...]:
        """The quantiles at `QUANTILE_LEVELS`, linear between order statistics."""
        ends = np.cumsum(self.counts)
        positions = np.asarray(QUANTILE_LEVELS) * (ends[-1] - 1)
        below = np.floor(positions).astype(np.int64)
        above = np.minimum(below + 1, ends[-1] - 1)
        low = self.values[np.searchsorted(ends, below, side="right")]
        high = self.values[np.searchsorted(ends, above, side="right")]
        return tuple((low + (high - low) * (positions - below)).tolist())


def atoms_of(levels: Levels, step: float) -> np.ndarray:
    """The values that many rows share: at least 10 rows and 0.5 % of all, at most the 64 most frequent.

    Where a typical row shares its value with few others (numbers spread over a wide range), only those that stick out
    from their neighbors; where more than 64 remain, only those three times as frequent as the middle one.

    Args:
        levels: The values that are there.
        step: What all are whole multiples of, 0 for nothing.
    """
    fewest = max(FEWEST_ROWS, int(np.ceil(SMALLEST_SHARE * levels.num_rows)))
    many = levels.counts >= fewest
    if not many.any():
        return levels.values[:0]
    typical = float((levels.counts * (levels.counts / levels.num_rows)).sum())
    if len(levels.values) > 1 and typical < DENSE * fewest:
        around = _around(levels, step)
        many &= levels.counts >= np.maximum(2 * around, around + 3 * np.sqrt(around))
    if many.sum() > MOST_ATOMS:
        many &= levels.counts >= STICKS_OUT * np.median(levels.counts[many])
    places = np.flatnonzero(many)
    places = places[np.argsort(-levels.counts[places], kind="stable")[:MOST_ATOMS]]
    return levels.values[np.sort(places)]


def _around(levels: Levels, step: float) -> np.ndarray:
    """The mean count of the multiples of the step (of the distinct values where there is none) within five of each."""
    places = np.rint(levels.values / step) if step > 0 else np.arange(len(levels.values), dtype=np.float64)
    sums = np.concatenate([[0], np.cumsum(levels.counts)])
    first = np.searchsorted(places, places - NEIGHBORS, side="left")
    last = np.searchsorted(places, places + NEIGHBORS, side="right")
    room = np.minimum(places - places[0], NEIGHBORS) + np.minimum(places[-1] - places, NEIGHBORS)
    return (sums[last] - sums[first] - levels.counts) / np.maximum(room, 1)


def step_of(values: np.ndarray, precision: float) -> float:
    """The largest number that all values are whole multiples of, 0 where there is none of at most 6 decimals.

    Common divisors other than powers of ten (25, 0.5) are told from at least 10 distinct values, lest an accident be
    taken for a rule.

    Args:
        values: Distinct values.
        precision: The relative precision of the numbers' data type.
    """
    size = float(np.abs(values).max(initial=0.0))
    if bool((values == np.rint(values)).all()):
        return float(_divisor(values)) if size < LARGEST_EXACT else 1.0
    some = values[:: max(1, len(values) // 500)]
    for decimals in range(1, DECIMALS + 1):
        scale = 10.0**decimals
        if size * scale * precision * 4 > 0.05:  # the next number of this data type is too far away to tell
            return 0.0
        if _whole_within(some * scale, precision) and _whole_within(values * scale, precision):
            return _divisor(np.rint(values * scale)) / scale
    return 0.0


def _whole_within(scaled: np.ndarray, precision: float) -> bool:
    return bool((np.abs(scaled - np.rint(scaled)) <= 4 * precision * np.abs(scaled)).all())


def _divisor(whole: np.ndarray) -> int:
    numbers = np.abs(whole[whole != 0])
    if len(numbers) < FEWEST_LEVELS:
        return 1
    return int(np.gcd.reduce(numbers.astype(np.int64)))
