"""Beta and Dirichlet draws in log space, with implicit derivatives in every concentration."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from reparax.reparameterization.gamma import draw_log_gamma, log_gamma_sample
from reparax.reparameterization.numerics import (
    broadcast_flat,
    by_precision,
    digamma_difference,
    gauss_legendre_floats,
    log_over_difference,
    materialized,
)

# In single and in double precision. If both parameters are larger than this, the expansion around the mode is more
# accurate than quadrature.
_LARGE = 1000.0, 100_000.0
_NUM_POINTS = 14, 56
_DROP = 15.0, 36.0


def log_beta_sample(
    key: Key[Array, ""],
    a: Float[Array, "..."],
    b: Float[Array, "..."],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """(log x, log(1 - x)) of a draw from Beta(a, b), each accurate at both ends, differentiable to every order.

    Args:
        key: A typed random key.
        a: Positive weights of log x in the density; they broadcast to ``shape``.
        b: Positive weights of log(1 - x); likewise.
        shape: Shape of the results; by default the broadcast shape of ``a`` and ``b``.
        dtype: Floating type; by default that of ``a``.
    """
    a = jnp.asarray(a, dtype)
    b = jnp.asarray(b, a.dtype)
    shape = jnp.broadcast_shapes(a.shape, b.shape) if shape is None else shape
    a, b = broadcast_flat(a, shape), broadcast_flat(b, shape)
    first_key, second_key = jax.random.split(key)
    first = draw_log_gamma(first_key, jax.lax.stop_gradient(a))
    second = draw_log_gamma(second_key, jax.lax.stop_gradient(b))
    logit = logit_beta_path(first - second, a, b).reshape(shape)
    return -jax.nn.softplus(-logit), -jax.nn.softplus(logit)


@jax.custom_jvp
def logit_beta_path(
    logit: Float[Array, "*shape"], a: Float[Array, "*shape"], b: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""The draw $z = \log x - \log(1 - x)$, x from Beta(a, b), as a differentiable function of a and b.

    $$ \frac{dz}{da} = -\frac{\partial F(z; a, b) / \partial a}{p(z; a, b)}, $$

    and likewise in b. It has the least variance of all pathwise derivatives, as their conditional expectation given x:
    up to 2.7 times less noise than differentiating a ratio of two Gamma draws.

    Reference: Figurnov, Mohamed and Mnih (2018), equation 5; Jankowiak and Obermeyer (2018), section 4.
    """
    return logit


@logit_beta_path.defjvp
def _logit_beta_path_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    _, a, b = primals
    logit = logit_beta_path(jax.lax.stop_gradient(primals[0]), a, b)
    in_a, in_b = logit_beta_derivatives(logit, a, b)
    return logit, in_a * tangents[1] + in_b * tangents[2]


