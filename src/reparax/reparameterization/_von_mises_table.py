"""Many von Mises draws that share a concentration: its quantile function is tabulated once, and each draw looks up."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from reparax.reparameterization._quadrature import gauss_legendre_floats

# The probability of a larger |x| is a float y in [2^-32, 1]; its exponent and first bits are the cell of the table, so
# that the tails are as finely divided as the middle.
_OCTAVES = 32
_LEADING_BITS = 5
_CELLS = _OCTAVES << _LEADING_BITS
_TRAILING_BITS = 23 - _LEADING_BITS
_FIRST = (127 - _OCTAVES) << _LEADING_BITS
_PIECES, _POINTS, _ROUNDS = 256, 6, 5
# Nothing below overflows up to here, where the angle is 0 for all purposes.
_LARGEST = 1e36
# Fewer draws per concentration than this take less time by rejection.
_WORTHWHILE = 16_384


def tabulation_is_worthwhile(concentration: Float[Array, "..."], shape: tuple[int, ...]) -> bool:
    """Whether a table for each concentration takes less time than rejection, and is as accurate."""
    draws = jnp.broadcast_to(0.0, shape).size
    return concentration.dtype == jnp.float32 and 0 < _WORTHWHILE * concentration.size <= draws


def draw_by_table(
    key: Key[Array, ""], concentration: Float[Array, "..."], shape: tuple[int, ...]
) -> Float[Array, "*shape"]:
    """Draws in single precision; their distribution function is off by 2e-7 at most."""
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

    In a quarter of the angle of a wrapped Cauchy (Best and Fisher 1979), whose scale is that of the von Mises, the
    density is smooth and of one size for every concentration. Its integral is inverted by Newton's method.
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
    """Hermite's cubic between neighbors, by powers of the share of the way."""
    rise, width = jnp.diff(x), jnp.diff(y)
    start, end = slope[:-1] * width, slope[1:] * width
    return jnp.stack([x[:-1], start, 3.0 * rise - 2.0 * start - end, start + end - 2.0 * rise], axis=-1)
