"""The standard normal on an interval, from the centre to tails that no probability can represent.

Sampling by z = F^-1(F(a) + u (F(b) - F(a))) fails where F(a) rounds to one. Here the interval is described by its edge
a >= -b and its width w = b - a, and the draw by its distance delta = z - a from that edge, so that nothing cancels:

* centre (a < 2.5): the quantile, on whichever side of the median is accurate;
* tail: Newton's method on log[S(a + delta) / S(a)], with Mills' ratio from its continued fraction;
* narrow intervals: the exponential tilt of the uniform.

The derivative needs no quantile function: at fixed u, with densities p,
dz = [p(a) / p(z)] (1 - u) da + [p(b) / p(z)] u db.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array

_TAIL = 2.5
_WIDEST = 1e4


@jax.custom_jvp
def truncated_standard_normal(u: Array, a: Array, w: Array) -> tuple[Array, Array]:
    """The u-quantile of the standard normal on [a, a + w], as (z - a, z).

    Args:
        u: A uniform draw from [0, 1).
        a: The left edge, with a >= -(a + w): the edge closer to the mode.
        w: The width, positive.
    """
    tail = a > _TAIL
    in_centre = _centre(u, jnp.where(tail, 0.0, a), w)
    in_tail = _newton(u, jnp.where(tail, a, _TAIL), w)
    single = jnp.finfo(a.dtype).bits <= 32
    narrow = w < (jnp.where(tail, 1e-4, 2e-2) if single else jnp.where(tail, 1e-9, 1e-6))
    in_narrow = w * tilted_quantile(u, -(a + w / 2) * jnp.where(narrow, w, 1.0))
    delta = jnp.clip(jnp.where(narrow, in_narrow, jnp.where(tail, in_tail, in_centre - a)), 0.0, w)
    return delta, jnp.where(narrow | tail, a + delta, in_centre)


@truncated_standard_normal.defjvp
def _truncated_standard_normal_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    u, a, w = primals
    _, da, dw = tangents
    delta, z = truncated_standard_normal(u, a, w)
    tail = a > _TAIL
    centre_left, centre_right = _edges_centre(u, a, w, z)
    tail_left_minus_one, tail_right = _edges_tail(u, jnp.where(tail, a, _TAIL), w, delta)
    left_minus_one = jnp.where(tail, tail_left_minus_one, centre_left - 1)
    right = jnp.where(tail, tail_right, centre_right)
    ddelta = left_minus_one * da + right * (da + dw)
    dz = jnp.where(tail, ddelta + da, centre_left * da + right * (da + dw))
    return (delta, z), (ddelta, dz)


def tilted_quantile(u: Array, slope: Array) -> Array:
    """The u-quantile of the density proportional to exp(slope t) on [0, 1], smooth through slope = 0."""
    flat = jnp.abs(slope) < 1e-2
    safe = jnp.where(flat, 1.0, slope)
    falling = -jnp.abs(safe)  # from the side where the mass is, so that no exponential overflows
    t = jnp.log1p(jnp.where(safe < 0, u, 1 - u) * jnp.expm1(falling)) / falling
    series = u + 0.5 * slope * u * (1 - u) * (1 + slope * (1 - 2 * u) / 3)
    return jnp.where(flat, series, jnp.where(safe < 0, t, 1 - t))


def _centre(u: Array, a: Array, w: Array) -> Array:
    b = a + w
    lower = (1 - u) * ndtr(a) + u * ndtr(b)
    upper = (1 - u) * ndtr(-a) + u * ndtr(-b)
    return jnp.clip(jnp.where(lower < 0.5, ndtri(lower), -ndtri(upper)), a, b)


def _newton(u: Array, a: Array, w: Array) -> Array:
    log_v = _log_survival_share(u, a, w)
    delta = -2 * log_v / (jnp.sqrt(a * a - 2 * log_v) + a)
    for _ in range(3 if jnp.finfo(a.dtype).bits <= 32 else 5):
        excess = -delta * (a + delta / 2) + _log_mills_ratio(a, delta) - log_v
        delta = jnp.maximum(delta + excess * (1 - _mills_defect(a + delta)) / (a + delta), 0.0)
    return delta


def _log_survival_share(u: Array, a: Array, w: Array) -> Array:
    """log of S(z) / S(a) at the u-quantile z."""
    return jnp.log1p(u * jnp.expm1(_log_share_beyond(a, w)))


def _log_share_beyond(a: Array, w: Array) -> Array:
    """log[S(a + w) / S(a)]."""
    return -w * (a + w / 2) + _log_mills_ratio(a, w)


def _log_mills_ratio(a: Array, delta: Array) -> Array:
    """log[m(a + delta) / m(a)], with m = S / p Mills' ratio."""
    return -jnp.log1p(delta / a) + jnp.log1p(-_mills_defect(a + delta)) - jnp.log1p(-_mills_defect(a))


def _mills_defect(t: Array) -> Array:
    """1 - t m(t) for t >= 2.5, from Laplace's continued fraction m(t) = 1/(t + 1/(t + 2/(t + 3/...)))."""
    fraction = jnp.zeros_like(t)
    for k in range(14 if jnp.finfo(t.dtype).bits <= 32 else 40, 0, -1):
        fraction = k / (t + fraction)
    return fraction / (t + fraction)


def _edges_centre(u: Array, a: Array, w: Array, z: Array) -> tuple[Array, Array]:
    b = a + w
    left = jnp.exp(jnp.minimum((z - a) * (z + a) / 2, 80.0)) * (1 - u)
    right = jnp.exp(jnp.minimum((z - b) * (z + b) / 2, 80.0)) * u
    return left, right


def _edges_tail(u: Array, a: Array, w: Array, delta: Array) -> tuple[Array, Array]:
    here, there = _log_mills_ratio(a, delta), _log_mills_ratio(a, w)
    beyond = jnp.exp(_log_share_beyond(a, w) - _log_survival_share(u, a, w)) * u
    return jnp.expm1(here) - jnp.exp(here) * beyond, jnp.exp(here - there) * beyond


def truncated_normal(u: Array, loc: Array, scale: Array, low: Array, high: Array) -> Array:
    """A draw from Normal(loc, scale) on [low, high]; either end may be infinite.

    It is the u-quantile where the low end is the one closer to the mode, and the (1 - u)-quantile otherwise.

    Args:
        u: A uniform draw from [0, 1).
        loc: The mean before truncation.
        scale: The standard deviation before truncation.
        low: The left end.
        high: The right end.
    """
    reflected = loc - low > high - loc
    sign = jnp.where(reflected, -1.0, 1.0).astype(u.dtype)
    edge = jnp.where(reflected, high, low)
    finite = jnp.isfinite(edge)
    edge = jnp.where(finite, edge, 0.0)
    a = jnp.where(finite, sign * (edge - loc) / scale, -_WIDEST)
    a = jnp.maximum(a, -_WIDEST)
    far = jnp.where(reflected, low, high)
    bounded = jnp.isfinite(far)
    far = jnp.where(bounded, far, 0.0)
    w = jnp.where(bounded, sign * (far - edge) / scale, 2 * _WIDEST)
    u, a, w = jnp.broadcast_arrays(u, a, jnp.where(finite, jnp.minimum(w, 2 * _WIDEST), 2 * _WIDEST))
    delta, z = truncated_standard_normal(u, a, w)
    x = jnp.where(a > _TAIL, edge + sign * scale * delta, loc + sign * scale * z)
    # Rounding may step over an end; put the value back without touching the derivative.
    return x + jax.lax.stop_gradient(jnp.clip(x, low, high) - x)