@jax.jit
def logit_beta_derivatives(
    logit: Float[Array, "*shape"], a: Float[Array, "*shape"], b: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """(dz/da, dz/db) of z = logit(x), x from Beta(a, b), at a fixed quantile: one positive, one negative."""
    edge = by_precision(logit.dtype, *_LARGE)
    large = jnp.minimum(a, b) > edge
    # Each formula gets safe values where it is not used: an overflow there would make the derivative NaN.
    inside = zip((0.0, 1.0, 1.0), (logit, a, b), strict=True)
    outside = zip((0.0, edge, edge), (logit, a, b), strict=True)
    moderate = _by_quadrature(*(jnp.where(large, safe, value) for safe, value in inside))
    expanded = _by_expansion(*(jnp.where(large, value, safe) for safe, value in outside))
    # As one complex array they share one pass over the nodes; otherwise the compiler makes one pass for each.
    both = materialized(jnp.where(large, jax.lax.complex(*expanded), jax.lax.complex(*moderate)), logit)
    return both.real, both.imag


def _by_quadrature(logit: Array, a: Array, b: Array) -> tuple[Array, Array]:
    r"""Both derivatives from three integrals over one set of nodes, on the side of x with less mass.

    Mirrored so that x is left of the center, with odds $o = x / (1 - x)$. One integration by parts removes the
    exponential tail of a small a from the incomplete beta function: with $q(r) = \log(1 + o (1 - e^{-r}))$ and
    $T_f = \int_0^\infty f(r)\, e^{-(a+1) r + (b-2) q(r)} dr$,
    $F = x^a (1-x)^{b-1} S / (a B(a, b))$ where $S = 1 + (b-1)\, o\, T_1$, so that
    $\partial_a \log F = \log x + \psi(a+b) - \psi(a+1) - (b-1)\, o\, T_r / S$ and
    $\partial_b \log F = \log(1-x) + \psi(a+b) - \psi(b) + o\, (T_1 + (b-1) T_q) / S$, both free of cancellation.
    """
    left = logit <= jnp.log((a + 0.5) / (b + 0.5))
    a, b = jnp.where(left, a, b), jnp.where(left, b, a)
    z = jnp.where(left, logit, -logit)
    odds = jnp.exp(z)
    end = jax.lax.stop_gradient(_end(odds, a, b))
    mass, mass_r, mass_q = jnp.zeros_like(z), jnp.zeros_like(z), jnp.zeros_like(z)
    for node, weight in zip(*gauss_legendre_floats(by_precision(z.dtype, *_NUM_POINTS)), strict=True):
        r = end * node
        q = jnp.log1p(-odds * jnp.expm1(-r))
        w = weight * jnp.exp((b - 2.0) * q - (a + 1.0) * r)
        mass, mass_r, mass_q = mass + w, mass_r + node * w, mass_q + q * w
    scale = odds * end
    mass, mass_r, mass_q = mass * scale, mass_r * scale * end, mass_q * scale
    parts = 1.0 + (b - 1.0) * mass
    n = a + b
    shared = jnp.log1p(jnp.exp(-jnp.abs(z)))
    log_x, log_1mx = jnp.minimum(z, 0.0) - shared, -jnp.maximum(z, 0.0) - shared
    score_a = log_x + digamma_difference(a + 1.0, n, b - 1.0) - (b - 1.0) * mass_r / parts
    score_b = log_1mx + digamma_difference(b, n, a) + (mass + (b - 1.0) * mass_q) / parts
    mills = parts * (1.0 + odds) / a
    in_a, in_b = -mills * score_a, -mills * score_b
    return jnp.where(left, in_a, -in_b), jnp.where(left, in_b, -in_a)


def _end(odds: Array, a: Array, b: Array) -> Array:
    """Where the log of the integrand has fallen by the drop, by Newton's method with a bound."""
    rate, power = a + 1.0, b - 2.0
    drop = by_precision(odds.dtype, *_DROP)
    bound = (drop + jnp.maximum(power, 0.0) * jnp.log1p(odds)) / rate
    curvature = jnp.maximum(power, 0.0) * odds * (1.0 + odds)
    r = jnp.minimum(bound, jnp.sqrt(3.0 * drop / jnp.maximum(curvature, jnp.finfo(odds.dtype).tiny)))
    for _ in range(3):
        fade = jnp.exp(-r)
        inside = 1.0 + odds * (1.0 - fade)
        slope = rate - power * odds * fade / inside
        r = jnp.clip(r - (rate * r - power * jnp.log(inside) - drop) / slope, 0.0, bound)
    return r


def _by_expansion(logit: Array, a: Array, b: Array) -> tuple[Array, Array]:
    r"""For large a and b: the signed root of the deviance is normal to first order (Temme 1982, section 3).

    With $\mu = a / (a + b)$: $a \, dz/da = \log(x/\mu) / (x/\mu - 1) + (1/6 + \mu/3) / a$, and its mirror image for b.
    """
    n = a + b
    log_x, log_1mx = -jax.nn.softplus(-logit), -jax.nn.softplus(logit)
    in_a = (log_over_difference(log_x + jnp.log1p(b / a)) + (1.0 / 6.0 + a / (3.0 * n)) / a) / a
    in_b = (log_over_difference(log_1mx + jnp.log1p(a / b)) + (1.0 / 6.0 + b / (3.0 * n)) / b) / b
    return in_a, -in_b


def log_dirichlet_sample(
    key: Key[Array, ""],
    concentration: Float[Array, "... k"],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "*shape k"]:
    r"""log x of a draw from Dirichlet(concentration), differentiable in the concentration to every order.

    $\log x_i = \log g_i - \log \sum_j g_j$ with $g_i$ from Gamma(concentration_i, 1): no component underflows.

    Args:
        key: A typed random key.
        concentration: Positive concentrations, the k components last; the other axes broadcast to ``shape``.
        shape: Shape of the result without its last axis; by default the batch shape of ``concentration``.
        dtype: Floating type of the result; by default that of ``concentration``.

    Reference: Figurnov, Mohamed and Mnih (2018), section 4.2.
    """
    concentration = jnp.asarray(concentration, dtype)
    shape = concentration.shape[:-1] if shape is None else shape
    log_gamma = log_gamma_sample(key, concentration, (*shape, concentration.shape[-1]))
    return jax.nn.log_softmax(log_gamma, axis=-1)
