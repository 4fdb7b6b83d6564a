"""Von Mises draws, by rejection or from a table, with the implicit derivative in the concentration."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from reparax.reparameterization._rules import declared, rule
from reparax.reparameterization.gamma import draw_until_accepted
from reparax.reparameterization.numerics import (
    broadcast_flat,
    by_precision,
    full_shape,
    gauss_legendre_floats,
    materialized,
    to_float,
)

# (key, parameter) -> draws and which of them are rejected.
Attempt = Callable[[Array, Array], tuple[Array, Array]]

# The lanes of the later stages, as divisors of all lanes. At least 65 % are accepted in each round, so that more rarely
# remain after two attempts of all lanes, which cost less than gathering the lanes that the first one rejected.
_DIVISORS = (6, 16, 32, 64)
_MANY = 4096
# The probability of a larger |x| is a float y in [2^-32, 1]; its exponent and first bits are the index of a cell, so
# that the table is as fine in the tails as in the middle.
_OCTAVES = 32
_LEADING_BITS = 5
_CELLS = _OCTAVES << _LEADING_BITS
_TRAILING_BITS = 23 - _LEADING_BITS
_FIRST = (127 - _OCTAVES) << _LEADING_BITS
_PIECES, _POINTS, _ROUNDS = 256, 6, 5
# Up to here nothing below overflows; for larger concentrations the angle is 0 for all purposes.
_LARGEST = 1e36
# With fewer draws per concentration than this, rejection is faster.
_WORTHWHILE = 16_384
# In single and in double precision.
_NUM_POINTS = 12, 48
_DROP = 16.0, 36.0
# Above this concentration the Bessel ratio is computed by its asymptotic series, below by its continued fraction.
_LARGE = 20.0, 150.0
_DEPTH = 30, 150
_PERIODIC = (
    "right for functions of period 2 pi; for others the mass that crosses the cut at +-pi is missing in the derivative"
)


def draw_by_stages(key: Array, attempt: Attempt, parameter: Float[Array, " n"]) -> Float[Array, " n"]:
    """For every parameter, the first accepted draw.

    All lanes try twice; the rejected ones are gathered and try again in stages with fewer and fewer lanes. Lanes that
    do not fit into a stage are handled by a loop over all lanes, which is rarely entered.
    """
    count = parameter.size
    if count < _MANY:
        return draw_until_accepted(key, lambda k: attempt(k, parameter))
    key, again, *keys = jax.random.split(key, 4 + len(_DIVISORS))
    first, rejected = attempt(keys[0], parameter)
    second, twice = attempt(again, parameter)
    draws, rejected = jnp.where(rejected, second, first), rejected & twice
    waiting = jnp.nonzero(rejected, size=count // _DIVISORS[0], fill_value=count)[0]
    for divisor, round_key in zip((*_DIVISORS[1:], _DIVISORS[-1]), keys[1:], strict=False):
        draws, rejected, again = _retry(round_key, attempt, parameter, draws, rejected, waiting)
        waiting = _gathered(waiting, again, count // divisor, count)

    def one_more(state: tuple[Array, ...]) -> tuple[Array, ...]:
        k, draws, rejected, waiting = state
        k, round_key = jax.random.split(k)
        draws, rejected, again = _retry(round_key, attempt, parameter, draws, rejected, waiting)
        return k, draws, rejected, _gathered(waiting, again, waiting.size, count)

    state = jax.lax.while_loop(lambda state: (state[3] < count).any(), one_more, (keys[-1], draws, rejected, waiting))
    _, draws, rejected, _ = state

    def all_again(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, draws, rejected = state
        k, round_key = jax.random.split(k)
        new, still = attempt(round_key, parameter)
        return k, jnp.where(rejected, new, draws), rejected & still

    return jax.lax.while_loop(lambda state: state[2].any(), all_again, (key, draws, rejected))[1]


def _retry(
    key: Array, attempt: Attempt, parameter: Array, draws: Array, rejected: Array, waiting: Array
) -> tuple[Array, Array, Array]:
    """Another attempt for the waiting lanes; an index equal to the number of lanes is empty."""
    here = parameter.at[waiting].get(mode="clip")
    new, again = attempt(key, here)
    empty = waiting >= parameter.size
    draws = draws.at[waiting].set(new, mode="drop")
    rejected = rejected.at[waiting].set(again, mode="drop")
    return draws, rejected, again & ~empty


def _gathered(waiting: Array, again: Array, size: int, empty: int) -> Array:
    places = jnp.nonzero(again, size=size, fill_value=waiting.size)[0]
    return waiting.at[places].get(mode="fill", fill_value=empty)


def tabulation_is_worthwhile(concentration: Float[Array, "..."], shape: tuple[int, ...]) -> bool:
    """Whether a table for each concentration is faster than rejection, and as accurate."""
    draws = jnp.broadcast_to(0.0, shape).size
    return concentration.dtype == jnp.float32 and 0 < _WORTHWHILE * concentration.size <= draws


def draw_by_table(
    key: Key[Array, ""], concentration: Float[Array, "..."], shape: tuple[int, ...]
) -> Float[Array, "*shape"]:
    """Draws in single precision; the error of their distribution function is at most 2e-7."""
    flat = concentration.reshape(-1)
    rows = jax.vmap(_table)(flat).reshape(-1, 4)
    bits = jax.random.bits(key, shape)
    y = ((bits >> 1).astype(jnp.float32) + 0.5) * 2.0**-31
    pattern = jax.lax.bitcast_convert_type(y, jnp.int32)
    # y = 1 is the end of the last cell.
    cell = jnp.minimum((pattern >> _TRAILING_BITS) - _FIRST, _CELLS - 1)
    along = (pattern & ((1 << _TRAILING_BITS) - 1)).astype(jnp.float32) * 2.0**-_TRAILING_BITS
    along = jnp.where(y < 1.0, along, 1.0)
    first = _CELLS * jnp.arange(flat.size, dtype=jnp.int32).reshape(concentration.shape)
    row = rows.at[jnp.broadcast_to(first, shape) + cell].get(mode="promise_in_bounds")
    size = row[..., 0] + along * (row[..., 1] + along * (row[..., 2] + along * row[..., 3]))
    return jnp.where(bits & 1, size, -size)


def _table(kappa: Float[Array, ""]) -> Float[Array, "cells 4"]:
    """The quantile of |x| by its upper probability, as a cubic in every cell.

    As a function of a quarter of the angle of a wrapped Cauchy variable (Best and Fisher 1979) with the scale of the
    von Mises variable, the density is smooth and of similar size for every concentration. Its integral is inverted by
    Newton's method.
    """
    kappa = jnp.minimum(kappa, _LARGEST)
    q = jnp.hypot(1.0, 2.0 * kappa) + 2.0 * kappa
    nodes, weights = (jnp.asarray(part, jnp.float32) for part in gauss_legendre_floats(_POINTS))

    def density(angle: Array) -> Array:
        square, other = jnp.sin(angle) ** 2, jnp.cos(angle) ** 2
        c = 0.5 * (1.0 + 1.0 / q) + 2.0 * kappa * (square / (q * other + square))
        return c * jnp.exp(1.0 - c)

    def between(low: Array, high: Array) -> Array:
        width = high - low
        return width * (density(low[:, None] + width[:, None] * nodes[None]) @ weights)

    edges = (0.5 * jnp.pi / _PIECES) * jnp.arange(_PIECES + 1, dtype=jnp.float32)
    upper = jnp.append(jnp.cumsum(between(edges[:-1], edges[1:])[::-1])[::-1], 0.0)
    y = jax.lax.bitcast_convert_type((jnp.arange(_CELLS + 1) + _FIRST) << _TRAILING_BITS, jnp.float32)
    place = jnp.clip(_PIECES - jnp.searchsorted(upper[::-1], y * upper[0]), 0, _PIECES - 1)
    low, high, beyond = edges[place], edges[place + 1], upper[place + 1]
    angle = low
    for _ in range(_ROUNDS):
        surplus = beyond + between(angle, high) - y * upper[0]
        angle = jnp.clip(angle + surplus / density(angle), low, high)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    x = 2.0 * jnp.arctan2(sine, jnp.sqrt(q) * cosine)
    slope = -upper[0] / density(angle) * 2.0 * jnp.sqrt(q) / (q * cosine * cosine + sine * sine)
    return _cubics(y, x, slope)


def _cubics(y: Float[Array, " n"], x: Float[Array, " n"], slope: Float[Array, " n"]) -> Float[Array, "n-1 4"]:
    """Hermite's cubics between neighbors, by powers of the fraction of the way."""
    rise, width = jnp.diff(x), jnp.diff(y)
    start, end = slope[:-1] * width, slope[1:] * width
    return jnp.stack([x[:-1], start, 3.0 * rise - 2.0 * start - end, start + end - 2.0 * rise], axis=-1)


