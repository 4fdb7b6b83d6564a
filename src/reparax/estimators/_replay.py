"""A program of one draw that can be run with given outcomes of its comparisons: its values on both sides of a jump.

The jaxpr is flattened: calls are inlined, and so are functions with custom derivatives that depend on the draw. Each
value is constant in the draw, piecewise constant, stopped, or varying with it. Comparisons of varying reals are the
*switches*; any other operation on varying values must be continuous, or the program is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jaxtyping import Array, Bool

_CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "checkpoint": "jaxpr",
    "remat": "jaxpr", "remat2": "jaxpr",
}  # fmt: skip
_CUSTOM_RULES = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr"}
COMPARISONS = {"lt", "le", "gt", "ge"}


@dataclass(frozen=True)
class Step:
    """An equation, its variables numbered; literals and constants have numbers too."""

    equation: JaxprEqn
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return self.equation.primitive.name


class Replay:
    """The steps that the results of a closed jaxpr need, with every function that it calls inlined.

    Args:
        closed: The jaxpr.
        varying: For each of its inputs, whether it is part of the draw.
    """

    def __init__(self, closed: ClosedJaxpr, varying: Sequence[bool]) -> None:
        self.steps: list[Step] = []
        self.avals: list[Any] = []
        self.constants: dict[int, Any] = {}
        self.custom_rules = False
        self._literals: dict[Any, int] = {}
        self.inputs = [self._fresh(var.aval) for var in closed.jaxpr.invars]
        self._reads = {number for number, moves in zip(self.inputs, varying, strict=True) if moves}
        constants = [self._constant(value) for value in closed.consts]
        self.outputs = self._inline(closed.jaxpr, constants, self.inputs)
        self.steps = self.slice_for(self.outputs)

    def is_floating(self, number: int) -> bool:
        """Whether a variable is real."""
        return jnp.issubdtype(self.avals[number].dtype, jnp.floating)

    def slice_for(self, wanted: Sequence[int]) -> list[Step]:
        """The steps that the wanted variables need."""
        needed, kept = set(wanted), []
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                kept.append(step)
                needed.update(step.inputs)
        return kept[::-1]

    def run(
        self,
        steps: Sequence[Step],
        values: Sequence[Any],
        constants: Mapping[int, Any],
        forced: Mapping[int, Bool[Array, "..."]],
    ) -> dict[int, Any]:
        """All values of a slice.

        Args:
            steps: The slice.
            values: The program's inputs.
            constants: The values of its constants.
            forced: Variables whose values are given instead of computed.
        """
        memory = dict(constants) | dict(zip(self.inputs, values, strict=True))
        for step in steps:
            if not all(number in forced for number in step.outputs):
                memory.update(zip(step.outputs, bind(step.equation, [memory[n] for n in step.inputs]), strict=True))
            memory.update((number, forced[number]) for number in step.outputs if number in forced)
        return memory

    def _fresh(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def _constant(self, value: Any) -> int:
        number = self._fresh(jax.typeof(value))
        self.constants[number] = value
        return number

    def _literal(self, literal: Literal) -> int:
        # Equal literals are one constant, so that equal comparisons are recognized.
        mark = (str(literal.aval), str(literal.val)) if jnp.ndim(literal.val) == 0 else id(literal)
        if mark not in self._literals:
            self._literals[mark] = self._constant(literal.val)
        return self._literals[mark]

    def _inline(self, jaxpr: Jaxpr, constants: Sequence[int], inputs: Sequence[int]) -> list[int]:
        names: dict[Var, int] = dict(zip(jaxpr.constvars, constants, strict=True))
        names.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> int:
            return self._literal(atom) if isinstance(atom, Literal) else names[atom]

        for equation in jaxpr.eqns:
            arguments = [read(atom) for atom in equation.invars]
            moves = not self._reads.isdisjoint(arguments)
            inner = callee(equation, custom_rules=moves)
            if inner is None:
                results = [self._fresh(var.aval) for var in equation.outvars]
                self.steps.append(Step(equation, tuple(arguments), tuple(results)))
                if moves:
                    self._reads.update(results)
            else:
                self.custom_rules |= equation.primitive.name in _CUSTOM_RULES and _has_comparison(inner.jaxpr)
                results = self._inline(inner.jaxpr, [self._constant(value) for value in inner.consts], arguments)
            names.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def callee(equation: JaxprEqn, *, custom_rules: bool) -> ClosedJaxpr | None:
    """The function that an equation calls; one with custom derivatives only if ``custom_rules``."""
    known = _CALLS | _CUSTOM_RULES if custom_rules else _CALLS
    field = known.get(equation.primitive.name)
    inner = equation.params.get(field) if field else None
    if isinstance(inner, ClosedJaxpr):
        return inner
    return ClosedJaxpr(inner, ()) if isinstance(inner, Jaxpr) else None


def _has_comparison(jaxpr: Jaxpr) -> bool:
    inner = [callee(equation, custom_rules=True) for equation in jaxpr.eqns]
    return any(equation.primitive.name in COMPARISONS for equation in jaxpr.eqns) or any(
        _has_comparison(closed.jaxpr) for closed in inner if closed is not None
    )


def bind(equation: JaxprEqn, arguments: Sequence[Any]) -> list[Any]:
    """The results of one equation."""
    if equation.primitive.name in {"reduce_max", "reduce_min"}:
        return [_extreme(equation, arguments[0])]
    bind_params = equation.primitive.get_bind_params(equation.params)
    # Older releases of jax return the functions separately from the parameters.
    functions, parameters = bind_params if isinstance(bind_params, tuple) else ((), bind_params)
    bound = equation.primitive.bind(*functions, *arguments, **parameters)
    return list(bound) if equation.primitive.multiple_results else [bound]


def _extreme(equation: JaxprEqn, value: Array) -> Array:
    """A maximum or minimum, computed by indexing the operand.

    The derivative of the primitive searches for elements that equal the result, and is NaN if XLA computes these twice
    with different rounding.
    """
    axes = equation.params["axes"]
    kept = [axis for axis in range(value.ndim) if axis not in axes]
    flat = jax.lax.transpose(value, (*kept, *axes)).reshape(*(value.shape[axis] for axis in kept), -1)
    best = jnp.argmax(flat, axis=-1) if equation.primitive.name == "reduce_max" else jnp.argmin(flat, axis=-1)
    return jnp.take_along_axis(flat, best[..., None], axis=-1)[..., 0]


def is_concrete(value: Any) -> bool:
    """Whether a constant is known while tracing."""
    return not isinstance(value, Tracer)
