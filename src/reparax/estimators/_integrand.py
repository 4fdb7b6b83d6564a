"""The integrand: its continuity in each variable, and whether it is a sum of terms of one element each."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.continuity import ELEMENTWISE, AssumedContinuous, Interval, Reason, Variable, Verdict, guarded, judge
from reparax.errors import InvalidEstimator
from reparax.estimators._replay import Replay, Step, bind
from reparax.estimators._smoothness import Smoothness, checked
from reparax.estimators.draws import atoms, draw, num_states
from reparax.reparameterization import innermost, is_discrete


class Along(NamedTuple):
    """A value whose elements depend on the element of z at the same index along some axes, one for each axis of z."""

    axes: tuple[int, ...]


class Total(NamedTuple):
    """A sum of terms of one element each, and of terms that do not depend on z."""


class Mixed(Exception):
    """A value depends on several elements of z at once."""


State = Along | Total | None
_LINEAR = {
    "neg", "convert_element_type", "reduce_sum", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose",
    "slice", "copy", "reduce_precision", "cumsum", "stack", "concatenate",
}  # fmt: skip


class Separation:
    """An integrand separated into its terms.

    Args:
        closed: The jaxpr of f as a function of z.
        batch: The number of axes of z that count its elements.

    Raises:
        Mixed: f is not a sum of terms of one element each.
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
        """The results of f at z, with every term multiplied by the weight of its element."""
        memory = dict(self.program.constants) | {self.program.inputs[0]: z}
        for place, step in enumerate(self.program.steps):
            arguments = [memory[number] for number in step.inputs]
            if place in self.weighted:
                operand, along = self.weighted[place]
                arguments[operand] = _weighted(arguments[operand], weights, along)
            memory.update(zip(step.outputs, bind(step.equation, arguments), strict=True))
        return [memory[number] for number in self.program.outputs]

    def add_weighted(self, step: Step, operand: int, along: Along) -> Total:
        """Records that the terms are summed in this step."""
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
    """A sum of terms remains one under operations that are linear in it."""
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
    """A table of values that does not depend on z, at indices that do."""
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
        # Axes of size one may be added or removed; the others keep their order.
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
    """An integrand separated into its terms, or ``None`` if a term depends on several elements of z."""
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
    """The shape of the elements of a variable: that of a draw without the event."""
    shape = q.shape()
    return shape[: len(shape) - len(innermost(q).event_shape)]


def worth_it(q: dist.Distribution, most: int) -> bool:
    """Whether a variable has several elements with few values each, but too many joint values to enumerate."""
    values = values_of_an_element(q)
    return values is not None and math.prod(elements_of(q)) > 1 and len(values) < most and num_states(q) > most


Integrand = Callable[[Any, jax.Array], Any]


def with_key(f: Callable[..., Any]) -> Integrand:
    """f as a function ``(z, key)``, whether or not it takes a key."""
    if isinstance(f, AssumedContinuous):
        return with_key(f.function)
    parameters = inspect.signature(f).parameters
    if "key" in parameters and parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY:
        return lambda z, key: f(z, key=key)
    return lambda z, key: f(z)


