"""Special functions made of elementary operations: vectorized, and differentiable to every order."""

import jax.numpy as jnp
from jaxtyping import Array, Float

_SHIFT = 6


def _digamma_tail(z: Array) -> Array:
    """digamma(z) - log(z) for z >= 6, by Stirling's series (DLMF 5.11.2)."""
    r = 1.0 / (z * z)
    series = 1.0 / 12.0 - r * (1.0 / 120.0 - r * (1.0 / 252.0 - r * (1.0 / 240.0 - r * (1.0 / 132.0))))
    return -0.5 / z - r * series


def digamma_1p(a: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """digamma(1 + a) for a >= 0: finite at zero, where digamma(a) = digamma(1 + a) - 1 / a is not (DLMF 5.5.2)."""
    z = a + 1.0
    down = sum(1.0 / (z + float(k)) for k in range(_SHIFT))
    z = z + float(_SHIFT)
    return jnp.log(z) + _digamma_tail(z) - down


def digamma_difference(
    low: Float[Array, "*shape"], high: Float[Array, "*shape"], d: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """digamma(high) - digamma(low) for positive arguments with d = high - low, without cancellation where d is small.

    Every term of the recurrence and of Stirling's series is differenced in closed form.
    """
    down = sum(d / ((low + float(k)) * (high + float(k))) for k in range(_SHIFT))
    # With s = 1/z and t = 1/(z + d): t - s = -d s t, t^2 - s^2 = (t - s)(t + s), and so on.
    s, t = 1.0 / (low + float(_SHIFT)), 1.0 / (high + float(_SHIFT))
    first = -d * s * t
    second = first * (s + t)
    s2, t2 = s * s, t * t
    square = s2 + t2
    series = 1.0 / 12.0 - square / 120.0 + (square * square - s2 * t2) / 252.0 - square * (s2 * s2 + t2 * t2) / 240.0
    return down + jnp.log1p(d * s) - 0.5 * first - second * series


def log_over_difference(ell: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(r) / (r - 1) at r = exp(ell): ell / expm1(ell), by its series (Bernoulli numbers) around zero."""
    near = jnp.abs(ell) < 0.5
    e, far = jnp.where(near, ell, 0.0), jnp.where(near, 1.0, ell)
    e2 = e * e
    series = 1.0 - 0.5 * e + e2 * (1.0 / 12.0 - e2 * (1.0 / 720.0 - e2 / 30240.0))
    return jnp.where(near, series, far / jnp.expm1(far))
