"""Which values of a program are shown to be positive, so that dividing by them has no pole."""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np


class Sign(IntEnum):
    """What is shown of every element of a value; of several, the least holds."""

    UNKNOWN = 0
    NONNEGATIVE = 1
    POSITIVE = 2


_ALWAYS = dict.fromkeys(("exp", "exp2", "logistic", "erfc", "cosh"), Sign.POSITIVE)
_KEEPS = {
    "log1p", "expm1", "tanh", "sinh", "asinh", "atan", "erf", "sqrt", "cbrt", "reduce_sum", "cumsum", "reduce_max",
    "reduce_min", "reduce_prod", "cumprod", "cummax", "cummin", "broadcast_in_dim", "reshape", "squeeze", "expand_dims",
    "transpose", "rev", "slice", "copy", "copy_p", "split", "rsqrt", "reduce_window_max", "optimization_barrier",
}  # fmt: skip
_LEAST = {"mul", "div", "min", "concatenate", "dot_general", "pad", "stack"}


def sign_of(name: str, params: Mapping[str, Any], signs: Sequence[Sign]) -> Sign:
    """The sign of a step's result, from those of its inputs."""
    if name in _ALWAYS:
        return _ALWAYS[name]
    if name in {"abs", "square"} or (name == "integer_pow" and params["y"] % 2 == 0):
        return max(signs[0], Sign.NONNEGATIVE)
    if name == "sqrt":
        return max(signs[0], Sign.NONNEGATIVE)
    if name in _KEEPS or name == "integer_pow":
        return signs[0]
    if name in {"dynamic_slice", "pow"}:
        return signs[0]
    if name in _LEAST:
        return min(signs)
    if name in {"add", "add_any"}:
        return max(signs) if min(signs) > Sign.UNKNOWN else Sign.UNKNOWN
    if name == "max":
        return max(signs)
    if name == "clamp":
        return signs[0] if signs[0] > Sign.UNKNOWN else Sign.UNKNOWN
    return Sign.UNKNOWN


def sign_of_value(value: Any) -> Sign:
    """The sign of a constant that is known."""
    array = np.asarray(value)
    if array.size and np.all(array > 0):
        return Sign.POSITIVE
    return Sign.NONNEGATIVE if np.all(array >= 0) else Sign.UNKNOWN


Rule = Callable[[Mapping[str, Any], Sequence[bool], Sequence[Sign], Sequence[Any]], bool]


def _division(params: Mapping[str, Any], varying: Sequence[bool], signs: Sequence[Sign], values: Sequence[Any]) -> bool:
    return not varying[1] or signs[1] is Sign.POSITIVE


def _whole_power(
    params: Mapping[str, Any], varying: Sequence[bool], signs: Sequence[Sign], values: Sequence[Any]
) -> bool:
    return params["y"] > 0 or signs[0] is Sign.POSITIVE


def _power(params: Mapping[str, Any], varying: Sequence[bool], signs: Sequence[Sign], values: Sequence[Any]) -> bool:
    exponent = values[1]
    return signs[0] is Sign.POSITIVE or (exponent is not None and bool(np.all(np.asarray(exponent) > 0)))


def _positive_only(
    params: Mapping[str, Any], varying: Sequence[bool], signs: Sequence[Sign], values: Sequence[Any]
) -> bool:
    return all(sign is Sign.POSITIVE for sign in signs)


# Steps that are continuous only under a condition.
POLES: dict[str, Rule] = {
    "div": _division, "integer_pow": _whole_power, "pow": _power, "lgamma": _positive_only, "digamma": _positive_only,
}  # fmt: skip
