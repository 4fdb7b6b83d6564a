"""Numerical helpers of the samplers: dtypes and shapes, special functions, bounded exponentials, quadrature."""

from functools import lru_cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num
from numpyro.distributions import Distribution

_SHIFT = 6
# Far enough from the ends of the floating range that products with derivatives neither overflow nor underflow.
_HEADROOM = 1e-8
_FLOOR = 1024.0
Number = TypeVar("Number", int, float)


def float_dtype(*parameters: object) -> jnp.dtype:
    """The floating dtype that these parameters promote to; the default float if all are Python numbers."""
    dtype = jnp.result_type(float, *parameters)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)


def to_float(*parameters: object) -> tuple[Array, ...]:
    """The parameters as arrays of their common floating dtype."""
    dtype = float_dtype(*parameters)
    return tuple(jnp.asarray(parameter, dtype) for parameter in parameters)


def full_shape(q: Distribution, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample."""
    return sample_shape + tuple(q.batch_shape) + tuple(q.event_shape)


def widened(q: Any) -> Any:
    """The same distributions with parameters of half precision, float16 or bfloat16, in single precision.

    Special functions and decompositions do not support half precision, and half-precision noise has few values. Draws
    are computed and returned in float32; the derivative in a parameter has the type of the parameter.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32) if _is_half(leaf) else leaf, q)


def _is_half(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic) and leaf.dtype in (jnp.float16, jnp.bfloat16)


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


@jax.custom_jvp
def bounded_exp(log_x: Array) -> Array:
    """exp(log x), kept inside the floating range; the derivative of its logarithm is always the one of log x.

    Where exp underflows, the value is clipped to the edge of the range (1e-35 in float32). Its tangent is still
    x dlog x, so that d log(x) remains dlog x and nothing becomes zero, infinite or NaN.
    """
    limits = jnp.finfo(log_x.dtype)
    return jnp.clip(jnp.exp(log_x), limits.tiny * _FLOOR, limits.max * _HEADROOM)


@bounded_exp.defjvp
def _bounded_exp_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    x = bounded_exp(*primals)
    return x, x * tangents[0]


@jax.custom_jvp
def unit_exp(log_x: Array, log1m_x: Array) -> Array:
    """The point x of (0, 1) with given log x and log(1 - x), kept strictly inside.

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


@lru_cache(maxsize=16)
def _unit_rule(num_points: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(num_points)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def gauss_legendre(num_points: int, dtype: DTypeLike) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Nodes and weights of the Gauss-Legendre rule on [0, 1].

    Args:
        num_points: The number of nodes n; polynomials up to degree 2n - 1 are integrated exactly.
        dtype: The floating type of both arrays.
    """
    nodes, weights = _unit_rule(num_points)
    return jnp.asarray(nodes, dtype), jnp.asarray(weights, dtype)


def gauss_legendre_floats(num_points: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The same rule as Python floats, for a sum unrolled into one fused elementwise program."""
    nodes, weights = _unit_rule(num_points)
    return tuple(nodes.tolist()), tuple(weights.tolist())


def by_precision(dtype: DTypeLike, single: Number, double: Number) -> Number:
    """The setting for single precision, or the one for double."""
    return double if jnp.finfo(dtype).bits > 32 else single


@jax.custom_jvp
def materialized(value: Num[Array, "*shape"], finite: Array) -> Num[Array, "*shape"]:
    """``value``, computed once and stored.

    On CPU, XLA fuses producers into each of their consumers, and removes optimization barriers before it does so, but a
    loop is never fused. This loop has no rounds unless the first element of ``finite`` is infinite, which the compiler
    cannot know of a draw, even if all parameters are constants of the program. (If it is, the result is NaN.)

    Args:
        value: Any array.
        finite: Any array, best a draw that ``value`` was computed from.
    """
    if value.size == 0 or finite.size == 0:
        return value
    rounds = (finite.reshape(-1)[0] == jnp.inf).astype(jnp.int32)
    start = jnp.zeros_like(rounds), value
    return jax.lax.while_loop(lambda state: state[0] < rounds, lambda state: (state[0] + 1, state[1] * jnp.nan), start)[
        1
    ]


@materialized.defjvp
def _materialized_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return materialized(*primals), tangents[0]


def broadcast_flat(parameter: Num[Array, "..."], shape: tuple[int, ...]) -> Num[Array, " size"]:
    """A positive parameter broadcast to ``shape`` and flattened, as loops over a short last axis are not vectorized."""
    flat = jnp.broadcast_to(parameter, shape).reshape(-1)
    return materialized(flat, -parameter) if 1 < parameter.size < flat.size else flat
