"""Each operation on single numbers: its formula, where it is continuous, and what values it takes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.special as sc

from reparax.continuity import interval as iv
from reparax.continuity.interval import Interval

Formula = Callable[..., Any]


class Smooth(NamedTuple):
    """A function of one number that is analytic on an interval.

    Args:
        formula: The function in numpy.
        image: The values it takes on an interval.
        domain: Where it is continuous; everywhere by default.
        window: Larger arguments are not used in tests, because the function hardly changes there.
        branched: Whether it is not analytic at an end of its domain.
    """

    formula: Formula
    image: Callable[[Interval], Interval]
    domain: Interval = iv.REAL
    window: float = math.inf
    branched: bool = False


def _within(low: float, high: float) -> Callable[[Interval], Interval]:
    return lambda a: Interval(low, high, False, False)


def _rising(function: Formula) -> Callable[[Interval], Interval]:
    return lambda a: iv.increasing(function, a)


def _exp(x: Any) -> Any:
    return np.exp(np.minimum(x, 709.0)) if np.ndim(x) else (math.inf if x > 709 else math.exp(x))


def _logarithm(x: float) -> float:
    return -math.inf if x <= 0 else math.log(x) if x < math.inf else math.inf


def _square_root(x: float) -> float:
    return math.sqrt(max(x, 0.0))


def _falling(function: Formula) -> Callable[[Interval], Interval]:
    return lambda a: iv.increasing(lambda x: function(-x), iv.negated(a))


def _inverse_root(x: float) -> float:
    return math.inf if x <= 0 else 1 / math.sqrt(x)


# exp(-inf) is 0: continuous.
_UNBOUNDED_BELOW = Interval(-math.inf, math.inf, False, True)
_ABOVE = Interval(-1.0, math.inf, True, True)
_OPEN = Interval(-1.0, 1.0, True, True)
_CLOSED = Interval(-1.0, 1.0, False, False)
_HALF_PI = math.pi / 2

UNARY: dict[str, Smooth] = {
    "neg": Smooth(np.negative, iv.negated),
    "exp": Smooth(np.exp, _rising(_exp), _UNBOUNDED_BELOW, window=15.0),
    "exp2": Smooth(np.exp2, _rising(lambda x: _exp(x * math.log(2.0))), _UNBOUNDED_BELOW, window=20.0),
    "expm1": Smooth(np.expm1, _rising(lambda x: _exp(x) - 1 if abs(x) > 1e-5 else x), window=15.0),
    "sin": Smooth(np.sin, _within(-1.0, 1.0)),
    "cos": Smooth(np.cos, _within(-1.0, 1.0)),
    "sinh": Smooth(np.sinh, _rising(lambda x: float(np.sinh(x))), window=15.0),
    "cosh": Smooth(np.cosh, lambda a: Interval(1.0, math.inf, False, True), window=15.0),
    "tanh": Smooth(np.tanh, _rising(math.tanh), window=8.0),
    "asinh": Smooth(np.arcsinh, _rising(np.arcsinh)),
    "atan": Smooth(np.arctan, _rising(math.atan)),
    "logistic": Smooth(sc.expit, _rising(lambda x: float(sc.expit(x))), window=15.0),
    "erf": Smooth(sc.erf, _rising(math.erf), window=3.5),
    "erfc": Smooth(sc.erfc, _falling(math.erfc), window=3.5),
    "square": Smooth(np.square, lambda a: iv.even_power(a, 2)),
    "one_minus_square": Smooth(
        lambda x: 1 - x * x, lambda a: iv.added(iv.point(1.0), iv.negated(iv.even_power(a, 2)))
    ),
    "bessel_i0e": Smooth(sc.i0e, lambda a: Interval(0.0, 1.0, True, False), window=15.0),
    "bessel_i1e": Smooth(sc.i1e, _within(-1.0, 1.0), window=15.0),
    "cbrt": Smooth(np.cbrt, _rising(np.cbrt), branched=True),
    "log": Smooth(np.log, _rising(_logarithm), iv.POSITIVE, branched=True),
    "log1p": Smooth(np.log1p, _rising(lambda x: _logarithm(1 + x)), _ABOVE, branched=True),
    "sqrt": Smooth(np.sqrt, _rising(_square_root), iv.NONNEGATIVE, branched=True),
    "rsqrt": Smooth(lambda x: 1 / np.sqrt(x), _falling(_inverse_root), iv.POSITIVE, branched=True),
    "asin": Smooth(np.arcsin, _within(-_HALF_PI, _HALF_PI), _CLOSED, branched=True),
    "acos": Smooth(np.arccos, _within(0.0, math.pi), _CLOSED, branched=True),
    "acosh": Smooth(np.arccosh, lambda a: iv.NONNEGATIVE, Interval(1.0, math.inf, False, True), branched=True),
    "atanh": Smooth(np.arctanh, lambda a: iv.REAL, _OPEN, branched=True),
    "erf_inv": Smooth(sc.erfinv, lambda a: iv.REAL, _OPEN, branched=True),
    "lgamma": Smooth(sc.gammaln, lambda a: iv.REAL, iv.POSITIVE, branched=True),
    "digamma": Smooth(sc.digamma, lambda a: iv.REAL, iv.POSITIVE, branched=True),
    "tan": Smooth(np.tan, lambda a: iv.REAL, Interval(-_HALF_PI, _HALF_PI, True, True), branched=True),
}  # fmt: skip

# Operations on two numbers that are continuous everywhere, with their images.
BINARY: dict[str, tuple[Formula, Callable[[Interval, Interval], Interval]]] = {
    "add": (np.add, iv.added),
    "add_any": (np.add, iv.added),
    "sub": (np.subtract, lambda a, b: iv.added(a, iv.negated(b))),
    "mul": (np.multiply, iv.multiplied),
    "max": (np.maximum, iv.maximum),
    "min": (np.minimum, iv.minimum),
}

COMPARISONS: dict[str, Formula] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "lt_to": np.less, "le_to": np.less_equal, "eq_to": np.equal,
}  # fmt: skip
ROUNDINGS: dict[str, Formula] = {"floor": np.floor, "ceil": np.ceil, "round": np.round, "truncate": np.trunc}
LOGIC: dict[str, Formula] = {
    "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not,
}  # fmt: skip

_COMPARED = "a comparison (where, >, <) makes it jump in z"
_EQUATED = "a test of equality between values that can be equal makes it jump in z"
REASONS = {
    **dict.fromkeys(("lt", "le", "gt", "ge", "lt_to", "le_to"), _COMPARED),
    **dict.fromkeys(("eq", "ne", "eq_to"), _EQUATED),
    "sign": "the sign of a value makes it jump in z",
    "floor": "rounding down makes it jump in z",
    "ceil": "rounding up makes it jump in z",
    "round": "rounding to whole numbers makes it jump in z",
    "truncate": "z is rounded to whole numbers",
    "rem": "a remainder, or for an angle the cut at +-pi, makes it jump in z",
}


def power_is_even(exponent: int) -> bool:
    """Whether an integer exponent is even."""
    return exponent % 2 == 0


def integer_power(a: Interval, exponent: int) -> Interval:
    """a ** exponent."""
    if exponent == 0:
        return iv.point(1.0)
    if exponent < 0:
        return iv.reciprocal(integer_power(a, -exponent))
    if power_is_even(exponent):
        return iv.even_power(a, exponent)
    return iv.increasing(lambda x: x**exponent if abs(x) < 1e30 else x, a)
