"""Measure-valued (weak) derivatives with coupled draws: dq/dtheta = c (p+ - p-) for each family and parameter."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.discrete import Bernoulli
from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators.draws import draw, is_distribution, leaves, log_prob
from reparax.estimators.scores import (
    as_floating,
    at_edge,
    evaluate,
    evaluate_common,
    held_at_edges,
    not_differentiable,
    with_edges,
    with_gradient,
)
from reparax.reparameterization import innermost
from reparax.reparameterization.numerics import widened


class Pair(NamedTuple):
    """The weak derivative in one parameter, elementwise: the constant, and a draw of each of the two measures."""

    constant: Float[Array, "*s"]
    plus: Array
    minus: Array


class Family(NamedTuple):
    """A family with weak derivatives.

    Args:
        parameters: The parameters of q that it is differentiated in, broadcast to the shape of a draw.
        rebuild: Makes the distribution from these parameters.
        pairs: Makes one `Pair` per parameter, from the constant parameters, one draw and a key.
    """

    parameters: list[Float[Array, "*s"]]
    rebuild: Callable[[list[Array]], dist.Distribution]
    pairs: Callable[[list[Array], Array, jax.Array], list[Pair]]


def family_of(q: dist.Distribution) -> Family | None:
    """The weak derivatives of a distribution (or of independent copies of it); ``None`` if they are not known."""
    base = innermost(widened(q))
    for kind, make in _FAMILIES.items():
        if type(base) is kind:
            return make(base, q.shape())
    return None


def _broadcast(shape: tuple[int, ...], *parameters: Array) -> list[Array]:
    return [jnp.broadcast_to(jnp.asarray(p, jnp.result_type(float, p)), shape) for p in parameters]


def _normal(base: dist.Normal, shape: tuple[int, ...]) -> Family:
    return Family(_broadcast(shape, base.loc, base.scale), lambda p: dist.Normal(*p), _normal_pairs)


def _normal_pairs(parameters: list[Array], z: Array, key: jax.Array) -> list[Pair]:
    loc, scale = parameters
    radius_key, maxwell_key, sign_key, shrink_key = jax.random.split(key, 4)
    radius = jnp.sqrt(2 * jax.random.exponential(radius_key, loc.shape, loc.dtype))
    in_loc = Pair(
        1 / (scale * jnp.sqrt(2 * jnp.asarray(jnp.pi, loc.dtype))), loc + scale * radius, loc - scale * radius
    )
    # A double-sided Maxwell draw times a uniform draw is a standard Normal draw, which couples the two measures.
    maxwell = jnp.sqrt(jnp.sum(jax.random.normal(maxwell_key, (3, *loc.shape), loc.dtype) ** 2, axis=0))
    maxwell = maxwell * jax.random.rademacher(sign_key, loc.shape, loc.dtype)
    shrunk = maxwell * jax.random.uniform(shrink_key, loc.shape, loc.dtype)
    return [in_loc, Pair(1 / scale, loc + scale * maxwell, loc + scale * shrunk)]


def _bernoulli(base: dist.BernoulliLogits, shape: tuple[int, ...]) -> Family:
    def pairs(parameters: list[Array], z: Array, key: jax.Array) -> list[Pair]:
        p = jax.nn.sigmoid(parameters[0])
        return [Pair(p * (1 - p), jnp.ones_like(z), jnp.zeros_like(z))]

    return Family(_broadcast(shape, base.logits), lambda p: dist.Bernoulli(logits=p[0]), pairs)


def _bernoulli_probs(base: dist.BernoulliProbs, shape: tuple[int, ...]) -> Family:
    # Differentiated in the probability, not in its logit. What probabilities of 0 and 1 give is added by `with_edges`.
    def pairs(parameters: list[Array], z: Array, key: jax.Array) -> list[Pair]:
        inside = ~at_edge(dist.BernoulliProbs(parameters[0]))
        return [Pair(inside.astype(parameters[0].dtype), jnp.ones_like(z), jnp.zeros_like(z))]

    return Family(_broadcast(shape, base.probs), lambda p: dist.Bernoulli(probs=p[0]), pairs)


def _poisson(base: dist.Poisson, shape: tuple[int, ...]) -> Family:
    def pairs(parameters: list[Array], z: Array, key: jax.Array) -> list[Pair]:
        return [Pair(jnp.ones_like(parameters[0]), z + 1, z)]

    return Family(_broadcast(shape, base.rate), lambda p: dist.Poisson(p[0]), pairs)


def _exponential(base: dist.Exponential, shape: tuple[int, ...]) -> Family:
    def pairs(parameters: list[Array], z: Array, key: jax.Array) -> list[Pair]:
        (rate,) = parameters
        return [Pair(1 / rate, z, z + jax.random.exponential(key, z.shape, z.dtype) / rate)]

    return Family(_broadcast(shape, base.rate), lambda p: dist.Exponential(p[0]), pairs)


def _gamma(base: dist.Gamma, shape: tuple[int, ...]) -> Family:
    concentration, rate = _broadcast(shape, base.concentration, base.rate)
    fixed = _not_differentiated(concentration)

    def pairs(parameters: list[Array], z: Array, key: jax.Array) -> list[Pair]:
        (rate,) = parameters
        larger = z + jax.random.exponential(key, z.shape, z.dtype) / rate
        return [Pair(jax.lax.stop_gradient(concentration) / rate, z, larger)]

    return Family([rate], lambda p: dist.Gamma(fixed, p[0]), pairs)


_not_differentiated = not_differentiable(
    lambda: InvalidEstimator(
        expected="the measure-valued estimator to differentiate the rate of a Gamma",
        got="a derivative with respect to the concentration, for which no simple pair of measures is known",
        cure="use estimator='pathwise', or hold the concentration constant with jax.lax.stop_gradient",
    )
)


_FAMILIES: dict[type, Callable[..., Family]] = {
    dist.Normal: _normal,
    dist.BernoulliLogits: _bernoulli,
    dist.BernoulliProbs: _bernoulli_probs,
    Bernoulli: _bernoulli,
    dist.Poisson: _poisson,
    dist.Exponential: _exponential,
    dist.Gamma: _gamma,
}

KNOWN = "Normal, Bernoulli, Poisson, Exponential, or Gamma in its rate"


class MeasureValued(AbstractEstimator):
    """``dE[f]/dtheta_j = c_j (E[f(z+)] - E[f(z-)])``, where ``dq/dtheta_j = c_j (p+ - p-)``.

    z+ and z- are coupled draws from p+ and p-. Valid for any f, with low variance, at two evaluations of f per
    parameter element. Mohamed et al. (2020), section 6 and table 1 (Normal: Weibull pair in the location; double-sided
    Maxwell minus Normal in the scale; Poisson: a shift by one; Exponential and Gamma: one more Exponential added).
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    family: ClassVar[str] = "weak derivatives"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = f"{KNOWN}, and any f"
    reference: ClassVar[str] = "Mohamed et al. (2020), section 6, table 1"

    def refusal(self, q: dist.Distribution) -> str | None:
        known = family_of(q) is not None
        return None if known else f"the weak derivatives of {type(innermost(q)).__name__} are not implemented"

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        families = _families(q)
        parameters = [family.parameters for family in families]
        structure = jax.tree.structure(q, is_leaf=is_distribution)
        draw_key, pair_key, f_key = jax.random.split(key, 3)
        z = draw(leaves(q), draw_key, num_samples)
        keys = jax.random.split(f_key, num_samples)

        def g(values: list[Array], k: jax.Array) -> Any:
            return f(jax.tree.unflatten(structure, values), k)

        def slopes(values: list[Array], k: jax.Array, inner: jax.Array) -> Any:
            constant = jax.lax.stop_gradient(parameters)
            differences = [
                _differences(g, values, place, pair, inner)
                for place, family in enumerate(families)
                for pair in family.pairs(constant[place], values[place], jax.random.fold_in(k, place))
            ]
            return jax.tree.map(lambda *parts: list(parts), *differences)

        def density(flat: list[Array], values: list[Array]) -> Array:
            rest = iter(flat)
            rebuilt = [family.rebuild([next(rest) for _ in family.parameters]) for family in families]
            return log_prob(held_at_edges(rebuilt), values)

        gradients = jax.vmap(slopes)(z, jax.random.split(pair_key, num_samples), keys)
        flat = [parameter for group in parameters for parameter in group]
        values = with_edges(evaluate(g, z, keys), f, q, jax.random.fold_in(key, 1))
        return with_gradient(values, density, z, flat, gradients)

    def evaluations(self, q: Any, num_samples: int) -> int:
        elements = sum(parameter.size for family in _families(q) for parameter in family.parameters)
        return num_samples * (1 + 2 * elements)


