"""Samples as functions of uniform noise, so that the noise can be designed: antithetic, stratified, quasi-random."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import Integrand
from reparax.estimators._distributions import is_distribution, numpyro_rules
from reparax.estimators._surrogate import evaluate, mean
from reparax.reparameterization import innermost, parameter_rules
from reparax.reparameterization.numerics import widened

Design = Callable[[jax.Array, int, int, Any], Float[Array, "n d"]]

_INVERTIBLE = (
    dist.Normal, dist.Laplace, dist.Logistic, dist.Cauchy, dist.Gumbel, dist.Uniform, dist.Exponential, dist.HalfNormal,
    dist.HalfCauchy, dist.Weibull, dist.LeftTruncatedDistribution, dist.RightTruncatedDistribution,
    dist.TwoSidedTruncatedDistribution,
)  # fmt: skip
VALID_FOR = "distributions with a differentiable quantile function or a Normal base, and an f that is continuous in z"


def no_quantile(q: dist.Distribution) -> str | None:
    """Why a sample of q is not a differentiable function of as many uniform numbers here; ``None`` where it is."""
    base = innermost(q)
    if type(base) in _INVERTIBLE or isinstance(base, dist.MultivariateNormal):
        refused = [rule for rule in parameter_rules(base) if not rule.differentiable]
        return f"{refused[0].parameter}: {refused[0].reason}" if refused else None
    if isinstance(base, dist.TransformedDistribution):
        return no_quantile(base.base_dist)
    return f"{type(base).__name__} has no differentiable quantile function here"


def noise_shape(q: dist.Distribution) -> tuple[int, ...]:
    """The shape of the noise of one draw of q: that of what its transforms are given, which may have another event."""
    base = innermost(q)
    shape = q.shape()
    if not isinstance(base, dist.TransformedDistribution):
        return shape
    inside = base.base_dist
    batch = shape[: len(shape) - len(base.event_shape)]
    rest = inside.shape()[len(base.batch_shape) :]
    whole = (*batch, *rest)
    return noise_shape(inside.expand(whole[: len(whole) - len(inside.event_shape)]))


def from_uniform(q: dist.Distribution, u: Float[Array, "n *s"]) -> Float[Array, "n *d"]:
    """The draws of q whose noise is u: u in (0, 1), of `noise_shape` behind the draws."""
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
    """The mean of f over draws whose uniform noise, over all dimensions of q together, comes from a design."""
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