def von_mises_sample(
    key: Key[Array, ""],
    concentration: Float[Array, "..."],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "*shape"]:
    """An angle in [-pi, pi] from the von Mises density exp(kappa cos x), differentiable in kappa to every order.

    The derivative of an expectation taken through it is right for functions that are continuous around the circle.

    Args:
        key: A typed random key.
        concentration: Non-negative concentrations kappa; they broadcast to ``shape``.
        shape: Shape of the result; by default that of ``concentration``.
        dtype: Floating type of the result; by default that of ``concentration``.
    """
    concentration = jnp.asarray(concentration, dtype)
    shape = concentration.shape if shape is None else shape
    kappa = broadcast_flat(concentration, shape)
    if tabulation_is_worthwhile(concentration, shape):
        draws = _draw_many(key, jax.lax.stop_gradient(concentration), shape).reshape(-1)
    else:
        draws = _draw(key, jax.lax.stop_gradient(kappa))
    return von_mises_path(materialized(draws, -jax.lax.stop_gradient(concentration)), kappa).reshape(shape)


@jax.custom_jvp
def von_mises_path(x: Float[Array, "*shape"], concentration: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The draw x as a differentiable function of the concentration, its quantile held fixed.

    $$ \frac{dx}{d\kappa} = -\frac{1}{p(x)} \int_{-\pi}^{x} (\cos t - A(\kappa))\, p(t)\, dt, \quad
       A(\kappa) = I_1(\kappa) / I_0(\kappa). $$

    Reference: Figurnov, Mohamed and Mnih (2018), equation 5.
    """
    return x


@von_mises_path.defjvp
def _von_mises_path_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    x = von_mises_path(jax.lax.stop_gradient(primals[0]), primals[1])
    return x, von_mises_derivative(x, primals[1]) * tangents[1]


@jax.jit
def von_mises_derivative(x: Float[Array, "*shape"], concentration: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """dx / dkappa at a fixed quantile: of the opposite sign to x, and itself differentiable in both arguments.

    The integral is taken from 0 to |x| or from |x| to pi, whichever has an integrand of one sign, with every difference
    of cosines as a product of sines.
    """
    angle = jnp.abs(x)
    sine = jnp.sin(0.5 * angle)
    # 1 - cos x against 1 - A: on the outer side cos t < A all the way.
    spread = one_minus_bessel_ratio(concentration)
    here = sine * sine
    outer = 2.0 * here > spread
    drop = by_precision(x.dtype, *_DROP) / jnp.maximum(2.0 * concentration, jnp.finfo(x.dtype).tiny)
    far = 2.0 * jnp.arcsin(jnp.sqrt(jnp.clip(here + drop, 0.0, 1.0)))
    half = 0.5 * (jax.lax.stop_gradient(jnp.where(outer, far, 0.0)) - angle)
    # In the tangent of half the distance, a node takes one exponential and no sine.
    end, across = jnp.tan(0.5 * half), jnp.cos(angle)
    along = jnp.sin(angle)
    total = jnp.zeros_like(x)
    for node, weight in zip(*gauss_legendre_floats(by_precision(x.dtype, *_NUM_POINTS)), strict=True):
        t = end * node
        share = 1.0 / (1.0 + t * t)
        s = 2.0 * t * share
        beyond = s * (along * (1.0 - t * t) * share + across * s)
        total = total + (weight * share) * (spread - 2.0 * (here + beyond)) * jnp.exp(-2.0 * concentration * beyond)
    return materialized(jnp.sign(x) * 4.0 * end * total, x)


def one_minus_bessel_ratio(concentration: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 - I1(kappa) / I0(kappa) without cancellation (DLMF 10.33.1, and 10.40.1 for large kappa)."""
    edge = by_precision(concentration.dtype, *_LARGE)
    large = concentration > edge
    k = jnp.where(large, 1.0, concentration)
    k2, fraction = k * k, jnp.zeros_like(k)
    for depth in range(by_precision(concentration.dtype, *_DEPTH), 1, -1):
        fraction = k2 / (2.0 * depth + fraction)
    r = 1.0 / jnp.where(large, concentration, edge)
    series = 0.5 + r * (0.125 + r * (0.125 + r * (25.0 / 128.0 + r * (13.0 / 32.0 + r * (1073.0 / 1024.0)))))
    return jnp.where(large, r * series, 1.0 - k / (2.0 + fraction))


_draw_many = jax.jit(draw_by_table, static_argnums=2)


@jax.jit
def _draw(key: Array, kappa: Array) -> Array:
    """Rejection from a wrapped Cauchy (Best and Fisher 1979), in half-angle tangents: accurate for large kappa."""
    return 2.0 * jnp.arctan(draw_by_stages(key, _attempt, kappa))


def _attempt(key: Array, kappa: Array) -> tuple[Array, Array]:
    """The tangent of half the angle, and whether it is rejected."""
    q = jnp.sqrt(1.0 + 4.0 * kappa * kappa) + 2.0 * kappa
    angle_key, accept_key = jax.random.split(key)
    sine, cosine = _quarter_turn(jax.random.uniform(angle_key, kappa.shape, kappa.dtype, -1.0, 1.0))
    square = sine * sine
    c = 0.5 * (1.0 + 1.0 / q) + 2.0 * kappa * (square / (q * cosine * cosine + square))
    # A NaN concentration is accepted, and the result NaN, instead of looping forever.
    rejected = jax.random.uniform(accept_key, kappa.shape, kappa.dtype) > c * jnp.exp(1.0 - c)
    return jax.lax.rsqrt(q) * sine / cosine, rejected


def _quarter_turn(u: Array) -> tuple[Array, Array]:
    """The sine and cosine of u pi / 2 for |u| <= 1, by their series on the half of it that is nearer to 0."""
    if u.dtype != jnp.float32:
        return jnp.sin(0.5 * jnp.pi * u), jnp.cos(0.5 * jnp.pi * u)
    beyond = jnp.abs(u) > 0.5
    angle = (0.5 * jnp.pi) * jnp.where(beyond, 1.0 - jnp.abs(u), jnp.abs(u))
    square = angle * angle
    sine = angle * (1.0 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square / 362880))))
    cosine = 1.0 + square * (-1 / 2 + square * (1 / 24 + square * (-1 / 720 + square * (1 / 40320 - square / 3628800))))
    return jnp.sign(u) * jnp.where(beyond, cosine, sine), jnp.where(beyond, sine, cosine)


@rule(
    dist.VonMises,
    declare=(
        *declared("location-scale", "loc", reason=_PERIODIC),
        *declared("implicit", "concentration", reference="Figurnov et al. 2018, section 4"),
    ),
)
def _von_mises(q: dist.VonMises, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    loc, concentration = to_float(q.loc, q.concentration)
    angle = loc + von_mises_sample(key, concentration, full_shape(q, sample_shape))
    turns = jnp.floor((angle + jnp.pi) / (2 * jnp.pi))
    return angle - 2 * jnp.pi * jax.lax.stop_gradient(turns)