def _families(q: Any) -> list[Family]:
    return [family for leaf in leaves(q) if (family := family_of(leaf)) is not None]


def _differences(g: Integrand, values: list[Array], place: int, pair: Pair, key: jax.Array) -> Any:
    """c_j (f(z+) - f(z-)) for every element j of one variable, the others held at the draw."""
    value = values[place]
    if not value.size:
        outputs = jax.eval_shape(lambda: as_floating(g(values, key)))
        return jax.tree.map(lambda output: jnp.zeros(value.shape + output.shape, output.dtype), outputs)

    def replaced(element: Array, new: Array) -> list[Array]:
        changed = value.reshape(-1).at[element].set(new.reshape(-1)[element]).reshape(value.shape)
        return [changed if i == place else other for i, other in enumerate(values)]

    elements = jnp.arange(value.size)
    plus = evaluate_common(g, jax.vmap(lambda e: replaced(e, pair.plus))(elements), key)
    minus = evaluate_common(g, jax.vmap(lambda e: replaced(e, pair.minus))(elements), key)
    constant = pair.constant.reshape(-1)

    def weighted(a: Array, b: Array) -> Array:
        difference = a - b
        weight = constant.reshape(constant.shape + (1,) * (difference.ndim - 1)).astype(difference.dtype)
        return (weight * difference).reshape(value.shape + difference.shape[1:])

    return jax.tree.map(weighted, plus, minus)
