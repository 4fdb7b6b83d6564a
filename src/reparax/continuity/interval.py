"""Intervals of extended real numbers, each end open or closed: the values that a variable can take."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

INF = math.inf


class Interval(NamedTuple):
    """The values between two ends; an infinite end that is open is never reached.

    Args:
        low: The lower end.
        high: The upper end.
        low_open: Whether the lower end itself is excluded.
        high_open: Whether the upper end itself is excluded.
    """

    low: float = -INF
    high: float = INF
    low_open: bool = True
    high_open: bool = True

    @property
    def finite(self) -> bool:
        """Whether no value is infinite."""
        return not (self.reaches(-INF) or self.reaches(INF))

    def reaches(self, end: float) -> bool:
        """Whether an end of all numbers, -inf or inf, is one of the values."""
        return (self.low == end and not self.low_open) or (self.high == end and not self.high_open)

    @property
    def positive(self) -> bool:
        """Whether all values are above zero."""
        return self.low > 0 or (self.low == 0 and self.low_open)

    @property
    def negative(self) -> bool:
        """Whether all values are below zero."""
        return self.high < 0 or (self.high == 0 and self.high_open)

    @property
    def nonzero(self) -> bool:
        """Whether zero is excluded."""
        return self.positive or self.negative

    @property
    def value(self) -> float | None:
        """The only value, if there is only one."""
        return self.low if self.low == self.high else None

    def inside(self, other: "Interval") -> bool:
        """Whether every value lies in another interval."""
        low = self.low > other.low or (self.low == other.low and (self.low_open or not other.low_open))
        high = self.high < other.high or (self.high == other.high and (self.high_open or not other.high_open))
        return low and high


REAL = Interval()
EXTENDED = Interval(-INF, INF, False, False)
POSITIVE = Interval(0.0, INF, True, True)
NONNEGATIVE = Interval(0.0, INF, False, True)
UNIT = Interval(0.0, 1.0, True, True)
BOOLEAN = Interval(0.0, 1.0, False, False)


def point(value: float) -> Interval:
    """The interval of one value."""
    return Interval(value, value, False, False)


def hull(*parts: Interval) -> Interval:
    """The smallest interval that contains all of several."""
    low, high = min(p.low for p in parts), max(p.high for p in parts)
    return Interval(
        low, high, all(p.low_open for p in parts if p.low == low), all(p.high_open for p in parts if p.high == high)
    )


def meet(one: Interval, other: Interval) -> Interval:
    """The values in both intervals; if there are none, the first interval."""
    low, high = max(one.low, other.low), min(one.high, other.high)
    if low > high:
        return one
    low_open = any(p.low_open for p in (one, other) if p.low == low)
    high_open = any(p.high_open for p in (one, other) if p.high == high)
    return one if low == high and (low_open or high_open) else Interval(low, high, low_open, high_open)


def negated(a: Interval) -> Interval:
    """-a."""
    return Interval(-a.high, -a.low, a.high_open, a.low_open)


def added(a: Interval, b: Interval) -> Interval:
    """a + b; infinite values that cancel are handled where they arise."""
    low, high = a.low + b.low, a.high + b.high
    return Interval(
        -INF if math.isnan(low) else low,
        INF if math.isnan(high) else high,
        a.low_open or b.low_open if low > -INF else _reached(a.low, a.low_open, b.low, b.low_open),
        a.high_open or b.high_open if high < INF else _reached(a.high, a.high_open, b.high, b.high_open),
    )


def _reached(one: float, one_open: bool, other: float, other_open: bool) -> bool:
    """Whether an infinite end of a sum or product is open: unless either of the two reaches it."""
    return not ((math.isinf(one) and not one_open) or (math.isinf(other) and not other_open))


def multiplied(a: Interval, b: Interval) -> Interval:
    """a * b, with 0 * inf = 0 at the ends."""
    ends = []
    for x, x_open in ((a.low, a.low_open), (a.high, a.high_open)):
        for y, y_open in ((b.low, b.low_open), (b.high, b.high_open)):
            product = 0.0 if x == 0 or y == 0 else x * y
            if math.isinf(product):
                is_open = _reached(x, x_open, y, y_open)
            else:
                is_open = (x_open or y_open) and not ((x == 0 and not x_open) or (y == 0 and not y_open))
            ends.append((product, is_open))
    low, high = min(e for e, _ in ends), max(e for e, _ in ends)
    return Interval(low, high, all(o for e, o in ends if e == low), all(o for e, o in ends if e == high))


def reciprocal(a: Interval) -> Interval:
    """1 / a if a excludes zero; all numbers otherwise."""
    if not a.nonzero:
        return REAL
    low = -INF if a.high == 0 else 1 / a.high
    high = INF if a.low == 0 else 1 / a.low
    return Interval(low, high, a.high_open, a.low_open)


def absolute(a: Interval) -> Interval:
    """|a|."""
    if a.low >= 0:
        return a
    if a.high <= 0:
        return negated(a)
    high = max(-a.low, a.high)
    ends = [o for e, o in ((-a.low, a.low_open), (a.high, a.high_open)) if e == high]
    return Interval(0.0, high, False, all(ends))


def maximum(a: Interval, b: Interval) -> Interval:
    """max(a, b)."""
    low, high = max(a.low, b.low), max(a.high, b.high)
    return Interval(
        low,
        high,
        any(p.low_open for p in (a, b) if p.low == low),
        all(p.high_open for p in (a, b) if p.high == high),
    )


def minimum(a: Interval, b: Interval) -> Interval:
    """min(a, b)."""
    return negated(maximum(negated(a), negated(b)))


def increasing(function: Callable[[float], float], a: Interval) -> Interval:
    """The image under an increasing function."""
    with np.errstate(all="ignore"):
        low, high = float(function(a.low)), float(function(a.high))
    return Interval(
        -INF if math.isnan(low) else low, INF if math.isnan(high) else high, a.low_open, a.high_open
    )  # fmt: skip


def even_power(a: Interval, exponent: int) -> Interval:
    """a ** exponent for an even, positive exponent."""
    size = absolute(a)
    return increasing(lambda x: min(float(x) ** exponent if abs(x) < 1e30 else INF, INF), size)
