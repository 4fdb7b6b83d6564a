"""Where a program can jump in its draw: comparisons are switches; other steps that may jump are refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from reparax.errors import InvalidEstimator
from reparax.estimators._replay import COMPARISONS, Replay, Step, is_concrete
from reparax.jaxprs import scan_sizes


class Sign(IntEnum):
    """What is known of every element of a value; of several values, the least."""

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


# Continuous in every real input wherever the result is not NaN; steps with poles are in `POLES` instead.
_CONTINUOUS = {
    "neg", "add", "sub", "mul", "add_any", "exp", "exp2", "expm1", "log", "log1p", "tanh", "sin", "cos", "asin", "acos",
    "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "sqrt", "cbrt", "square", "abs", "max", "min", "clamp",
    "logistic", "erf", "erfc", "erf_inv", "rsqrt", "dot_general", "conv_general_dilated", "reduce_sum", "reduce_max",
    "reduce_min", "reduce_prod", "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "broadcast_in_dim", "reshape",
    "squeeze", "expand_dims", "transpose", "rev", "concatenate", "pad", "slice", "dynamic_slice", "split", "gather",
    "dynamic_update_slice", "scatter", "scatter-add", "scatter_add", "scatter-mul", "scatter_mul", "select_n", "copy",
    "copy_p", "stop_gradient", "optimization_barrier", "reduce_window_sum", "reduce_window_max", "bessel_i0e",
    "bessel_i1e", "tile", "stack", "unstack",
}  # fmt: skip
_LOOPS = {"scan", "while", "cond"}
_CURE = (
    "write the jump as a comparison outside loops (jnp.where(a > b, ...), vectorized over the steps), or use "
    "leave-one-out if the location of the jump does not depend on parameters outside q"
)


class Kind(IntEnum):
    """How a value depends on the draw; of several values, the greatest."""

    CONSTANT = 0
    PIECEWISE = 1
    STOPPED = 2
    VARYING = 3


@dataclass(frozen=True)
class Fact:
    """What is known of a value: how it depends on the draw, its sign, and whether it depends on f's key or a tracer."""

    kind: Kind = Kind.CONSTANT
    sign: Sign = Sign.UNKNOWN
    noisy: bool = False
    traced: bool = False


@dataclass(frozen=True)
class Watched:
    """A test for NaN or infinity: its usual outcome is assumed, and verified at every draw."""

    step: Step
    usual: bool


@dataclass
class Switches:
    """The switches of a program, in order, and the tests whose usual outcome is assumed."""

    program: Replay
    facts: dict[int, Fact] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    twins: dict[int, int] = field(default_factory=dict)


def find_switches(program: Replay, inputs: Sequence[Fact]) -> Switches:
    """The comparisons at which a program may jump.

    Args:
        program: The program.
        inputs: What is known of its inputs.

    Raises:
        InvalidEstimator: It has a step that may jump and is not a comparison, or a comparison inside a loop.
    """
    switches = Switches(program)
    switches.facts.update(zip(program.inputs, inputs, strict=True))
    for number, value in program.constants.items():
        concrete = is_concrete(value)
        sign = sign_of_value(value) if concrete and program.is_floating(number) else Sign.UNKNOWN
        switches.facts[number] = Fact(sign=sign, traced=not concrete and program.is_floating(number))
    first: dict[tuple[int, int], int] = {}
    for step in program.steps:
        _visit(switches, step, first)
    return switches


def _visit(switches: Switches, step: Step, first: dict[tuple[int, int], int]) -> None:
    inputs = [switches.facts[number] for number in step.inputs]
    joined = Fact(
        max((fact.kind for fact in inputs), default=Kind.CONSTANT),
        noisy=any(fact.noisy for fact in inputs),
        traced=any(fact.traced for fact in inputs),
    )
    if step.name in COMPARISONS:
        outputs = [_compare(switches, step, inputs, joined, first)]
    elif step.name == "stop_gradient":
        outputs = [replace(joined, kind=min(joined.kind, Kind.STOPPED), traced=False, sign=inputs[0].sign)]
    elif step.name in _LOOPS and joined.kind is not Kind.CONSTANT:
        outputs = _loop(switches.program, step, inputs)
    elif joined.kind is Kind.VARYING:
        outputs = [_continuous(switches, step, inputs, joined)] * len(step.outputs)
    else:
        signed = replace(joined, sign=sign_of(step.name, step.equation.params, [fact.sign for fact in inputs]))
        outputs = [signed] * len(step.outputs)
    for number, fact in zip(step.outputs, outputs, strict=True):
        is_integer = not switches.program.is_floating(number)
        switches.facts[number] = replace(fact, kind=min(fact.kind, Kind.STOPPED)) if is_integer else fact


def _compare(
    switches: Switches, step: Step, inputs: list[Fact], joined: Fact, first: dict[tuple[int, int], int]
) -> Fact:
    if joined.kind is Kind.VARYING:
        mark = _same_boundary(step)
        if mark in first:
            switches.twins[step.outputs[0]] = first[mark]
        else:
            first[mark] = step.outputs[0]
            switches.steps.append(step)
        return replace(joined, kind=Kind.PIECEWISE)
    if joined.kind is Kind.STOPPED and joined.traced and switches.program.is_floating(step.inputs[0]):
        raise _refused("a comparison of a stopped draw (stop_gradient) with a parameter, whose derivative is missing")
    if joined.noisy and joined.traced and switches.program.is_floating(step.inputs[0]):
        raise _refused("a comparison of noise drawn from the key of f with a traced parameter or traced data")
    return joined


