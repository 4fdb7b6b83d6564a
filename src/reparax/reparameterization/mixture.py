"""Mixtures, differentiable in the components' parameters and in the weights, by the components' CDFs."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import betainc, betaln, gammainc, gammaln
from jaxtyping import Array, PyTree
from numpyro.distributions import constraints

from reparax.reparameterization._rules import ParameterRule, innermost, is_discrete, parameter_rules, rsample, rule
from reparax.reparameterization.beta import logit_beta_derivatives
from reparax.reparameterization.gamma import log_gamma_derivative
from reparax.reparameterization.numerics import to_float

# Families with a CDF in numpyro that jax can differentiate, and a support without parameters.
_CLOSED_FORM = (
    dist.Normal,
    dist.LogNormal,
    dist.Laplace,
    dist.Logistic,
    dist.Cauchy,
    dist.Gumbel,
    dist.SoftLaplace,
    dist.AsymmetricLaplace,
    dist.Exponential,
    dist.Weibull,
    dist.Gompertz,
    dist.HalfNormal,
    dist.HalfCauchy,
)
# (x, components) -> log-density and CDF of every component in every coordinate, of shape (..., K, d).
Evaluate = Callable[[Array, Any], tuple[Array, Array]]
REFERENCE = "Figurnov et al. 2018, section 4; Graves 2016"


def has_differentiable_cdf(q: dist.Distribution) -> bool:
    """Whether `differentiable_cdf` knows the family of q."""
    return isinstance(q, (*_CLOSED_FORM, dist.Gamma, dist.Beta, dist.StudentT))


def differentiable_cdf(q: dist.Distribution, x: Array) -> Array:
    """F(x) under q, elementwise, with the right derivative in x and in every parameter."""
    if isinstance(q, dist.Gamma):
        x, concentration, rate = jnp.broadcast_arrays(*to_float(x, q.concentration, q.rate))
        return _gamma_cdf(jnp.log(x * rate), concentration)
    if isinstance(q, dist.Beta):
        x, a, b = jnp.broadcast_arrays(*to_float(x, q.concentration1, q.concentration0))
        return _beta_cdf(jnp.log(x) - jnp.log1p(-x), a, b)
    if isinstance(q, dist.StudentT):
        x, df, loc, scale = jnp.broadcast_arrays(*to_float(x, q.df, q.loc, q.scale))
        t = (x - loc) / scale
        square = jnp.maximum(t * t, jnp.finfo(t.dtype).tiny)
        within = _beta_cdf(jnp.log(square) - jnp.log(df), jnp.full_like(df, 0.5), df / 2)
        return 0.5 + 0.5 * jnp.sign(t) * within
    return q.cdf(x)


@jax.custom_jvp
def _gamma_cdf(log_x: Array, a: Array) -> Array:
    return gammainc(a, jnp.exp(log_x))


@_gamma_cdf.defjvp
def _gamma_cdf_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    log_x, a = primals
    density = jnp.exp(a * log_x - jnp.exp(log_x) - gammaln(a))
    return _gamma_cdf(log_x, a), density * (tangents[0] - log_gamma_derivative(log_x, a) * tangents[1])


@jax.custom_jvp
def _beta_cdf(logit: Array, a: Array, b: Array) -> Array:
    return betainc(a, b, jax.nn.sigmoid(logit))


@_beta_cdf.defjvp
def _beta_cdf_jvp(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    logit, a, b = primals
    density = jnp.exp(-a * jax.nn.softplus(-logit) - b * jax.nn.softplus(logit) - betaln(a, b))
    in_a, in_b = logit_beta_derivatives(logit, a, b)
    return _beta_cdf(logit, a, b), density * (tangents[0] - in_a * tangents[1] - in_b * tangents[2])


def _components(q: dist.Distribution) -> list[dist.Distribution]:
    if isinstance(q, dist.MixtureGeneral):
        return list(q.component_distributions)
    return [q.component_distribution]


def _obstacle(q: dist.Distribution) -> str:
    leaves = [innermost(component) for component in _components(q)]
    kinds = ", ".join(dict.fromkeys(type(leaf).__name__ for leaf in leaves))
    if any(is_discrete(leaf) for leaf in leaves):
        return f"the components ({kinds}) are discrete: a draw is a step function of every parameter"
    if any(leaf.event_shape for leaf in leaves):
        return f"the components ({kinds}) do not factorize into one-dimensional ones"
    if not all(has_differentiable_cdf(leaf) for leaf in leaves):
        return f"no differentiable CDF is known for the components ({kinds})"
    supports = {type(leaf.support) for leaf in leaves}
    if len(supports) > 1 or not isinstance(leaves[0].support, constraints.ParameterFreeConstraint):
        return f"the components ({kinds}) do not have the same support, or it depends on parameters"
    return ""


def _of_mixture(q: dist.Distribution) -> tuple[ParameterRule, ...]:
    obstacle = _obstacle(q)
    method = "none" if obstacle else "mixture (implicit)"
    names = [f"mixing {name}" for name in q.mixing_distribution.arg_constraints]
    for component in _components(q):
        names += [f"component {entry.parameter}" for entry in parameter_rules(component)]
    names = list(dict.fromkeys(names))
    return tuple(ParameterRule(name, method, not obstacle, obstacle, REFERENCE) for name in names)


@rule(dist.MixtureSameFamily, dist.MixtureGeneral, declare=_of_mixture)
def _mixture(q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    key_index, key_value = jax.random.split(key)
    (logits,) = to_float(q.mixing_distribution.logits)
    front = (*sample_shape, *q.batch_shape)
    index = jax.random.categorical(key_index, logits, shape=front)
    values = draw_all(q, key_value, sample_shape)
    index = index.reshape(front + (1,) * (1 + q.event_dim))
    chosen = jnp.take_along_axis(values, index, len(front)).squeeze(len(front))
    flat = jax.lax.stop_gradient(chosen.reshape((*front, -1)))
    evaluate = _evaluate_same_family if isinstance(q, dist.MixtureSameFamily) else _evaluate
    wide = jnp.broadcast_to(logits, (*front, logits.shape[-1]))
    return _follow(partial(evaluate, tuple(q.event_shape)), flat, wide, _components(q)).reshape(chosen.shape)


def draw_all(q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    """One draw of every component, of shape ``sample_shape + batch_shape + (K,) + event_shape``."""
    axis = len(sample_shape) + len(q.batch_shape)
    if isinstance(q, dist.MixtureSameFamily):
        wide = q.component_distribution.expand((*q.batch_shape, q.mixture_size))
        return rsample(wide, key, sample_shape)
    keys = jax.random.split(key, q.mixture_size)
    draws = (
        rsample(component.expand(tuple(q.batch_shape)), each, sample_shape)
        for component, each in zip(_components(q), keys, strict=True)
    )
    return jnp.stack(list(draws), axis)


def _evaluate(event_shape: tuple[int, ...], x: Array, components: list[dist.Distribution]) -> tuple[Array, Array]:
    """Log-densities and distribution functions of the listed components at x of shape (..., d)."""
    pairs = [_at(component, x.reshape(x.shape[:-1] + event_shape), event_shape) for component in components]
    logs, cdfs = zip(*pairs, strict=True)
    return jnp.stack(logs, -2), jnp.stack(cdfs, -2)


def _evaluate_same_family(
    event_shape: tuple[int, ...], x: Array, components: list[dist.Distribution]
) -> tuple[Array, Array]:
    """Likewise for one distribution whose last batch axis runs over the components."""
    return _at(components[0], x.reshape((*x.shape[:-1], 1, *event_shape)), event_shape)


def _at(component: dist.Distribution, x: Array, event_shape: tuple[int, ...]) -> tuple[Array, Array]:
    leaf = innermost(component)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        log, cdf = leaf.log_prob(x), differentiable_cdf(leaf, x)
    flat = (*log.shape[: log.ndim - len(event_shape)], math.prod(event_shape))
    return log.reshape(flat), cdf.reshape(flat)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _follow(evaluate: Evaluate, x: Array, logits: Array, components: PyTree) -> Array:
    """The draws x of shape (..., d), unchanged, as a differentiable function of the logits (..., K) and components."""
    return x


@_follow.defjvp
def _follow_jvp(
    evaluate: Evaluate, primals: tuple[Array, Array, PyTree], tangents: tuple[Array, Array, PyTree]
) -> tuple[Array, Array]:
    bare, logits, components = primals
    _, dlogits, dcomponents = tangents
    x = _follow(evaluate, bare, logits, components)
    log_weights, dlog_weights = jax.jvp(jax.nn.log_softmax, (logits,), (dlogits,))
    (logs, cdfs), (dlogs, dcdfs) = jax.jvp(partial(evaluate, x), (components,), (dcomponents,))
    slopes = jax.jvp(lambda t: evaluate(t, components)[0], (x,), (jnp.ones_like(x),))[1]
    weights = jax.nn.softmax(log_weights[..., None] + _before(logs), axis=-2)
    density = (weights * jnp.exp(logs)).sum(-2)
    pull = weights * (cdfs - (weights * cdfs).sum(-2, keepdims=True))
    moved = (weights * dcdfs).sum(-2) + (pull * (dlog_weights[..., None] + _before(dlogs))).sum(-2)
    return x, _solve_forward(moved, pull, slopes, jnp.maximum(density, jnp.finfo(x.dtype).tiny))


def _before(terms: Array) -> Array:
    """The sum over the coordinates before each one."""
    return jnp.cumsum(terms, -1) - terms


def _solve_forward(moved: Array, pull: Array, slopes: Array, density: Array) -> Array:
    """Solves p_i dx_i = -moved_i - sum_k pull_ki sum_{j<i} slope_kj dx_j for dx, coordinate by coordinate."""
    if moved.shape[-1] == 1:
        return -moved / density

    def step(carried: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        moved, pull, slope, density = inputs
        dx = -(moved + (pull * carried).sum(-1)) / density
        return carried + slope * dx[..., None], dx

    first = jnp.zeros(pull.shape[:-1], pull.dtype)
    inputs = tuple(jnp.moveaxis(array, -1, 0) for array in (moved, pull, slopes, density))
    return jnp.moveaxis(jax.lax.scan(step, first, inputs)[1], 0, -1)
