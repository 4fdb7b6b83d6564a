"""Uniform on an interval, and the point mass."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._rule import declared, rule
from reparax.reparameterization._shapes import float_dtype, full_shape, to_float


def interval(low: Array, high: Array, u: Array) -> Array:
    """The point (1 - u) low + u high, kept inside the interval and exact at both ends."""
    return (1 - u) * low + u * high


@rule(dist.Uniform, declare=declared("uniform", "low", "high"))
def _uniform(q: dist.Uniform, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    u = jax.random.uniform(key, full_shape(q, sample_shape), float_dtype(q.low, q.high))
    return interval(q.low, q.high, u)


@rule(dist.LogUniform, declare=declared("uniform", "low", "high", reason="log z is uniform"))
def _log_uniform(q: dist.LogUniform, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    low, high = to_float(q.low, q.high)
    u = jax.random.uniform(key, full_shape(q, sample_shape), low.dtype)
    return jnp.exp(interval(jnp.log(low), jnp.log(high), u))


@rule(dist.Delta, declare=declared("deterministic", "v"))
def _delta(q: dist.Delta, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return jnp.broadcast_to(jnp.asarray(q.v), full_shape(q, sample_shape))
