"""Gamma draws in log space, with an implicit derivative that is accurate for every concentration."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from reparax.reparameterization import _gamma_quantile_table as table
from reparax.reparameterization.numerics import (
    broadcast_flat,
    by_precision,
    digamma_1p,
    gauss_legendre_floats,
    log_over_difference,
    materialized,
)

# In single and in double precision. Above this the uniform expansion in 1 / concentration is more accurate than
# quadrature.
_LARGE = 1000.0, 100_000.0
_NUM_POINTS = 10, 40
# The quadrature stops where the integrand has fallen by exp(-_DROP).
_DROP = 13.0, 34.0


def log_gamma_sample(
    key: Key[Array, ""],
    concentration: Float[Array, "..."],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "*shape"]:
    """The logarithm of a draw from Gamma(concentration, 1), differentiable in the concentration to every order.

    Args:
        key: A typed random key.
        concentration: Positive shape parameters a; they broadcast to ``shape``.
        shape: Shape of the result; by default that of ``concentration``.
        dtype: Floating type of the result; by default that of ``concentration``.

    In float32, x is drawn by a fitted quantile function, and in float64 by the rejection sampler of Marsaglia and Tsang
    (2000). In both cases the derivative is that of :func:`log_gamma_path`.
    """
    concentration = jnp.asarray(concentration, dtype)
    shape = concentration.shape if shape is None else shape
    a = broadcast_flat(concentration, shape)
    return log_gamma_path(draw_log_gamma(key, jax.lax.stop_gradient(a)), a).reshape(shape)


@jax.custom_jvp
def log_gamma_path(log_x: Float[Array, "*shape"], concentration: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The draw ``log_x`` from Gamma(concentration, 1) as a differentiable function of the concentration.

    $$ \frac{d \log x}{d a} = -\frac{\partial F(x; a) / \partial a}{x\, p(x; a)}, $$

    for any way of drawing x; no derivative flows through ``log_x`` itself.

    Reference: Figurnov, Mohamed and Mnih (2018), equation 5.
    """
    return log_x


@log_gamma_path.defjvp
def _log_gamma_path_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    log_x = log_gamma_path(jax.lax.stop_gradient(primals[0]), primals[1])
    return log_x, log_gamma_derivative(log_x, primals[1]) * tangents[1]