def _same_boundary(step: Step) -> tuple[int, int]:
    """The values compared, the greater first: x > c, c < x and x >= c differ only at the boundary itself."""
    left, right = step.inputs
    return (left, right) if step.name in {"gt", "ge"} else (right, left)


def _continuous(switches: Switches, step: Step, inputs: list[Fact], joined: Fact) -> Fact:
    """What is known of the result of a step on varying values."""
    varying = [fact.kind is Kind.VARYING for fact in inputs]
    signs = [fact.sign for fact in inputs]
    result = replace(joined, sign=sign_of(step.name, step.equation.params, signs))
    if step.name in {"is_finite", "eq", "ne"}:
        return _test(switches, step, joined)
    if step.name == "select_n":
        usual = next((watch for watch in switches.watched if watch.step.outputs[0] == step.inputs[0]), None)
        branches = inputs[1:] if usual is None else [inputs[1 + int(usual.usual)]]
        return replace(result, sign=min(fact.sign for fact in branches))
    if step.name == "convert_element_type" and switches.program.is_floating(step.outputs[0]):
        return replace(result, sign=signs[0])
    if step.name == "sort" and len(step.inputs) == 1:
        return replace(result, sign=signs[0])
    if step.name in _CONTINUOUS:
        return result
    if step.name in POLES:
        if POLES[step.name](step.equation.params, varying, signs, _values(switches.program, step)):
            return result
        raise _refused(f"{step.name}, which has a pole, of a value that may not be positive")
    raise _refused(_blame(step.name))


def _values(program: Replay, step: Step) -> list[Any]:
    """The inputs that are known while tracing."""
    values = [program.constants.get(number) for number in step.inputs]
    return [value if value is not None and is_concrete(value) else None for value in values]


def _test(switches: Switches, step: Step, joined: Fact) -> Fact:
    if step.name == "eq" or (step.name == "ne" and step.inputs[0] != step.inputs[1]):
        raise _refused("a test of real numbers for equality: results of max, clip, sort or rounding can be equal")
    switches.watched.append(Watched(step, step.name == "is_finite"))
    return replace(joined, kind=Kind.CONSTANT)


def _loop(program: Replay, step: Step, inputs: list[Fact]) -> list[Fact]:
    params = step.equation.params
    if step.name == "cond":
        branches = [_inner(branch, inputs[1:]) for branch in params["branches"]]
        outputs = [_join(facts) for facts in zip(*branches, strict=True)]
        return [replace(fact, kind=max(fact.kind, inputs[0].kind)) for fact in outputs]
    if step.name == "scan":
        constants, carried = scan_sizes(params)
        fixed, carry, rest = inputs[:constants], inputs[constants : constants + carried], inputs[constants + carried :]
        return _settled(params["jaxpr"], fixed, carry, rest)
    tested, fixed = params["cond_nconsts"], params["body_nconsts"]
    body, carry = inputs[tested : tested + fixed], inputs[tested + fixed :]
    settled = _settled(params["body_jaxpr"], body, carry, [])
    _inner(params["cond_jaxpr"], [*inputs[:tested], *settled])
    return settled


def _settled(body: ClosedJaxpr, fixed: list[Fact], carry: list[Fact], rest: list[Fact]) -> list[Fact]:
    """The facts of a loop's results: those of the carry and of the results are joined until nothing changes."""
    while True:
        results = _inner(body, [*fixed, *carry, *rest])
        joined = [_join(pair) for pair in zip(carry, results, strict=False)]
        if joined == carry:
            return [*joined, *results[len(carry) :]]
        carry = joined


def _inner(closed: ClosedJaxpr, inputs: Sequence[Fact]) -> list[Fact]:
    program = Replay(closed, [fact.kind > Kind.CONSTANT for fact in inputs])
    switches = find_switches(program, inputs)
    if switches.steps or switches.watched:
        raise _refused("a comparison of values that depend on z inside scan, while_loop, fori_loop or cond")
    return [switches.facts[number] for number in program.outputs]


def _join(facts: Sequence[Fact]) -> Fact:
    return Fact(
        max(fact.kind for fact in facts),
        min(fact.sign for fact in facts),
        any(fact.noisy for fact in facts),
        any(fact.traced for fact in facts),
    )


def _blame(name: str) -> str:
    if name == "convert_element_type":
        return "z rounded to whole numbers"
    if name == "sort":
        return "the order of values used as a value (argsort)"
    return f"{name}, which is not known to be continuous, of a value that depends on z"


def _refused(what: str) -> InvalidEstimator:
    return InvalidEstimator(
        expected="an f whose jumps in z are all comparisons (<, <=, >, >=) outside loops, for boundary terms",
        got=what,
        cure=_CURE,
    )


def sizes(switches: Switches) -> list[int]:
    """The number of elements of each switch."""
    return [int(np.prod(switches.program.avals[step.outputs[0]].shape, dtype=int)) for step in switches.steps]


def upstream(switches: Switches) -> np.ndarray:
    """For each pair of switches, whether the first depends on the second."""
    table = np.zeros((len(switches.steps), len(switches.steps)), bool)
    owner = {step.outputs[0]: place for place, step in enumerate(switches.steps)}
    owner |= {twin: owner[first] for twin, first in switches.twins.items()}
    for place, step in enumerate(switches.steps):
        for earlier in switches.program.slice_for(step.inputs):
            for number in earlier.outputs:
                if number in owner:
                    table[place, owner[number]] = True
    return table


def gap_of(step: Step, left: Any, right: Any) -> Any:
    """p - q of a comparison, positive where it holds."""
    gap = left - right if step.name in {"gt", "ge"} else right - left
    return jnp.ravel(gap)
