"""Pathwise derivatives with boundary terms, for jumps whose location depends on parameters, in f or in q."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.core import Tracer
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._quantiles import logistic_noise, no_quantile, noise_size, split_noise
from reparax.estimators._surface import Crossing, Line, Setting, Surface, surface_of
from reparax.estimators.draws import is_distribution, stopped
from reparax.estimators.scores import as_floating, differentiable_once, evaluate, mean

_BATCH = 256


class Boundary(AbstractEstimator):
    """``d/dtheta E[f] = E[df/dtheta] + boundary``: the boundary term counts jumps of f that move with theta.

    With z = F^{-1}(u; theta) and f equal to f_T where g(z, theta) > 0 and to f_F elsewhere::

        d/dtheta E[f] = E[df/dtheta] + E[ sum_r (f_T - f_F) p(r) dg/dtheta / |dg/dt_j| ]

    t_j is one coordinate of the noise t = log u - log(1 - u), with density p. The other coordinates are those of the
    draw, and r runs over the roots of g along t_j. Both j and the root are drawn at random and weighted by their
    probabilities, so that the surface g = 0 may lie in any direction. Every comparison (``<``, ``<=``, ``>``, ``>=``)
    of numbers that depend on z is such a g, whether theta is in f, in q or in both.

    Lee, Yu & Yang (2018), "Reparameterization gradient for non-differentiable models", theorem 1; for one coordinate
    given the others Fu & Hu (1997), "Conditional Monte Carlo"; Glasserman (2003), section 7.2.

    First derivatives only: a second derivative is refused if f has a comparison. The derivative is NaN if the roots
    along a line cannot be resolved.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = (
        "distributions with a differentiable quantile function or a Normal base, and an f whose jumps in z are "
        "comparisons outside loops, at locations that may depend on parameters"
    )
    reference: ClassVar[str] = "Lee, Yu & Yang (2018), theorem 1; Fu & Hu (1997)"

    def refusal(self, q: dist.Distribution) -> str | None:
        return no_quantile(q)

    @property
    def counts_jumps(self) -> bool:
        return True

    @property
    def differentiates_the_sample(self) -> bool:
        """No: f need not be continuous in z."""
        return False

    def evaluations(self, q: Any, num_samples: int) -> int:
        """One per draw, and two per comparison; f is not known here, so that one comparison is assumed."""
        return 3 * num_samples

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
        noise_key, f_key, line_key = jax.random.split(key, 3)
        dimensions = sum(noise_size(leaf) for leaf in flat)
        t = logistic_noise(noise_key, (num_samples, dimensions), _noise_dtype(flat))
        f_keys = jax.random.split(f_key, num_samples)

        def results(z: list[Any], k: jax.Array) -> list[Array]:
            return jax.tree.leaves(as_floating(f(jax.tree.unflatten(structure, z), k)))

        surface = surface_of(results, flat, t[0], f_keys[0])
        draws = jax.tree.unflatten(structure, jax.vmap(lambda noise: split_noise(flat, noise))(t))
        if not surface.size and not surface.switches.watched:
            return mean(evaluate(f, draws, f_keys))
        values, form = jax.tree.flatten(mean(self._values(f, surface, flat, draws, t, f_keys)))
        gaps = _terms(surface, flat, t, f_keys, line_key)
        return jax.tree.unflatten(form, [_attach(value, gap) for value, gap in zip(values, gaps, strict=True)])

    def _values(self, f: Integrand, surface: Surface, flat: list[Any], draws: Any, t: Array, f_keys: jax.Array) -> Any:
        if not surface.program.custom_rules:
            return evaluate(f, draws, f_keys)
        # A comparison inside a custom_jvp has a derivative that stands for its jump, which would be counted twice.
        setting = Setting(flat, surface.program.constants)
        shape = jax.eval_shape(lambda: evaluate(f, draws, f_keys))
        values = jax.vmap(lambda noise, k: surface.results(setting, noise, k))(t, f_keys)
        return jax.tree.unflatten(jax.tree.structure(shape), values)


