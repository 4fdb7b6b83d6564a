"""Whether a function is continuous in a sample, read off its jaxpr: pathwise derivatives miss what jumps.

Every variable of the jaxpr is constant in the sample, a continuous function of it, or may jump. A comparison may jump;
a switch between two values that agree where the comparison changes does not (relu, elu, Huber's loss), which is
established by evaluating both branches there. What cannot be established counts as a jump. Functions with a derivative
of their own (``jax.custom_jvp``, such as jax.nn.relu) and what stands behind ``stop_gradient`` are taken at their word.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var


class Vouched(eqx.Module):
    """A function whose author vouches that it is continuous in its argument: it is not inspected.

    Wrap an f that `Pathwise` refuses although it is continuous: ``expectation(Vouched(f), q, key=key)``.
    """

    function: Callable[..., Any]

    def __call__(self, z: Any) -> Any:
        """The function itself."""
        return self.function(z)


class State(enum.IntEnum):
    """How a variable depends on the sample."""

    CONSTANT = 0
    CONTINUOUS = 1
    JUMPS = 2


@dataclass(frozen=True)
class Jump:
    """Where a function jumps: the primitive, and why it counts as a jump."""

    primitive: str
    reason: str


# Their values change only on a set of measure zero, and back: no step.
_ALMOST_CONSTANT = {"eq", "ne", "is_finite"}
_STEPS = {
    "sign",
    "floor",
    "ceil",
    "round",
    "argmax",
    "argmin",
    "lt",
    "le",
    "gt",
    "ge",
    "rem",
    "nextafter",
    "lt_to",
    "le_to",
}
_OWN_DERIVATIVE = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin"}
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "checkpoint": "jaxpr", "remat": "jaxpr", "remat2": "jaxpr", "custom_batching_call": "call"}  # fmt: skip


def find_jump(f: Callable[[Any, Any], Any], varying: Any, fixed: Any = ()) -> Jump | None:
    """Why ``f(varying, fixed)`` may jump as a function of its first argument; ``None`` if it is continuous.

    The function is traced, never run, except for the branches of its switches.
    """
    closed = jax.make_jaxpr(f)(varying, fixed)
    moving = len(jax.tree.leaves(varying))
    kinds = [State.CONTINUOUS if place < moving else State.CONSTANT for place in range(len(closed.jaxpr.invars))]
    return _of_closed(closed, kinds)


@dataclass(frozen=True)
class _Step:
    """An equation of the inlined program, its variables numbered; constants are stored by number too."""

    equation: JaxprEqn
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Inlined:
    """A program without calls: every equation of every called jaxpr in one list."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.avals: list[Any] = []
        self.values: dict[int, Any] = {}

    def fresh(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def constant(self, value: Any) -> int:
        number = self.fresh(jax.typeof(value))
        self.values[number] = value
        return number

    def inline(self, jaxpr: Jaxpr, constants: Sequence[int], inputs: Sequence[int]) -> list[int]:
        names: dict[Var, int] = dict(zip(jaxpr.constvars, constants, strict=True))
        names.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> int:
            return self.constant(atom.val) if isinstance(atom, Literal) else names[atom]

        for equation in jaxpr.eqns:
            arguments = [read(atom) for atom in equation.invars]
            inner = _callee(equation)
            if inner is None:
                results = [self.fresh(var.aval) for var in equation.outvars]
                self.steps.append(_Step(equation, tuple(arguments), tuple(results)))
            else:
                results = self.inline(inner.jaxpr, [self.constant(value) for value in inner.consts], arguments)
            names.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def _callee(equation: JaxprEqn) -> ClosedJaxpr | None:
    field = _CALLS.get(equation.primitive.name)
    inner = equation.params.get(field) if field else None
    if isinstance(inner, ClosedJaxpr):
        return inner
    return ClosedJaxpr(inner, ()) if isinstance(inner, Jaxpr) else None


def _walk(flat: _Inlined, states: dict[int, State], outputs: Sequence[int]) -> Jump | None:
    reasons: dict[int, Jump] = {}
    for index, step in enumerate(flat.steps):
        state, reason = _judge(flat, index, step, states, reasons)
        for number in step.outputs:
            states[number] = state
            if reason is not None:
                reasons[number] = reason
    return next((reasons[number] for number in outputs if states.get(number) == State.JUMPS), None)


def _judge(
    flat: _Inlined, index: int, step: _Step, states: dict[int, State], reasons: dict[int, Jump]
) -> tuple[State, Jump | None]:
    kinds = [states.get(number, State.CONSTANT) for number in step.inputs]
    worst = max(kinds, default=State.CONSTANT)
    name = step.equation.primitive.name
    if worst == State.CONSTANT or name == "stop_gradient":
        return State.CONSTANT, None
    if worst == State.CONTINUOUS and (name in _ALMOST_CONSTANT or name in _OWN_DERIVATIVE):
        return (State.CONSTANT if name in _ALMOST_CONSTANT else State.CONTINUOUS), None
    if name == "select_n" and kinds[0] == State.JUMPS and max(kinds[1:]) != State.JUMPS:
        if _branches_agree(flat, index, step):
            return State.CONTINUOUS, None
        return State.JUMPS, Jump("select_n", "a switch (where, cond) between values that differ where it switches")
    if worst == State.JUMPS:
        return State.JUMPS, _first(step, reasons)
    if name in _STEPS:
        return State.JUMPS, Jump(name, f"{name} is a step function of the sample")
    if name == "convert_element_type" and not jnp.issubdtype(step.equation.params["new_dtype"], jnp.inexact):
        return State.JUMPS, Jump(name, "the sample is rounded to whole numbers")
    inner = _inner_jump(step.equation, kinds)
    return (State.JUMPS, inner) if inner is not None else (State.CONTINUOUS, None)


def _first(step: _Step, reasons: dict[int, Jump]) -> Jump:
    return next(reasons[number] for number in step.inputs if number in reasons)


def _inner_jump(equation: JaxprEqn, kinds: Sequence[State]) -> Jump | None:
    """Whether a loop or a branch jumps inside, each of its floating inputs that varies taken as varying throughout."""
    name, params = equation.primitive.name, equation.params
    if name == "while":
        return Jump(name, "the sample passes through a loop whose number of rounds may depend on it")
    if name == "cond":
        if kinds[0] != State.CONSTANT:
            return Jump(name, "a branch is chosen by the sample")
        return next(
            (jump for branch in params["branches"] if (jump := _of_closed(branch, kinds[1:])) is not None), None
        )
    if name == "scan":
        carried = params["num_consts"] + params["num_carry"]
        spread = [*kinds[: params["num_consts"]], *([max(kinds)] * params["num_carry"]), *kinds[carried:]]
        return _of_closed(params["jaxpr"], spread)
    return None


def _of_closed(closed: ClosedJaxpr, kinds: Sequence[State]) -> Jump | None:
    flat = _Inlined()
    inputs = [flat.fresh(var.aval) for var in closed.jaxpr.invars]
    outputs = flat.inline(closed.jaxpr, [flat.constant(value) for value in closed.consts], inputs)
    states = {
        number: State.CONTINUOUS
        for number, kind in zip(inputs, kinds, strict=True)
        if kind != State.CONSTANT and jnp.issubdtype(flat.avals[number].dtype, jnp.floating)
    }
    return _walk(flat, states, outputs)


def _branches_agree(flat: _Inlined, index: int, step: _Step) -> bool:
    """Whether the two values of a switch agree where the comparison that drives it changes.

    The program up to the switch is run on random inputs along random segments; where the comparison changes, the
    crossing is found by bisection and both values are compared there.
    """
    comparison = _driver(flat, step.inputs[0], index)
    if comparison is None or len(step.inputs) != 3:
        return False
    wanted = (*comparison.inputs, *step.inputs[1:])
    if any(flat.avals[number].shape not in ((), flat.avals[wanted[2]].shape) for number in wanted[:2]):
        return False
    steps, sources = _slice(flat, index, wanted)
    if any(_opaque(part.equation) for part in steps):
        return False
    return _probe(flat, steps, sources, wanted)


def _driver(flat: _Inlined, number: int, before: int) -> _Step | None:
    """The comparison of floats that computes a predicate, through copies and negations."""
    for step in reversed(flat.steps[:before]):
        if number in step.outputs:
            name = step.equation.primitive.name
            if name in {"lt", "le", "gt", "ge"} and jnp.issubdtype(flat.avals[step.inputs[0]].dtype, jnp.floating):
                return step
            if name in {"not", "broadcast_in_dim", "reshape", "squeeze", "copy"}:
                number = step.inputs[0]
                continue
            return None
    return None


def _slice(flat: _Inlined, before: int, wanted: Sequence[int]) -> tuple[list[_Step], list[int]]:
    needed = set(wanted)
    kept: list[_Step] = []
    for step in reversed(flat.steps[:before]):
        if needed.intersection(step.outputs):
            kept.append(step)
            needed.update(step.inputs)
    made = {number for step in kept for number in step.outputs}
    return kept[::-1], sorted(needed - made)


def _opaque(equation: JaxprEqn) -> bool:
    return equation.primitive.name in {"while", "scan", "cond"} or "random" in equation.primitive.name


_TRIES, _ROUNDS, _SCALES = 48, 60, (1.0, 4.0, 32.0)


def _probe(flat: _Inlined, steps: list[_Step], sources: list[int], wanted: Sequence[int]) -> bool:
    known = {n: flat.values[n] for n in sources if n in flat.values and not isinstance(flat.values[n], Tracer)}
    free = [number for number in sources if number not in known]
    if any(not jnp.issubdtype(flat.avals[number].dtype, jnp.floating) for number in free):
        return False

    def run(values: Sequence[Any]) -> list[np.ndarray]:
        memory = dict(zip(free, values, strict=True)) | known
        for step in steps:
            bound = step.equation.primitive.bind(*(memory[n] for n in step.inputs), **step.equation.params)
            several = bound if step.equation.primitive.multiple_results else [bound]
            memory.update(zip(step.outputs, several, strict=True))
        return [np.asarray(memory[number], np.float64) for number in wanted]

    with jax.ensure_compile_time_eval():
        return _crossings_agree(run, [flat.avals[number] for number in free])


def _crossings_agree(run: Callable[[Sequence[Any]], list[np.ndarray]], avals: Sequence[Any]) -> bool:
    noise = np.random.default_rng(0)
    crossed = 0
    for attempt in range(_TRIES):
        scale = _SCALES[attempt % len(_SCALES)]
        ends = [[jnp.asarray(scale * noise.standard_normal(a.shape), a.dtype) for a in avals] for _ in range(2)]
        found = _bisect(run, *ends)
        if found is None:
            continue
        crossed += 1
        if not found:
            return False
        if crossed == 6:
            return True
    return crossed > 0


def _bisect(run: Callable[[Sequence[Any]], list[np.ndarray]], low: list[Any], high: list[Any]) -> bool | None:
    """Whether the branches agree at a crossing between two inputs; ``None`` where no element crosses."""

    def gap(point: Sequence[Any]) -> np.ndarray:
        left, right, one, _ = run(point)
        return np.broadcast_to(left - right, one.shape)

    start, end = gap(low), gap(high)
    crossing = np.argwhere((start < 0) != (end < 0))
    if not len(crossing):
        return None
    place = tuple(crossing[0])
    negative = bool(start[place] < 0)
    for _ in range(_ROUNDS):
        middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        if bool(gap(middle)[place] < 0) == negative:
            low = middle
        else:
            high = middle
    ((_, _, one, other), (_, _, later, _)) = run(low), run(high)
    size = 1.0 + abs(one[place]) + abs(other[place])
    # Bisection ends within rounding of the crossing, where continuous branches differ by rounding alone.
    return bool(abs(one[place] - other[place]) < 1e-3 * size and np.isfinite(later[place]))
