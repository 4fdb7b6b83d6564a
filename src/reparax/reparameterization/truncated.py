"""Distributions truncated to an interval, differentiable in the ends, the location, the scale and the shape."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array

from reparax.reparameterization._rules import ParameterRule, declared, rule
from reparax.reparameterization.numerics import full_shape, to_float
from reparax.reparameterization.one_dimensional import sample_by_quadrature

_TAIL = 2.5
_WIDEST_NORMAL = 1e4
# Infinity in standard units: its square is finite, and no family has mass beyond it.
_WIDEST = 1e15


@jax.custom_jvp
def truncated_standard_normal(u: Array, a: Array, w: Array) -> tuple[Array, Array]:
    """The u-quantile of the standard normal on [a, a + w], as (z - a, z).

    Args:
        u: A uniform draw from [0, 1).
        a: The left edge, with a >= -(a + w): the edge closer to the mode.
        w: The width, positive.
    """
    tail = a > _TAIL
    in_center = _center(u, jnp.where(tail, 0.0, a), w)
    in_tail = _newton(u, jnp.where(tail, a, _TAIL), w)
    single = jnp.finfo(a.dtype).bits <= 32
    narrow = w < (jnp.where(tail, 1e-4, 2e-2) if single else jnp.where(tail, 1e-9, 1e-6))
    in_narrow = w * tilted_quantile(u, -(a + w / 2) * jnp.where(narrow, w, 1.0))
    delta = jnp.clip(jnp.where(narrow, in_narrow, jnp.where(tail, in_tail, in_center - a)), 0.0, w)
    return delta, jnp.where(narrow | tail, a + delta, in_center)


@truncated_standard_normal.defjvp
def _truncated_standard_normal_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    u, a, w = primals
    _, da, dw = tangents
    delta, z = truncated_standard_normal(u, a, w)
    tail = a > _TAIL
    center_left, center_right = _edges_center(u, a, w, z)
    tail_left_minus_one, tail_right = _edges_tail(u, jnp.where(tail, a, _TAIL), w, delta)
    left_minus_one = jnp.where(tail, tail_left_minus_one, center_left - 1)
    right = jnp.where(tail, tail_right, center_right)
    ddelta = left_minus_one * da + right * (da + dw)
    dz = jnp.where(tail, ddelta + da, center_left * da + right * (da + dw))
    return (delta, z), (ddelta, dz)


def tilted_quantile(u: Array, slope: Array) -> Array:
    """The u-quantile of the density proportional to exp(slope t) on [0, 1], smooth through slope = 0."""
    flat = jnp.abs(slope) < 1e-2
    safe = jnp.where(flat, 1.0, slope)
    falling = -jnp.abs(safe)  # from the side where the mass is, so that no exponential overflows
    t = jnp.log1p(jnp.where(safe < 0, u, 1 - u) * jnp.expm1(falling)) / falling
    series = u + 0.5 * slope * u * (1 - u) * (1 + slope * (1 - 2 * u) / 3)
    return jnp.where(flat, series, jnp.where(safe < 0, t, 1 - t))


def _center(u: Array, a: Array, w: Array) -> Array:
    b = a + w
    lower = (1 - u) * ndtr(a) + u * ndtr(b)
    upper = (1 - u) * ndtr(-a) + u * ndtr(-b)
    return jnp.clip(jnp.where(lower < 0.5, ndtri(lower), -ndtri(upper)), a, b)


def _newton(u: Array, a: Array, w: Array) -> Array:
    log_v = _log_survival_ratio(u, a, w)
    delta = -2 * log_v / (jnp.sqrt(a * a - 2 * log_v) + a)
    for _ in range(3 if jnp.finfo(a.dtype).bits <= 32 else 5):
        excess = -delta * (a + delta / 2) + _log_mills_ratio(a, delta) - log_v
        delta = jnp.maximum(delta + excess * (1 - _mills_defect(a + delta)) / (a + delta), 0.0)
    return delta


def _log_survival_ratio(u: Array, a: Array, w: Array) -> Array:
    """log of S(z) / S(a) at the u-quantile z."""
    return jnp.log1p(u * jnp.expm1(_log_ratio_beyond(a, w)))


def _log_ratio_beyond(a: Array, w: Array) -> Array:
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


def _edges_center(u: Array, a: Array, w: Array, z: Array) -> tuple[Array, Array]:
    b = a + w
    left = jnp.exp(jnp.minimum((z - a) * (z + a) / 2, 80.0)) * (1 - u)
    right = jnp.exp(jnp.minimum((z - b) * (z + b) / 2, 80.0)) * u
    return left, right


def _edges_tail(u: Array, a: Array, w: Array, delta: Array) -> tuple[Array, Array]:
    here, there = _log_mills_ratio(a, delta), _log_mills_ratio(a, w)
    beyond = jnp.exp(_log_ratio_beyond(a, w) - _log_survival_ratio(u, a, w)) * u
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
    a = jnp.where(finite, sign * (edge - loc) / scale, -_WIDEST_NORMAL)
    a = jnp.maximum(a, -_WIDEST_NORMAL)
    far = jnp.where(reflected, low, high)
    bounded = jnp.isfinite(far)
    far = jnp.where(bounded, far, 0.0)
    w = jnp.where(bounded, sign * (far - edge) / scale, 2 * _WIDEST_NORMAL)
    u, a, w = jnp.broadcast_arrays(u, a, jnp.where(finite, jnp.minimum(w, 2 * _WIDEST_NORMAL), 2 * _WIDEST_NORMAL))
    delta, z = truncated_standard_normal(u, a, w)
    x = jnp.where(a > _TAIL, edge + sign * scale * delta, loc + sign * scale * z)
    # Rounding may exceed an end: clip the value, but not the derivative.
    return x + jax.lax.stop_gradient(jnp.clip(x, low, high) - x)


class _Symmetric(NamedTuple):
    """A standard density, symmetric about zero: its log-density, its log-survival function and the inverse of it."""

    log_density: Callable[[Array], Array]
    log_survival: Callable[[Array], Array]
    inverse: Callable[[Array], Array]


def _laplace_inverse(s: Array) -> Array:
    right = s < -jnp.log(2.0)
    return jnp.where(right, -s - jnp.log(2.0), jnp.log(2.0) + jnp.log(-jnp.expm1(jnp.where(right, -1.0, s))))


def _sech_inverse(s: Array) -> Array:
    far = s < -15.0
    return jnp.where(far, jnp.log(2 / jnp.pi) - s, -jnp.log(jnp.tan(jnp.pi / 2 * jnp.exp(jnp.where(far, -1.0, s)))))


def _sech_log_survival(t: Array) -> Array:
    near = jnp.where(t > 15.0, 0.0, t)
    return jnp.where(t > 15.0, jnp.log(2 / jnp.pi) - t, jnp.log(2 / jnp.pi * jnp.arctan(jnp.exp(-near))))


_FAMILIES: dict[type, _Symmetric] = {
    dist.Laplace: _Symmetric(
        lambda t: -jnp.abs(t),
        lambda t: jnp.where(t > 0, -jnp.abs(t) - jnp.log(2.0), jnp.log1p(-jnp.exp(-jnp.abs(t)) / 2)),
        _laplace_inverse,
    ),
    dist.Logistic: _Symmetric(
        lambda t: -jnp.logaddexp(t / 2, -t / 2) * 2,
        lambda t: -jnp.logaddexp(t, 0.0),
        lambda s: jnp.log(-jnp.expm1(s)) - s,
    ),
    dist.Cauchy: _Symmetric(
        lambda t: -jnp.log1p(t * t),
        lambda t: jnp.log(jnp.arctan2(1.0, t) / jnp.pi),
        lambda s: 1 / jnp.tan(jnp.pi * jnp.exp(s)),
    ),
    dist.SoftLaplace: _Symmetric(lambda t: -jnp.logaddexp(t, -t), _sech_log_survival, _sech_inverse),
}


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _quantile(family: _Symmetric, u: Array, a: Array, b: Array) -> Array:
    """The u-quantile on [a, b], computed in the smaller tail."""
    log_u, log_rest = jnp.log(u), jnp.log1p(-u)
    above = jnp.logaddexp(log_rest + family.log_survival(a), log_u + family.log_survival(b))
    below = jnp.logaddexp(log_rest + family.log_survival(-a), log_u + family.log_survival(-b))
    upper = above < below
    z = jnp.where(upper, 1, -1).astype(u.dtype) * family.inverse(jnp.minimum(above, below))
    return jnp.clip(z, a, b)


@_quantile.defjvp
def _quantile_jvp(
    family: _Symmetric, primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    u, a, b = primals
    _, da, db = tangents
    z = _quantile(family, u, a, b)
    here = family.log_density(z)
    left = jnp.exp(family.log_density(a) - here) * (1 - u)
    right = jnp.exp(family.log_density(b) - here) * u
    return z, left * da + right * db


def _ends(q: dist.Distribution) -> tuple[object, object]:
    return getattr(q, "low", -jnp.inf), getattr(q, "high", jnp.inf)


def _standardized(q: dist.Distribution) -> tuple[Array, Array, Array, Array]:
    """Location, scale, and the ends in standard units, infinite ones replaced by the widest."""
    loc, scale, low, high = to_float(q.base_dist.loc, q.base_dist.scale, *_ends(q))
    low_finite, high_finite = jnp.isfinite(low), jnp.isfinite(high)
    a = jnp.where(low_finite, (jnp.where(low_finite, low, 0.0) - loc) / scale, -_WIDEST)
    b = jnp.where(high_finite, (jnp.where(high_finite, high, 0.0) - loc) / scale, _WIDEST)
    return loc, scale, a, b


def _of_truncated(q: dist.Distribution) -> tuple[ParameterRule, ...]:
    base = q.base_dist
    if isinstance(base, dist.StudentT):
        return declared("implicit", *base.arg_constraints, *q.arg_constraints, reason="by quadrature")
    if isinstance(base, (dist.Normal, *_FAMILIES)):
        return declared("inverse CDF", *base.arg_constraints, *q.arg_constraints)
    reason = f"no rule for {type(base).__name__} truncated to an interval"
    return tuple(ParameterRule(name, "none", False, reason) for name in (*base.arg_constraints, *q.arg_constraints))


@rule(
    dist.LeftTruncatedDistribution,
    dist.RightTruncatedDistribution,
    dist.TwoSidedTruncatedDistribution,
    declare=_of_truncated,
)
def _truncated(q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    base = q.base_dist
    shape = full_shape(q, sample_shape)
    if isinstance(base, dist.Normal):
        loc, scale, low, high = to_float(base.loc, base.scale, *_ends(q))
        return truncated_normal(jax.random.uniform(key, shape, loc.dtype), loc, scale, low, high)
    loc, scale, a, b = _standardized(q)
    u = jnp.maximum(jax.random.uniform(key, shape, loc.dtype), jnp.finfo(loc.dtype).epsneg / 2)
    if isinstance(base, dist.StudentT):
        return loc + scale * _student_t(u, *to_float(base.df, a, b), tuple(q.batch_shape))
    family = next(_FAMILIES[kind] for kind in _FAMILIES if isinstance(base, kind))
    return loc + scale * _quantile(family, u, *(jnp.broadcast_to(end, shape) for end in (a, b)))


def _student_t(u: Array, df: Array, a: Array, b: Array, batch_shape: tuple[int, ...]) -> Array:
    """Student's t on [a, b], in the angle psi with t = cot(psi), in which its density is bounded."""
    reflected = -a > b
    near, far = jnp.where(reflected, -b, a), jnp.where(reflected, -a, b)
    psi_near, psi_far = jnp.arctan2(1.0, near), jnp.arctan2(1.0, far)
    parameters = (df, psi_near, psi_far)

    def log_density(y: Array, params: tuple[Array, Array, Array]) -> Array:
        df, first, last = params
        psi = first + (last - first) * y
        sine, cosine = jnp.sin(psi), jnp.cos(psi)
        # p(t) |dt/dpsi| up to a constant, with 1 + t^2/df = (sin^2 + cos^2/df) / sin^2.
        return (df - 1) * jnp.log(sine) - (df + 1) / 2 * jnp.log(sine**2 + cosine**2 / df)

    y = sample_by_quadrature(u, log_density, parameters, batch_shape)
    t = 1 / jnp.tan(psi_near + (psi_far - psi_near) * y)
    return jnp.where(reflected, -t, t)