def _terms(surface: Surface, flat: list[Any], t: Float[Array, "n d"], f_keys: jax.Array, key: jax.Array) -> list[Array]:
    """One array per result of f, whose derivative is the boundary term; its value has no meaning."""
    guarded, leaves = _once(Setting(flat, surface.program.constants))
    fixed = stopped(guarded)
    usual = jnp.all(jax.vmap(lambda noise, k: surface.usual(fixed, noise, k))(t, f_keys))
    # The derivative in every parameter is NaN if a test for NaN or infinity had an unexpected outcome.
    unknown = jnp.where(usual, 0, jnp.nan).astype(t.dtype)
    poison = sum((jnp.sum(leaf).astype(t.dtype) * unknown for leaf in leaves), start=jnp.zeros((), t.dtype))
    if not surface.size:
        return [poison for _ in surface.program.outputs]
    lines = Line(
        jnp.repeat(t, surface.size, axis=0),
        jnp.repeat(f_keys, surface.size, axis=0),
        jnp.tile(jnp.arange(surface.size), len(t)),
        jax.random.split(key, len(t) * surface.size),
    )

    @jax.jit  # One program, also if the caller does not compile.
    def search(lines: Line) -> Crossing:
        probabilities = surface.probabilities(fixed, f_keys[0], t.dtype)
        return _mapped(lambda line: surface.cross(fixed, probabilities, line), lines)

    crossings = stopped(search(stopped(lines)))
    gaps = _mapped(
        lambda pair: surface.observe(guarded, pair[0].t, pair[1].f_key)[0][pair[1].element], (crossings, lines)
    )
    return [poison + jnp.tensordot(gaps, jump.astype(t.dtype), axes=1) / len(t) for jump in crossings.jump]


def _mapped(function: Callable[[Any], Any], xs: Any) -> Any:
    """A function of one line applied to all lines, in batches of bounded memory."""
    count = len(jax.tree.leaves(xs)[0])
    if count <= _BATCH:
        return jax.vmap(function)(xs)
    batches = -(-count // _BATCH)
    places = jnp.arange(batches * -(-count // batches)) % count
    results = jax.lax.map(jax.vmap(lambda place: function(_at(xs, place))), places.reshape(batches, -1))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], results)


def _at(xs: Any, place: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[place], xs)


def _noise_dtype(flat: list[dist.Distribution]) -> Any:
    floats = [leaf for leaf in jax.tree.leaves(flat) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    dtype = jnp.result_type(float, *floats)
    if jnp.finfo(dtype).bits < 32:
        raise InvalidEstimator(
            expected="parameters of q in single precision or better, in which roots can be found",
            got=str(dtype),
            cure="cast the parameters of q to float32",
        )
    return dtype


@jax.custom_jvp
def _attach(value: Array, gap: Array) -> Array:
    return value


@_attach.defjvp
def _attach_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    return primals[0], tangents[0] + jnp.broadcast_to(tangents[1], primals[0].shape).astype(primals[0].dtype)


def _once(setting: Setting) -> tuple[Setting, list[Array]]:
    """The setting, which can be differentiated only once, and those of its leaves that may be parameters."""
    leaves, structure = jax.tree.flatten(setting)
    places = [index for index, leaf in enumerate(leaves) if _is_parameter(leaf)]
    parameters = _first([leaves[index] for index in places])
    for index, leaf in zip(places, parameters, strict=True):
        leaves[index] = leaf
    return jax.tree.unflatten(structure, leaves), parameters


def _is_parameter(leaf: Any) -> bool:
    return isinstance(leaf, Tracer) and jnp.issubdtype(leaf.dtype, jnp.floating)


_first = differentiable_once(
    lambda: InvalidEstimator(
        expected="first derivatives: boundary terms are exact only to first order",
        got="a second derivative of an f with comparisons",
        cure="move all parameters into q and use leave-one-out, whose derivatives of every order are unbiased",
    )
)
