"""Von Mises draws, with the implicit derivative in the concentration."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from reparax.reparameterization._materialized import broadcast_flat, materialized
from reparax.reparameterization._quadrature import by_precision, gauss_legendre_floats
from reparax.reparameterization._rejection import draw_by_stages
from reparax.reparameterization._von_mises_table import draw_by_table, tabulation_is_worthwhile

# In single and in double precision.
_NUM_POINTS = 12, 48
_DROP = 16.0, 36.0
# Above this concentration the Bessel ratio is summed from its asymptotic series, below from its continued fraction.
_LARGE = 20.0, 150.0
_DEPTH = 30, 150


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
    return von_mises_path(materialized(draws, jax.lax.stop_gradient(concentration)), kappa).reshape(shape)


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
    # In the tangent of half the distance a node costs one exponential and no sine.
    end, across = jnp.tan(0.5 * half), jnp.cos(angle)
    along = jnp.sin(angle)
    total = jnp.zeros_like(x)
    for node, weight in zip(*gauss_legendre_floats(by_precision(x.dtype, *_NUM_POINTS)), strict=True):
        t = end * node
        share = 1.0 / (1.0 + t * t)
        s = 2.0 * t * share
        beyond = s * (along * (1.0 - t * t) * share + across * s)
        total = total + (weight * share) * (spread - 2.0 * (here + beyond)) * jnp.exp(-2.0 * concentration * beyond)
    return materialized(jnp.sign(x) * 4.0 * end * total, concentration)


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
    """Rejection from a wrapped Cauchy (Best and Fisher 1979), in half-angle tangents: large kappa loses nothing."""
    return 2.0 * jnp.arctan(draw_by_stages(key, _attempt, kappa))


def _attempt(key: Array, kappa: Array) -> tuple[Array, Array]:
    """The tangent of half the angle, and whether it is rejected."""
    q = jnp.sqrt(1.0 + 4.0 * kappa * kappa) + 2.0 * kappa
    angle_key, accept_key = jax.random.split(key)
    sine, cosine = _quarter_turn(jax.random.uniform(angle_key, kappa.shape, kappa.dtype, -1.0, 1.0))
    square = sine * sine
    c = 0.5 * (1.0 + 1.0 / q) + 2.0 * kappa * (square / (q * cosine * cosine + square))
    # A concentration that is not a number is accepted and shows, instead of looping for ever.
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