class Inspected:
    """An integrand and what is known of its continuity.

    If the location of a jump depends on a value that f closes over, f is evaluated by its trace, with this value
    guarded.

    Args:
        f: The integrand ``(z, key)``, z a list with one draw of each distribution.
        flat: The distributions.
        differentiated: Which draws an estimator may differentiate or pass as real numbers.
    """

    def __init__(self, f: Integrand, flat: Sequence[dist.Distribution], differentiated: Sequence[bool]) -> None:
        self._f, self._flat = f, list(flat)
        self._shapes = [_shape(q, moves) for q, moves in zip(flat, differentiated, strict=True)]
        self._variables = tuple(
            _variable(q) if moves or not is_discrete(q) else None for q, moves in zip(flat, differentiated, strict=True)
        )
        self._traces: dict[Any, tuple[ClosedJaxpr, Any]] = {}
        self.handled = 0
        self.differentiated = tuple(differentiated)

    @functools.cached_property
    def verdict(self) -> Verdict:
        """What is known of the continuity of f in each of its variables, and in the values that it closes over."""
        closed, _ = self._trace(self._shapes, jax.random.key(0))
        if any(isinstance(innermost(q), dist.VonMises) for q in self._flat):
            run = jaxpr_as_fun(closed)
            closed = jax.make_jaxpr(lambda z, key: run(*_wrapped(self._flat, z), key))(self._shapes, jax.random.key(0))
        return judge(closed, [*self._variables, None])

    def is_separable(self, place: int) -> bool:
        """Whether f is a sum of terms of one element of a variable each, given the other variables."""
        closed, _ = self._trace(self._shapes, jax.random.key(0))
        run, shapes = jaxpr_as_fun(closed), [*self._shapes]
        wanted = shapes.pop(place)

        def of_one(z: Array, others: list[Array], key: jax.Array) -> Any:
            return run(*others[:place], z, *others[place:], key)

        traced = jax.make_jaxpr(of_one)(wanted, shapes, jax.random.key(0))
        return separation_of(traced, len(elements_of(self._flat[place]))) is not None

    def __call__(self, z: Any, key: jax.Array) -> Any:
        """f at one draw; values that move a jump cannot be differentiated, nor derivatives that jump."""
        return checked(self._at(z, key), self._smoothness.check)

    @functools.cached_property
    def _smoothness(self) -> Smoothness:
        closed, _ = self._trace(self._shapes, jax.random.key(0))
        return Smoothness(closed, self._variables, self.differentiated)

    def _at(self, z: Any, key: jax.Array) -> Any:
        if not self._moves(self.verdict.moving):
            return self._f(z, key)
        closed, structure = self._trace(z, key)
        moving = self._moves(self._moving(closed))
        consts = [guarded(value) if place in moving else value for place, value in enumerate(closed.consts)]
        results = jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, consts))(*jax.tree.leaves(z), key)
        return jax.tree.unflatten(structure, results)

    def _moves(self, moving: tuple[tuple[int, int], ...]) -> set[int]:
        return {place for place, variables in moving if variables & ~self.handled}

    def _moving(self, closed: ClosedJaxpr) -> tuple[tuple[int, int], ...]:
        first, _ = self._trace(self._shapes, jax.random.key(0))
        if closed is first:
            return self.verdict.moving
        # A relaxation passes real numbers where f was traced with classes: the values it closes over are the same.
        return judge(closed, [*self._variables, None]).moving

    def _trace(self, z: Any, key: jax.Array) -> tuple[ClosedJaxpr, Any]:
        leaves = jax.tree.leaves(z)
        signature = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        if signature not in self._traces:
            shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
            arguments = jax.tree.unflatten(jax.tree.structure(z), shapes)
            closed, out = jax.make_jaxpr(self._f, return_shape=True)(arguments, key)
            self._traces[signature] = closed, jax.tree.structure(out)
        return self._traces[signature]


def _shape(q: dist.Distribution, moves: bool) -> jax.ShapeDtypeStruct:
    if moves or not is_discrete(q):
        floats = [leaf for leaf in jax.tree.leaves(q) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
        return jax.ShapeDtypeStruct(q.shape(), jnp.result_type(float, *floats))
    drawn = jax.eval_shape(lambda: draw(q, jax.random.key(0), 1))
    return jax.ShapeDtypeStruct(drawn.shape[1:], drawn.dtype)


def _wrapped(flat: Sequence[dist.Distribution], z: Sequence[Array]) -> list[Array]:
    """Angles wrapped at +-pi, where a function that is not periodic jumps; all other values unchanged."""
    return [
        jnp.remainder(value + jnp.pi, 2 * jnp.pi) - jnp.pi if isinstance(innermost(q), dist.VonMises) else value
        for q, value in zip(flat, z, strict=True)
    ]


def _variable(q: dist.Distribution) -> Variable:
    """What is known of a draw."""
    support = _support(q)
    simplex = support is constraints.simplex
    continuous = not is_discrete(q) and not isinstance(innermost(q), dist.Delta)
    # Elements of structured matrices can be constant, or equal to each other.
    apart = continuous and getattr(support, "event_dim", 1) == 0
    on_surface = (simplex or support is constraints.sphere) and q.shape()[-1] > 1
    return Variable(support_interval(q), apart, simplex, apart or (continuous and on_surface))


def _support(q: dist.Distribution) -> Any:
    support = q.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def support_interval(q: dist.Distribution) -> Interval:
    """An interval around the support of each element of a draw."""
    support = _support(q)
    if support in (constraints.positive, constraints.softplus_positive):
        return Interval(0.0, math.inf, True, True)
    if support is constraints.nonnegative:
        return Interval(0.0, math.inf, True, True)
    if support is constraints.simplex or support is constraints.unit_interval:
        return Interval(0.0, 1.0, True, True)
    if support is constraints.sphere:
        return Interval(-1.0, 1.0, False, False)
    if support is constraints.circular:
        return Interval(-math.pi, math.pi, False, False)
    low = _known(getattr(support, "lower_bound", None), np.min, -math.inf)
    high = _known(getattr(support, "upper_bound", None), np.max, math.inf)
    return Interval(low, high, True, True)


def _known(bound: Any, extreme: Callable[[Any], Any], otherwise: float) -> float:
    return otherwise if bound is None or isinstance(bound, Tracer) else float(extreme(np.asarray(bound)))


def discontinuous(estimator: eqx.Module, reason: Reason, variable: str) -> InvalidEstimator:
    """The error for an integrand that is not shown to be continuous."""
    return InvalidEstimator(
        expected=f"an f that is continuous in z{variable}, which {type(estimator).__name__} differentiates",
        got=reason.text,
        cure="use leave-one-out, optimal-baseline or measure-valued, which do not differentiate f in z, or boundary, "
        "which counts the jump; or, if f is continuous after all, wrap it: estimators.AssumedContinuous(f)",
    )