@jax.jit
def log_gamma_derivative(
    log_x: Float[Array, "*shape"], concentration: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """d log x / d a of a Gamma(a, 1) draw at a fixed quantile; positive, and differentiable in both arguments."""
    edge = by_precision(log_x.dtype, *_LARGE)
    large = concentration > edge
    moderate = _by_quadrature(jnp.where(large, 0.0, log_x), jnp.where(large, 1.0, concentration))
    expanded = _by_expansion(log_x, jnp.where(large, concentration, edge))
    return materialized(jnp.where(large, expanded, moderate), log_x)


def _by_quadrature(log_x: Array, a: Array) -> Array:
    r"""The derivative as one integral on the side of x with less mass.

    Left of the center, integrating the incomplete gamma function once by parts takes the exponential tail of small
    concentrations out of the integral: with $T_k = \int_0^\infty r^k e^{-(a+1) r + x (1 - e^{-r})} dr$,
    $F / (x p) = (1 + x T_0) / a$ and $a \, d\log x/da = (1 + x T_0)(\psi(a+1) - \log x) + x T_1$.
    Right of it, with $T_k = \int_0^\infty r^k e^{a r - x (e^r - 1)} dr$, $d\log x/da = T_1 + (\log x - \psi(a)) T_0$.
    """
    x = jnp.exp(log_x)
    left = x < a + 0.5
    rate = jnp.where(left, a + 1.0, a)
    end = jax.lax.stop_gradient(_end(x, rate, left))
    mass, first = jnp.zeros_like(x), jnp.zeros_like(x)
    for node, weight in zip(*gauss_legendre_floats(by_precision(x.dtype, *_NUM_POINTS)), strict=True):
        t = end * node
        w = weight * jnp.exp(rate * t - x * jnp.expm1(t))
        mass, first = mass + w, first + node * w
    width = jnp.abs(end)
    mass, first = mass * width, first * width * width
    psi = digamma_1p(a)
    below = ((1.0 + x * mass) * (psi - log_x) + x * first) / a
    above = first + (log_x - psi + 1.0 / a) * mass
    return jnp.where(left, below, above)


def _end(x: Array, rate: Array, left: Array) -> Array:
    """Where the integrand exp(rate t - x expm1(t)) has fallen by the drop; negative on the left.

    The exponent is concave, so that Newton's method from an upper bound of the distance converges monotonically.
    """
    drop = by_precision(x.dtype, *_DROP)
    parabola = jnp.sqrt(3.0 * drop / jnp.maximum(x, jnp.finfo(x.dtype).tiny))
    below = -jnp.minimum((drop + x) / rate, parabola)
    above = jnp.minimum(parabola, jnp.log1p((drop + rate * jnp.minimum(parabola, 1e4)) / x))
    t = jnp.where(left, below, above)
    for _ in range(2):
        t = t - (rate * t - x * jnp.expm1(t) + drop) / (rate - x * jnp.exp(t))
    return t


def _by_expansion(log_x: Array, a: Array) -> Array:
    r"""The expansion in 1/a that is uniform in $\lambda = x / a$ (Temme 1979), to first order.

    $a \, d\log x/da = \log\lambda / (\lambda - 1) + (1/6 - \delta/12 + \delta^2/20) / a$ with $\delta = \lambda - 1$.
    """
    ell = log_x - jnp.log(a)
    delta = jnp.expm1(jnp.clip(ell, -0.5, 0.5))
    return (log_over_difference(ell) + (1.0 / 6.0 - delta * (1.0 / 12.0 - delta / 20.0)) / a) / a


@jax.jit
def draw_log_gamma(key: Array, a: Array) -> Array:
    """log x for x from Gamma(a, 1), without a derivative; log x = log gamma(a + 1) + log(u) / a below a = 1."""
    boost_key, key = jax.random.split(key)
    small = a < 1.0
    raised = jnp.where(small, a + 1.0, a)
    draw = _by_quantile if a.dtype == jnp.float32 else _by_rejection
    log_u = log_uniform(boost_key, a.shape, a.dtype)
    return materialized(draw(key, raised) + jnp.where(small, log_u / a, 0.0), log_u)


def _by_quantile(key: Array, a: Array) -> Array:
    """The quantile function at a normal draw, for a >= 1: one normal number and one polynomial, no rejection.

    The error of the polynomial is at most 1.2e-6 standard deviations, for most a less than that of rounding log x to
    float32. JAX's float32 normal draws end at 5.42, within its range.
    """
    t = jnp.clip(jax.random.normal(key, a.shape, a.dtype) / table.WIDTH, -1.0, 1.0)
    s, v = jax.lax.rsqrt(a), 2.0 / a - 1.0
    in_w = _chebyshev(t, len(table.COEFFICIENTS))
    even, odd = (_clenshaw(v, table.COEFFICIENTS[parity::2], in_w[parity::2]) for parity in (0, 1))
    return jnp.log(a) + s * (s * even + odd)


def _chebyshev(t: Array, count: int) -> list[Array]:
    polynomials = [jnp.ones_like(t), t]
    while len(polynomials) < count:
        polynomials.append(2.0 * t * polynomials[-1] - polynomials[-2])
    return polynomials


def _clenshaw(v: Array, rows: tuple[tuple[float, ...], ...], weights: list[Array]) -> Array:
    """The sum over rows of weight times the row's Chebyshev series in v, by Clenshaw's recurrence."""
    one, two = jnp.zeros_like(v), jnp.zeros_like(v)
    for k in reversed(range(max(map(len, rows)))):
        here = sum(row[k] * weight for row, weight in zip(rows, weights, strict=True) if k < len(row))
        one, two = here + (2.0 if k else 1.0) * v * one - two, one
    return one


def _by_rejection(key: Array, a: Array) -> Array:
    """Marsaglia and Tsang's sampler for a >= 1, which is exact in any precision."""
    d = a - 1.0 / 3.0
    c = jax.lax.rsqrt(9.0 * d)

    def attempt(key: Array) -> tuple[Array, Array]:
        normal_key, accept_key = jax.random.split(key)
        normal = jax.random.normal(normal_key, a.shape, a.dtype)
        root = 1.0 + c * normal
        log_v = 3.0 * jnp.log(jnp.where(root > 0.0, root, 1.0))
        bound = 0.5 * normal * normal + d * (log_v - jnp.expm1(log_v))
        # Written so that a NaN concentration is accepted, and the result NaN, instead of looping forever.
        return log_v, (root <= 0.0) | (log_uniform(accept_key, a.shape, a.dtype) >= bound)

    return jnp.log(d) + draw_until_accepted(key, attempt)


def draw_until_accepted(key: Array, attempt: Callable[[Array], tuple[Array, Array]]) -> Array:
    """Repeats ``attempt(key) -> (draws, rejected)`` on all lanes; each keeps its first accepted draw."""

    def again(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        key, draws, rejected = state
        key, here = jax.random.split(key)
        new, still = attempt(here)
        return key, jnp.where(rejected, new, draws), rejected & still

    # Starting without a first attempt keeps one copy of it in the program.
    draws, rejected = jax.eval_shape(attempt, key)
    start = key, jnp.zeros(draws.shape, draws.dtype), jnp.ones(rejected.shape, bool)
    return jax.lax.while_loop(lambda state: state[2].any(), again, start)[1]


def log_uniform(key: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """The logarithm of a uniform draw from (0, 1] that uses every random bit, so that its left tail is precise."""
    bits = jnp.finfo(dtype).bits
    draw = jax.random.bits(key, shape, f"uint{bits}").astype(dtype)
    return jnp.log((draw + 0.5) * 2.0**-bits)
