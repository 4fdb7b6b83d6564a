"""Distributions truncated to an interval: right in the ends, the location, the scale and the shape."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._numeric_quantile import sample_by_quadrature
from reparax.reparameterization._rule import ParameterRule, declared, rule
from reparax.reparameterization._shapes import full_shape, to_float
from reparax.reparameterization._truncated_normal import truncated_normal

# Stands for infinity in standard units: squares of it stay finite, and no family has mass beyond it.
_WIDEST = 1e15


class _Symmetric(NamedTuple):
    """A standard density, symmetric about zero, by its log-density and its log-survival function and the inverse."""

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
    """The u-quantile on [a, b], by whichever tail is the smaller."""
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
