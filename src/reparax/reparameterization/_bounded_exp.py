"""From log space to linear space without losing the derivative where the value leaves the floating range."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

# Far enough from the ends of the floating range that products with derivatives are neither infinite nor flushed.
_HEADROOM = 1e-8
_FLOOR = 1024.0


@jax.custom_jvp
def bounded_exp(log_x: Array) -> Array:
    """exp(log x), kept inside the floating range; the derivative of its logarithm is always the one of log x.

    Where exp underflows the value is held at the edge of the range (1e-35 in float32); its tangent is still x dlog x,
    so that d log(x) stays dlog x and nothing becomes zero, infinite or NaN.
    """
    limits = jnp.finfo(log_x.dtype)
    return jnp.clip(jnp.exp(log_x), limits.tiny * _FLOOR, limits.max * _HEADROOM)


@bounded_exp.defjvp
def _bounded_exp_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x = bounded_exp(*primals)
    return x, x * tangents[0]


@jax.custom_jvp
def unit_exp(log_x: Array, log1m_x: Array) -> Array:
    """The point x of (0, 1) of which log x and log(1 - x) are known, kept strictly inside.

    Its tangent is taken from the smaller of the two sides, so that both log(x) and log(1 - x), recomputed from x, keep
    their derivatives.
    """
    limits = jnp.finfo(log_x.dtype)
    x = jnp.where(log_x < log1m_x, jnp.exp(log_x), -jnp.expm1(log1m_x))
    return jnp.clip(x, limits.tiny * _FLOOR, 1 - limits.epsneg)


@unit_exp.defjvp
def _unit_exp_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    x = unit_exp(*primals)
    return x, jnp.where(x < 0.5, x * tangents[0], (x - 1) * tangents[1])


def log1m_exp(log_x: Array) -> Array:
    """log(1 - exp(log x)) for log x < 0, accurate at both ends (Maechler 2012)."""
    near_one = log_x > -0.6931472
    small = jnp.where(near_one, log_x, -1.0)
    return jnp.where(near_one, jnp.log(-jnp.expm1(small)), jnp.log1p(-jnp.exp(jnp.where(near_one, -1.0, log_x))))
