"""A jaxpr without calls: one list of numbered steps that can be sliced and run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

_CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "checkpoint": "jaxpr",
    "remat": "jaxpr", "remat2": "jaxpr",
}  # fmt: skip
# A slice starts behind these: they are continuous, and expensive to run.
_CUTS = {"dot_general", "conv_general_dilated"}


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


class Program:
    """The steps of a closed jaxpr, those of every function it calls in place.

    Args:
        closed: The jaxpr.
    """

    def __init__(self, closed: ClosedJaxpr) -> None:
        self.steps: list[Step] = []
        self.avals: list[Any] = []
        self.values: dict[int, Any] = {}
        self.maker: dict[int, int] = {}
        self.inputs = [self._fresh(var.aval) for var in closed.jaxpr.invars]
        constants = [self._constant(value) for value in closed.consts]
        self.outputs = self._inline(closed.jaxpr, constants, self.inputs)

    def is_floating(self, number: int) -> bool:
        """Whether a variable is real."""
        return jnp.issubdtype(self.avals[number].dtype, jnp.floating)

    def made_by(self, number: int) -> Step | None:
        """The step that computes a variable; ``None`` for inputs and constants."""
        place = self.maker.get(number)
        return None if place is None else self.steps[place]

    def slice_for(self, wanted: Sequence[int]) -> tuple[list[Step], list[int]]:
        """The steps that the wanted variables need, back to the cuts, and the variables that these start from."""
        needed, kept = set(wanted), []
        for step in reversed(self.steps):
            if step.name not in _CUTS and needed.intersection(step.outputs):
                kept.append(step)
                needed.update(step.inputs)
        made = {number for step in kept for number in step.outputs}
        return kept[::-1], sorted(needed - made)

    def runner(self, wanted: Sequence[int]) -> tuple[Callable[[Sequence[Any]], list[np.ndarray]], list[Any]]:
        """A compiled function from the free variables of a slice to the wanted ones, and the free ones' types."""
        steps, sources = self.slice_for(wanted)
        known = {n: self.values[n] for n in sources if n in self.values and not isinstance(self.values[n], Tracer)}
        free = [number for number in sources if number not in known]

        def run(values: Sequence[Any]) -> list[Any]:
            memory = dict(zip(free, values, strict=True)) | known
            for step in steps:
                found = step.equation.primitive.get_bind_params(step.equation.params)
                # Older releases of jax give the functions apart from the parameters.
                functions, parameters = found if isinstance(found, tuple) else ((), found)
                arguments = [memory[number] for number in step.inputs]
                bound = step.equation.primitive.bind(*functions, *arguments, **parameters)
                several = bound if step.equation.primitive.multiple_results else [bound]
                memory.update(zip(step.outputs, several, strict=True))
            return [memory[number] for number in wanted]

        compiled = jax.jit(run)
        return lambda values: [np.asarray(value) for value in compiled(values)], [self.avals[n] for n in free]

    def _fresh(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def _constant(self, value: Any) -> int:
        number = self._fresh(jax.typeof(value))
        self.values[number] = value
        return number

    def _inline(self, jaxpr: Jaxpr, constants: Sequence[int], inputs: Sequence[int]) -> list[int]:
        names: dict[Var, int] = dict(zip(jaxpr.constvars, constants, strict=True))
        names.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> int:
            return self._constant(atom.val) if isinstance(atom, Literal) else names[atom]

        for equation in jaxpr.eqns:
            arguments = [read(atom) for atom in equation.invars]
            inner = _callee(equation)
            if inner is None:
                results = [self._fresh(var.aval) for var in equation.outvars]
                self.maker.update(dict.fromkeys(results, len(self.steps)))
                self.steps.append(Step(equation, tuple(arguments), tuple(results)))
            else:
                results = self._inline(inner.jaxpr, [self._constant(value) for value in inner.consts], arguments)
            names.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]


def _callee(equation: JaxprEqn) -> ClosedJaxpr | None:
    field = _CALLS.get(equation.primitive.name)
    inner = equation.params.get(field) if field else None
    if isinstance(inner, ClosedJaxpr):
        return inner
    return ClosedJaxpr(inner, ()) if isinstance(inner, Jaxpr) else None
