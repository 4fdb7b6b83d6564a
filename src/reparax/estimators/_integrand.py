"""The integrand, and what is known of its continuity in each variable."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array
from numpyro.distributions import constraints

from reparax.continuity import Interval, Reason, Variable, Verdict, Vouched, guarded, judge
from reparax.errors import InvalidEstimator
from reparax.estimators._separable import elements_of, separation_of
from reparax.estimators.draws import draw
from reparax.reparameterization import innermost, is_discrete

Integrand = Callable[[Any, jax.Array], Any]


def with_key(f: Callable[..., Any]) -> Integrand:
    """f as a function ``(z, key)``, whether or not it asks for a key."""
    if isinstance(f, Vouched):
        return with_key(f.function)
    parameters = inspect.signature(f).parameters
    if "key" in parameters and parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY:
        return lambda z, key: f(z, key=key)
    return lambda z, key: f(z)


class Inspected:
    """An integrand and what is known of its continuity.

    Where the place of a jump depends on a value that f closes over, evaluations run the trace, with that value guarded.

    Args:
        f: The integrand ``(z, key)``, z a list with one draw of each distribution.
        flat: The distributions.
        differentiated: Which draws an estimator may differentiate or hand over as real numbers.
    """

    def __init__(self, f: Integrand, flat: Sequence[dist.Distribution], differentiated: Sequence[bool]) -> None:
        self._f, self._flat = f, list(flat)
        self._shapes = [_shape(q, moves) for q, moves in zip(flat, differentiated, strict=True)]
        self._asked = tuple(
            _variable(q) if moves or not is_discrete(q) else None for q, moves in zip(flat, differentiated, strict=True)
        )
        self._traces: dict[Any, tuple[ClosedJaxpr, Any]] = {}
        self.handled = 0

    @functools.cached_property
    def verdict(self) -> Verdict:
        """What is known of the continuity of f in each of its variables, and in what it closes over."""
        closed, _ = self._trace(self._shapes, jax.random.key(0))
        if any(isinstance(innermost(q), dist.VonMises) for q in self._flat):
            run = jaxpr_as_fun(closed)
            closed = jax.make_jaxpr(lambda z, key: run(*_wrapped(self._flat, z), key))(self._shapes, jax.random.key(0))
        return judge(closed, [*self._asked, None])

    def is_separable(self, place: int) -> bool:
        """Whether f is a sum of terms that read one element of a variable each, the others given."""
        closed, _ = self._trace(self._shapes, jax.random.key(0))
        run, shapes = jaxpr_as_fun(closed), [*self._shapes]
        wanted = shapes.pop(place)

        def of_one(z: Array, others: list[Array], key: jax.Array) -> Any:
            return run(*others[:place], z, *others[place:], key)

        traced = jax.make_jaxpr(of_one)(wanted, shapes, jax.random.key(0))
        return separation_of(traced, len(elements_of(self._flat[place]))) is not None

    def __call__(self, z: Any, key: jax.Array) -> Any:
        """f at one draw; what moves a jump cannot be differentiated."""
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
        # A relaxation hands over numbers where f was traced with classes: what it closes over is the same.
        return judge(closed, [*self._asked, None]).moving

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
    """Angles cut at +-pi, where a function that is not periodic jumps; anything else as it is."""
    return [
        jnp.remainder(value + jnp.pi, 2 * jnp.pi) - jnp.pi if isinstance(innermost(q), dist.VonMises) else value
        for q, value in zip(flat, z, strict=True)
    ]


def _variable(q: dist.Distribution) -> Variable:
    """What is known of a draw before f does anything with it."""
    support = _support(q)
    simplex = support is constraints.simplex
    continuous = not is_discrete(q) and not isinstance(innermost(q), dist.Delta)
    # Elements of matrices with a structure can be fixed, or equal to others.
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
        "which counts the jump; or, if f is continuous all the same, wrap it: estimators.Vouched(f)",
    )
