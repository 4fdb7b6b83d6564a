"""Samples as functions of uniform noise, which can be designed, or logistic noise, which is precise in both tails."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.lax import erf_inv
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from reparax.estimators._base import Integrand
from reparax.estimators.draws import is_distribution, not_reparameterizable, numpyro_rules
from reparax.estimators.scores import evaluate, mean
from reparax.reparameterization import innermost
from reparax.reparameterization.numerics import widened

Design = Callable[[jax.Array, int, int, Any], Float[Array, "n d"]]

_INVERTIBLE = (
    dist.Normal, dist.Laplace, dist.Logistic, dist.Cauchy, dist.Gumbel, dist.Uniform, dist.Exponential, dist.HalfNormal,
    dist.HalfCauchy, dist.Weibull, dist.LeftTruncatedDistribution, dist.RightTruncatedDistribution,
    dist.TwoSidedTruncatedDistribution,
)  # fmt: skip
VALID_FOR = "distributions with a differentiable quantile function or a Normal base, and an f that is continuous in z"
# The probability of a logistic number beyond this is 4e-31; the quantiles below are accurate up to here.
_LARGEST = 70.0
# The slope of the quantile function of a Cauchy overflows in single precision beyond twice this.
_LARGEST_CAUCHY = 40.0


def no_quantile(q: dist.Distribution) -> str | None:
    """Why a sample of q is not a differentiable function of one uniform number per element; ``None`` if it is."""
    base = innermost(q)
    if type(base) in _INVERTIBLE or isinstance(base, dist.MultivariateNormal):
        return not_reparameterizable(base)
    if isinstance(base, dist.TransformedDistribution):
        return no_quantile(base.base_dist)
    return f"no differentiable quantile function of {type(base).__name__} is known"


def noise_shape(q: dist.Distribution) -> tuple[int, ...]:
    """The shape of the noise of one draw of q, which is that of the base where a transform changes the event."""
    base = innermost(q)
    shape = q.shape()
    if not isinstance(base, dist.TransformedDistribution):
        return shape
    inside = base.base_dist
    batch = shape[: len(shape) - len(base.event_shape)]
    rest = inside.shape()[len(base.batch_shape) :]
    full = (*batch, *rest)
    return noise_shape(inside.expand(full[: len(full) - len(inside.event_shape)]))


def from_uniform(q: dist.Distribution, u: Float[Array, "n *s"]) -> Float[Array, "n *d"]:
    """The draws of q with noise u in (0, 1), an array with the draws in front of `noise_shape`."""
    base = innermost(q)
    with numpyro_rules():
        if isinstance(base, dist.MultivariateNormal):
            return base.loc + jnp.einsum("...ij,...j->...i", base.scale_tril, jax.scipy.special.ndtri(u))
        if isinstance(base, dist.TransformedDistribution):
            value = from_uniform(base.base_dist, u)
            for transform in base.transforms:
                value = transform(value)
            return value
        return base.icdf(u)


def designed(f: Integrand, q: Any, design: Design, key: jax.Array, num_samples: int) -> Any:
    """The mean of f over draws whose uniform noise, for all dimensions of q together, comes from a design."""
    flat, structure = jax.tree.flatten(widened(q), is_leaf=is_distribution)
    shapes = [noise_shape(leaf) for leaf in flat]
    sizes = [math.prod(shape) for shape in shapes]
    noise_key, f_key = jax.random.split(key)
    dtype = jnp.result_type(float, *(a for leaf in flat for a in jax.tree.leaves(leaf) if _is_floating(a)))
    u = design(noise_key, num_samples, sum(sizes), dtype)
    edge = jnp.finfo(dtype).eps
    u = jnp.clip(u, edge, 1 - edge)
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    z = [
        from_uniform(leaf, u[:, start : start + size].reshape(num_samples, *shape))
        for leaf, start, size, shape in zip(flat, starts, sizes, shapes, strict=True)
    ]
    return mean(evaluate(f, jax.tree.unflatten(structure, z), jax.random.split(f_key, num_samples)))


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def standard_noise(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Float[Array, "*s"]:
    """Uniform noise in the open interval (0, 1)."""
    return jax.random.uniform(key, shape, dtype, minval=jnp.finfo(dtype).tiny)


def _lower(t: Array) -> Array:
    """The noise mirrored into the lower half, as floats do not resolve u near 1. Its slope is never 0."""
    return jnp.where(t < 0, t, -t)


def _side(t: Array) -> Array:
    return jnp.where(t < 0, 1, -1).astype(t.dtype)


def _normal(t: Array) -> Array:
    return _side(t) * ndtri(jax.nn.sigmoid(_lower(t)))


def _laplace(t: Array) -> Array:
    low = _lower(t)
    return _side(t) * (low - jax.nn.softplus(low) + jnp.log(jnp.asarray(2, t.dtype)))


def _gumbel(t: Array) -> Array:
    return -jnp.log(jax.nn.softplus(-t))


def _cauchy(t: Array) -> Array:
    return -_side(t) / jnp.tan(jnp.pi * jax.nn.sigmoid(_lower(t)))


def _half_normal(t: Array) -> Array:
    u = jax.nn.sigmoid(_lower(t))
    return jnp.where(t < 0, jnp.sqrt(2.0) * erf_inv(u), -ndtri(0.5 * u)).astype(t.dtype)


def _half_cauchy(t: Array) -> Array:
    tangent = jnp.tan(0.5 * jnp.pi * jax.nn.sigmoid(_lower(t)))
    return jnp.where(t < 0, tangent, 1 / tangent)


def _uniform(low: Array, high: Array, t: Array) -> Array:
    distance = (high - low) * jax.nn.sigmoid(_lower(t))
    return jnp.where(t < 0, low + distance, high - distance)


_STANDARD: dict[type, Callable[[Array], Array]] = {
    dist.Normal: _normal,
    dist.Laplace: _laplace,
    dist.Logistic: lambda t: t,
    dist.Gumbel: _gumbel,
    dist.Cauchy: _cauchy,
}
_HALF: dict[type, Callable[[Array], Array]] = {dist.HalfNormal: _half_normal, dist.HalfCauchy: _half_cauchy}


def from_logit(q: dist.Distribution, t: Float[Array, "*noise"]) -> Float[Array, "*s"]:
    """The draw of q from logistic noise t of shape `logistic_noise_shape`: the quantile at sigmoid(t)."""
    base = innermost(q)
    with numpyro_rules():
        kind = type(base)
        if kind in _STANDARD:
            return base.loc + base.scale * _STANDARD[kind](t)
        if kind in _HALF:
            return base.scale * _HALF[kind](t)
        if kind is dist.Uniform:
            return _uniform(base.low, base.high, t)
        if kind is dist.Exponential:
            return jax.nn.softplus(t) / base.rate
        if kind is dist.Weibull:
            return base.scale * jax.nn.softplus(t) ** (1 / base.concentration)
        if isinstance(base, dist.MultivariateNormal):
            return base.loc + jnp.einsum("...ij,...j->...i", base.scale_tril, _normal(t))
        if isinstance(base, dist.TransformedDistribution):
            value = from_logit(base.base_dist, t)
            for transform in base.transforms:
                value = transform(value)
            return value
        edge = jnp.finfo(t.dtype).eps
        return from_uniform(base, jnp.clip(jax.nn.sigmoid(t), edge, 1 - edge))


def logistic_noise_shape(q: dist.Distribution) -> tuple[int, ...]:
    """The shape of the noise of one draw, which is that of the base where a transform changes the event."""
    base = innermost(q)
    shape = q.shape()
    batch = shape[: len(shape) - len(base.event_shape)]
    return (*batch, *_event_noise(base))


def _event_noise(q: dist.Distribution) -> tuple[int, ...]:
    if not isinstance(q, dist.TransformedDistribution):
        return tuple(q.event_shape)
    inner = logistic_noise_shape(q.base_dist)
    return inner[len(q.batch_shape) :]


def largest_noise(q: dist.Distribution, dtype: Any) -> float:
    """The largest absolute noise at which the draws of q are accurate."""
    base = innermost(q)
    while isinstance(base, dist.TransformedDistribution):
        base = innermost(base.base_dist)
    if isinstance(base, dist.Cauchy | dist.HalfCauchy):
        return _LARGEST_CAUCHY
    accurate = type(base) in {*_STANDARD, *_HALF, dist.Uniform, dist.Exponential, dist.Weibull}
    if accurate or isinstance(base, dist.MultivariateNormal):
        return _LARGEST
    return -math.log(float(jnp.finfo(dtype).eps)) - 0.5


def split_noise(flat: Sequence[dist.Distribution], t: Float[Array, " d"]) -> list[Float[Array, "..."]]:
    """The draws of several distributions from one vector of noise."""
    shapes = [logistic_noise_shape(leaf) for leaf in flat]
    ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
    starts = [0, *ends[:-1]]
    return [
        from_logit(leaf, t[start:end].reshape(shape))
        for leaf, shape, start, end in zip(flat, shapes, starts, ends, strict=True)
    ]


def logistic_noise(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Float[Array, "*s"]:
    """Logistic numbers with equally precise tails, down to a probability of half the rounding error of 1."""
    sign_key, size_key = jax.random.split(key)
    sign = jax.random.rademacher(sign_key, shape, dtype)
    v = jax.random.uniform(size_key, shape, dtype, minval=jnp.finfo(dtype).eps / 2)
    return sign * (jnp.log(2 - v) - jnp.log(v))


def noise_size(q: dist.Distribution) -> int:
    """The number of coordinates of the noise of one draw."""
    return math.prod(logistic_noise_shape(q))
