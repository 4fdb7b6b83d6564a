"""Whether an integrand is a sum of terms that each read one element of a variable, and its evaluation term by term.

Every value of the jaxpr is free of the variable z, or has axes along which its elements read the element of z of the
same place, or is a sum of terms of one element each. Sums over these axes are where the terms are weighted.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro.distributions as dist
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, Float

from reparax.continuity import ELEMENTWISE
from reparax.estimators._replay import Replay, Step, bind
from reparax.estimators.draws import atoms, num_states
from reparax.reparameterization import innermost


class Along(NamedTuple):
    """A value whose elements read the element of z at their own place along some axes, one for each axis of z."""

    axes: tuple[int, ...]


class Total(NamedTuple):
    """A sum of terms of one element each, and of what is free of z."""


class Mixed(Exception):
    """A value reads several elements of z at once."""


State = Along | Total | None
_LINEAR = {
    "neg", "convert_element_type", "reduce_sum", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose",
    "slice", "copy", "reduce_precision", "cumsum", "stack", "concatenate",
}  # fmt: skip


class Separation:
    """An integrand taken apart into its terms.

    Args:
        closed: The jaxpr of f as a function of z alone.
        batch: The number of axes of z that count its elements.

    Raises:
        Mixed: f is not a sum of terms that read one element each.
    """

    def __init__(self, closed: ClosedJaxpr, batch: int) -> None:
        self.program = Replay(closed, [True] + [False] * (len(closed.jaxpr.invars) - 1))
        self.weighted: dict[int, tuple[int, Along]] = {}
        states: dict[int, State] = {self.program.inputs[0]: Along(tuple(range(batch)))}
        for step in self.program.steps:
            read = [states.get(number) for number in step.inputs]
            state = _state(self, step, read) if any(part is not None for part in read) else None
            states.update(dict.fromkeys(step.outputs, state))
        if any(isinstance(states.get(number), Along) for number in self.program.outputs):
            raise Mixed

    def __call__(self, z: Array, weights: Float[Array, "*batch"]) -> list[Array]:
        """What f gives at z, with every term multiplied by the weight of the element that it reads."""
        memory = dict(self.program.constants) | {self.program.inputs[0]: z}
        for place, step in enumerate(self.program.steps):
            arguments = [memory[number] for number in step.inputs]
            if place in self.weighted:
                operand, along = self.weighted[place]
                arguments[operand] = _weighted(arguments[operand], weights, along)
            memory.update(zip(step.outputs, bind(step.equation, arguments), strict=True))
        return [memory[number] for number in self.program.outputs]

    def add_weighted(self, step: Step, operand: int, along: Along) -> Total:
        """Notes that the terms are summed here."""
        self.weighted[self.program.steps.index(step)] = operand, along
        return Total()

    def avals(self, number: int) -> Any:
        """The type of a value."""
        return self.program.avals[number]

    def rank(self, number: int) -> int:
        """The number of axes of a value."""
        return len(self.program.avals[number].shape)

    def shape(self, number: int) -> tuple[int, ...]:
        """The shape of a value."""
        return tuple(self.program.avals[number].shape)


def _weighted(value: Array, weights: Array, along: Along) -> Array:
    shape = [value.shape[axis] if axis in along.axes else 1 for axis in range(value.ndim)]
    ordered = jnp.transpose(weights, sorted(range(weights.ndim), key=lambda axis: along.axes[axis]))
    return value * jnp.broadcast_to(ordered.reshape(shape), value.shape).astype(value.dtype)


def _state(separation: Separation, step: Step, read: Sequence[State]) -> State:
    name, params = step.name, step.equation.params
    if any(isinstance(part, Total) for part in read):
        return _of_total(separation, step, read)
    along = {part for part in read if part is not None}
    if len(along) > 1:
        raise Mixed
    (one,) = along
    assert isinstance(one, Along)
    if name in ELEMENTWISE | {"convert_element_type", "stop_gradient", "add_any", "integer_pow", "copy"}:
        result = separation.shape(step.outputs[0])
        shapes = [separation.shape(n) for n, part in zip(step.inputs, read, strict=True) if part is not None]
        aligned = all(len(s) == len(result) and all(s[axis] == result[axis] for axis in one.axes) for s in shapes)
        return one if aligned else _failed()
    if name.startswith("reduce_"):
        return _reduced(separation, step, one, params["axes"])
    if name == "dot_general":
        return _contracted(separation, step, read, one)
    if name == "gather":
        return _gathered(separation, step, read, one)
    return _moved(separation, step, read, one)


def _failed() -> State:
    raise Mixed


def _of_total(separation: Separation, step: Step, read: Sequence[State]) -> State:
    """A sum of terms stays one under operations that are linear in it."""
    name = step.name
    sums = [isinstance(part, Total) for part in read]
    if any(isinstance(part, Along) for part in read):
        raise Mixed
    floating = all(jnp.issubdtype(separation.avals(number).dtype, jnp.floating) for number in step.outputs)
    alone = sum(sums) == 1
    if not floating:
        raise Mixed
    if name in _LINEAR | {"add", "sub", "add_any"} or (name in {"mul", "dot_general"} and alone):
        return Total()
    if (name == "div" and alone and sums[0]) or (name == "select_n" and not sums[0]):
        return Total()
    raise Mixed


def _reduced(separation: Separation, step: Step, one: Along, reduced: Sequence[int]) -> State:
    inside = [axis for axis in one.axes if axis in reduced]
    if not inside:
        kept = [axis for axis in range(separation.rank(step.inputs[0])) if axis not in reduced]
        return Along(tuple(kept.index(axis) for axis in one.axes))
    if step.name != "reduce_sum" or len(inside) != len(one.axes):
        raise Mixed
    return separation.add_weighted(step, 0, one)


def _contracted(separation: Separation, step: Step, read: Sequence[State], one: Along) -> State:
    (left, right), (left_batch, right_batch) = step.equation.params["dimension_numbers"]
    contracted, batches = (left, right), (left_batch, right_batch)
    places = [place for place, part in enumerate(read) if part is not None]
    inside = {place: [axis for axis in one.axes if axis in contracted[place]] for place in places}
    if any(inside.values()):
        if len(places) > 1 or len(inside[places[0]]) != len(one.axes):
            raise Mixed
        return separation.add_weighted(step, places[0], one)
    ranks = [separation.rank(number) for number in step.inputs]
    free = [
        [axis for axis in range(ranks[place]) if axis not in contracted[place] and axis not in batches[place]]
        for place in range(2)
    ]

    def position(place: int, axis: int) -> int:
        if axis in batches[place]:
            return list(batches[place]).index(axis)
        before = len(left_batch) + (len(free[0]) if place == 1 else 0)
        return before + free[place].index(axis)

    shifted = {tuple(position(place, axis) for axis in one.axes) for place in places}
    return Along(shifted.pop()) if len(shifted) == 1 else _failed()


def _gathered(separation: Separation, step: Step, read: Sequence[State], one: Along) -> State:
    """A table of values that is free of z, looked up at places that z gives."""
    numbers = step.equation.params["dimension_numbers"]
    if read[0] is not None or getattr(numbers, "start_indices_batching_dims", ()):
        raise Mixed
    rank = separation.rank(step.outputs[0])
    places = [axis for axis in range(rank) if axis not in numbers.offset_dims]
    last = separation.rank(step.inputs[1]) - 1
    return Along(tuple(places[axis] for axis in one.axes)) if last not in one.axes else _failed()


def _moved(separation: Separation, step: Step, read: Sequence[State], one: Along) -> State:
    name, params = step.name, step.equation.params
    shape = separation.shape(step.outputs[0])
    if name == "broadcast_in_dim":
        return Along(tuple(params["broadcast_dimensions"][axis] for axis in one.axes))
    if name == "transpose":
        return Along(tuple(params["permutation"].index(axis) for axis in one.axes))
    if name == "concatenate" and params["dimension"] not in one.axes:
        return one
    if name == "iota" or not step.inputs:
        return None
    before = separation.shape(step.inputs[0])
    if name == "slice" and all(before[axis] == shape[axis] for axis in one.axes):
        return one
    if name in {"reshape", "squeeze", "expand_dims"}:
        # Axes of size one come and go; the others keep their order.
        old = [axis for axis, size in enumerate(before) if size > 1]
        new = [axis for axis, size in enumerate(shape) if size > 1]
        if [before[a] for a in old] == [shape[a] for a in new] and all(axis in old for axis in one.axes):
            return Along(tuple(new[old.index(axis)] for axis in one.axes))
    if name in {"sort", "cumsum", "argmax", "argmin", "cummax", "top_k"}:
        axis = params.get("axis", params.get("dimension", params.get("axes", (None,))[0]))
        if axis is not None and axis not in one.axes and name in {"cumsum", "cummax", "sort"}:
            return one
    raise Mixed


def separation_of(closed: ClosedJaxpr, batch: int) -> Separation | None:
    """An integrand taken apart, or ``None`` where its terms read several elements of z at once."""
    try:
        return Separation(closed, batch)
    except Mixed:
        return None


def values_of_an_element(q: dist.Distribution) -> Array | None:
    """The values of one element of a finite discrete distribution; ``None`` for others."""
    if not innermost(q).has_enumerate_support:
        return None
    return atoms(q)


def elements_of(q: dist.Distribution) -> tuple[int, ...]:
    """The shape of the elements of a variable: that of a draw without its event."""
    shape = q.shape()
    return shape[: len(shape) - len(innermost(q).event_shape)]


def worth_it(q: dist.Distribution, most: int) -> bool:
    """Whether a variable has several elements of few values each, too many together to enumerate."""
    values = values_of_an_element(q)
    return values is not None and math.prod(elements_of(q)) > 1 and len(values) < most and num_states(q) > most
