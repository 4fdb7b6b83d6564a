"""Whether a function is continuous in a sample, read off its jaxpr: pathwise derivatives miss what jumps.

Every variable depends on the sample not at all, continuously, or with possible jumps, each of which has a cause: a
comparison, a rounding, an argmax. Where a switch (where) reads a value with causes, or they reach the result, they are
tried: the program is run on both sides of the place where the cause changes, and dropped if nothing jumps there (relu,
elu, Huber's loss, the guarded branches of numerical code). What cannot be established counts as a jump. Functions with
a derivative of their own (``jax.custom_jvp``, such as jax.nn.relu) and what stands behind ``stop_gradient`` are taken
at their word; so is a branch that is constantly infinite or NaN, which marks values out of bounds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr

from reparax.estimators._crossings import continuous_across
from reparax.estimators._program import Program, Step


class Vouched(eqx.Module):
    """A function whose author vouches that it is continuous in its argument: it is not inspected.

    Wrap an f that `Pathwise` refuses although it is continuous: ``expectation(Vouched(f), q, key=key)``.
    """

    function: Callable[..., Any]

    def __call__(self, z: Any) -> Any:
        """The function itself."""
        return self.function(z)


@dataclass(frozen=True)
class Jump:
    """Where a function jumps: the primitive, and why it counts as a jump."""

    primitive: str
    reason: str


_STEPS = {
    "lt", "le", "gt", "ge", "sign", "floor", "ceil", "round", "argmax", "argmin", "rem", "nextafter", "lt_to", "le_to",
}  # fmt: skip
_OWN_DERIVATIVE = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin"}
_COPIES = {"broadcast_in_dim", "reshape", "squeeze", "copy", "convert_element_type", "neg", "transpose", "expand_dims"}
_CAUSE_LIMIT = 12


@dataclass(frozen=True)
class _State:
    """How a variable depends on the sample: whether at all, and what may make it jump."""

    varies: bool = False
    causes: frozenset[int] = frozenset()
    verdict: Jump | None = None

    @property
    def jumps(self) -> bool:
        return bool(self.causes) or self.verdict is not None


_CONSTANT = _State()


def find_jump(f: Callable[[Any, Any], Any], varying: Any, fixed: Any = ()) -> Jump | None:
    """Why ``f(varying, fixed)`` may jump as a function of its first argument; ``None`` if it is continuous.

    The function is traced. It is run only where it has switches, and then on random values.
    """
    closed = jax.make_jaxpr(f)(varying, fixed)
    moving = len(jax.tree.leaves(varying))
    return _of_closed(closed, [place < moving for place in range(len(closed.jaxpr.invars))])


def _of_closed(closed: ClosedJaxpr, varies: Sequence[bool]) -> Jump | None:
    program = Program(closed)
    walk = _Walk(program)
    for number, moves in zip(program.inputs, varies, strict=True):
        walk.states[number] = _State(moves and program.is_floating(number))
    for index in range(len(program.steps)):
        walk.visit(index)
    return next((jump for number in program.outputs if (jump := walk.verdict(number)) is not None), None)


@dataclass
class _Walk:
    """The states of a program's variables, and the booleans that are the same almost everywhere."""

    program: Program
    states: dict[int, _State] = field(default_factory=dict)
    known: dict[int, bool] = field(default_factory=dict)

    def state(self, number: int) -> _State:
        return self.states.get(number, _CONSTANT)

    def visit(self, index: int) -> None:
        step = self.program.steps[index]
        self._fold(step)
        found = self._judge(index, step)
        for number in step.outputs:
            self.states[number] = found

    def verdict(self, number: int) -> Jump | None:
        """Why a result jumps, its causes tried."""
        state = self._tried(self.state(number), number)
        return state.verdict or (self._blame(min(state.causes)) if state.causes else None)

    def _judge(self, index: int, step: Step) -> _State:
        inputs = [self.state(number) for number in step.inputs]
        joined = _joined(inputs)
        if not joined.varies or step.name == "stop_gradient" or all(n in self.known for n in step.outputs):
            return _CONSTANT
        if step.name == "select_n":
            return self._switch(step)
        if joined.jumps or step.name in _OWN_DERIVATIVE:
            return joined
        if step.name in _STEPS or self._becomes_whole(step):
            return _State(True, frozenset({index}))
        return _State(True, verdict=_inner_jump(step, [state.varies for state in inputs]))

    def _switch(self, step: Step) -> _State:
        predicate, *branches = step.inputs
        if predicate in self.known:
            return self.state(branches[int(self.known[predicate])])
        kept = [number for number in branches if not self._marks_bounds(number)]
        if len(kept) < len(branches):
            return _joined([self.state(number) for number in kept])
        joined = _joined([self.state(number) for number in step.inputs])
        return self._tried(joined, step.outputs[0])

    def _tried(self, state: _State, number: int) -> _State:
        """The state of a variable without the causes at which it turns out to be continuous."""
        if state.verdict is not None or not state.causes or len(state.causes) > _CAUSE_LIMIT:
            return state
        if not self.program.is_floating(number):
            return state
        steps = self.program.steps
        left = {cause for cause in state.causes if not continuous_across(self.program, steps[cause], number)}
        return _State(state.varies, frozenset(left))

    def _fold(self, step: Step) -> None:
        """Booleans that are the same almost everywhere: no real number equals another, and all are finite."""
        if self.program.avals[step.outputs[0]].dtype != np.bool_:
            return
        values = [self._truth(number) for number in step.inputs]
        name, output = step.name, step.outputs[0]
        if name in {"eq", "ne"} and self._is_continuous(step):
            self.known[output] = (name == "ne") != (step.inputs[0] == step.inputs[1])
        elif name == "is_finite" and self._is_continuous(step):
            self.known[output] = True
        elif name == "not" and values[0] is not None:
            self.known[output] = not values[0]
        elif name in _COPIES | {"reduce_and", "reduce_or"} and values[0] is not None and self._is_bool(step):
            self.known[output] = values[0]
        elif name in {"and", "or"} and (name == "or") in values:
            self.known[output] = name == "or"
        elif name in {"and", "or"} and None not in values:
            self.known[output] = name == "and"

    def _truth(self, number: int) -> bool | None:
        return self.known.get(number)

    def _is_bool(self, step: Step) -> bool:
        return self.program.avals[step.inputs[0]].dtype == np.bool_

    def _is_continuous(self, step: Step) -> bool:
        joined = _joined([self.state(number) for number in step.inputs])
        return joined.varies and not joined.jumps and self.program.is_floating(step.inputs[0])

    def _becomes_whole(self, step: Step) -> bool:
        return step.name == "convert_element_type" and not self.program.is_floating(step.outputs[0])

    def _marks_bounds(self, number: int) -> bool:
        while number not in self.program.values:
            step = self.program.made_by(number)
            if step is None or step.name not in _COPIES:
                return False
            number = step.inputs[0]
        value = self.program.values[number]
        return not isinstance(value, Tracer) and self.program.is_floating(number) and not np.isfinite(value).any()

    def _blame(self, cause: int) -> Jump:
        name = self.program.steps[cause].name
        if name in {"lt", "le", "gt", "ge"}:
            return Jump(name, "the result of a comparison (where, >, <) makes it jump in z")
        if name == "convert_element_type":
            return Jump(name, "z is rounded to whole numbers")
        if name == "rem":
            return Jump(name, "a remainder, or for an angle the cut at +-pi, makes it jump in z")
        return Jump(name, f"{name} is a step function of z")


def _joined(states: Sequence[_State]) -> _State:
    verdict = next((state.verdict for state in states if state.verdict is not None), None)
    causes = frozenset().union(*(state.causes for state in states)) if states else frozenset()
    return _State(any(state.varies for state in states), causes, verdict)


def _inner_jump(step: Step, varies: Sequence[bool]) -> Jump | None:
    """Whether a loop or a branch jumps inside; what is carried varies if anything that enters does."""
    params = step.equation.params
    if step.name == "while":
        return Jump("while", "z passes through a loop whose number of rounds may depend on it")
    if step.name == "cond":
        if varies[0]:
            return Jump("cond", "a branch is chosen by z")
        return next((jump for branch in params["branches"] if (jump := _of_closed(branch, varies[1:]))), None)
    if step.name == "scan":
        constants, carried = params["num_consts"], params["num_consts"] + params["num_carry"]
        spread = [*varies[:constants], *([any(varies)] * params["num_carry"]), *varies[carried:]]
        return _of_closed(params["jaxpr"], spread)
    return None
