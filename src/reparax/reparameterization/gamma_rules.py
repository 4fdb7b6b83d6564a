"""Families drawn from Gamma and Beta variables, computed in log space, with implicit derivatives in the shapes."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from reparax.reparameterization._rules import ParameterRule, declared, rule
from reparax.reparameterization.beta import log_beta_sample, log_dirichlet_sample, logit_beta_path
from reparax.reparameterization.closed_form import matvec
from reparax.reparameterization.gamma import draw_log_gamma, log_gamma_sample
from reparax.reparameterization.numerics import bounded_exp, broadcast_flat, full_shape, to_float, unit_exp

METHOD = "implicit"
FIGURNOV = "Figurnov et al. 2018, eq. 5"
_LOG_2 = 0.6931471805599453


def log_gamma_of(q: dist.Gamma | dist.InverseGamma, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    """The log of a Gamma(concentration, rate) draw, of the shape of a sample of q."""
    concentration, rate = to_float(q.concentration, q.rate)
    shape = full_shape(q, sample_shape)
    return log_gamma_sample(key, concentration, shape, concentration.dtype) - jnp.log(rate)


def log_chi2_sample(key: jax.Array, df: Array, shape: tuple[int, ...]) -> Array:
    """The log of a chi-square draw with df degrees of freedom."""
    return log_gamma_sample(key, df / 2, shape, df.dtype) + _LOG_2


def _of_gamma(q: dist.Distribution) -> tuple[ParameterRule, ...]:
    scaled = {"rate": "location-scale"}
    return tuple(ParameterRule(name, scaled.get(name, METHOD), True, "", FIGURNOV) for name in q.arg_constraints)


@rule(dist.Gamma, declare=_of_gamma)
def _gamma(q: dist.Gamma, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return bounded_exp(log_gamma_of(q, key, sample_shape))


@rule(dist.InverseGamma, declare=_of_gamma)
def _inverse_gamma(q: dist.InverseGamma, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return bounded_exp(-log_gamma_of(q, key, sample_shape))


@rule(
    dist.MultivariateStudentT,
    declare=(
        *declared(METHOD, "df", reference=FIGURNOV),
        *declared("location-scale", "loc", "scale_tril"),
    ),
)
def _multivariate_student_t(q: dist.MultivariateStudentT, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    df, loc, scale_tril = to_float(q.df, q.loc, q.scale_tril)
    key_normal, key_chi2 = jax.random.split(key)
    eps = jax.random.normal(key_normal, full_shape(q, sample_shape), df.dtype)
    log_chi2 = log_chi2_sample(key_chi2, df, (*sample_shape, *q.batch_shape))
    stretch = bounded_exp((jnp.log(df) - log_chi2) / 2)
    return loc + matvec(scale_tril, eps * stretch[..., None])


def bartlett(key: jax.Array, df: Array, shape: tuple[int, ...]) -> Array:
    """The Cholesky factor of a standard Wishart draw, with df[..., i] degrees of freedom on the i-th diagonal entry.

    Source: Bartlett's decomposition; Smith and Hocking (1972).
    """
    key_diagonal, key_below = jax.random.split(key)
    diagonal = bounded_exp(log_chi2_sample(key_diagonal, df, shape[:-1]) / 2)
    below = jnp.tril(jax.random.normal(key_below, shape, df.dtype), -1)
    return below + diagonal[..., None] * jnp.eye(shape[-1], dtype=df.dtype)


def _of_wishart(q: dist.Distribution) -> tuple[ParameterRule, ...]:
    matrix = tuple(name for name in q.arg_constraints if name != "concentration")
    return (*declared("composed (implicit)", "concentration"), *declared("composed (location-scale)", *matrix))


def _wishart_factor(q: dist.WishartCholesky, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    df, scale_tril = to_float(q.concentration, q.scale_tril)
    steps = jnp.arange(q.event_shape[-1], dtype=df.dtype)
    return scale_tril @ bartlett(key, df[..., None] - steps, full_shape(q, sample_shape))


def _inverse_wishart_factor(q: dist.InverseWishartCholesky, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    df, scale_tril = to_float(q.concentration, q.scale_tril)
    dimension = q.event_shape[-1]
    shape = full_shape(q, sample_shape)
    steps = jnp.arange(dimension, dtype=df.dtype) - (dimension - 1)
    factor = bartlett(key, df[..., None] + steps, shape)
    return scale_tril @ _inverse_of_lower(factor)


def _inverse_of_lower(factor: Array) -> Array:
    """The inverses of many lower triangular matrices, by forward substitution.

    The batched LAPACK solve of jaxlib 0.10.2 waits forever when as many of them run at once as the CPU has threads,
    and the derivative of a solve is several solves.
    """
    dimension = factor.shape[-1]
    rows: list[Array] = []
    for i in range(dimension):
        unit = jnp.zeros(dimension, factor.dtype).at[i].set(1.0)
        known = sum((factor[..., i, j, None] * rows[j] for j in range(i)), jnp.zeros((), factor.dtype))
        rows.append((unit - known) / factor[..., i, i, None])
    return jnp.stack(rows, axis=-2)


def _squared(factor: Array) -> Array:
    return factor @ jnp.swapaxes(factor, -2, -1)


rule(dist.WishartCholesky, declare=_of_wishart)(_wishart_factor)
rule(dist.InverseWishartCholesky, declare=_of_wishart)(_inverse_wishart_factor)


@rule(dist.Wishart, declare=_of_wishart)
def _wishart(q: dist.Wishart, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return _squared(_wishart_factor(q.base_dist, key, sample_shape))


@rule(dist.InverseWishart, declare=_of_wishart)
def _inverse_wishart(q: dist.InverseWishart, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return _squared(_inverse_wishart_factor(q.base_dist, key, sample_shape))


def _all_implicit(q: dist.Distribution) -> tuple[ParameterRule, ...]:
    return declared(METHOD, *q.arg_constraints, reference=FIGURNOV)


@rule(dist.Beta, declare=_all_implicit)
def _beta(q: dist.Beta, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    a, b = to_float(q.concentration1, q.concentration0)
    return unit_exp(*log_beta_sample(key, a, b, full_shape(q, sample_shape)))


@rule(dist.Dirichlet, declare=_all_implicit)
def _dirichlet(q: dist.Dirichlet, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return bounded_exp(log_dirichlet_of(q, key, (*sample_shape, *q.batch_shape)))


def log_dirichlet_of(q: dist.Dirichlet, key: jax.Array, shape: tuple[int, ...]) -> Array:
    """The logarithms of draws of q, of shape ``shape + event_shape``."""
    (concentration,) = to_float(q.concentration)
    return log_dirichlet_sample(key, concentration, shape)


def _of_correlation(q: dist.Distribution) -> tuple[ParameterRule, ...]:
    return declared("composed (implicit)", *q.arg_constraints, reference="Lewandowski et al. 2009, section 3.2")


def _onion(q: dist.LKJCholesky, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    """The onion method: row k is a uniform direction in k dimensions, its squared length a Beta variable."""
    (concentration,) = to_float(q.concentration)
    rows = q.dimension - 1
    offset = 0.5 * jnp.arange(rows, dtype=concentration.dtype)
    tail = concentration[..., None] + 0.5 * (q.dimension - 2) - offset
    key_beta, key_normal = jax.random.split(key)
    front = (*sample_shape, *q.batch_shape)
    log_square, log_rest = log_beta_sample(key_beta, offset + 0.5, tail, (*front, rows))
    direction = jnp.tril(jax.random.normal(key_normal, (*front, rows, rows), concentration.dtype))
    direction = direction / jnp.linalg.norm(direction, axis=-1, keepdims=True)
    below = jnp.exp(log_square / 2)[..., None] * direction
    factor = jnp.zeros((*front, rows + 1, rows + 1), concentration.dtype).at[..., 1:, :-1].set(below)
    diagonal = jnp.ones((*front, rows + 1), concentration.dtype).at[..., 1:].set(bounded_exp(log_rest / 2))
    return factor + diagonal[..., None] * jnp.eye(rows + 1, dtype=concentration.dtype)


rule(dist.LKJCholesky, declare=_of_correlation)(_onion)


@rule(dist.LKJ, declare=_of_correlation)
def _lkj(q: dist.LKJ, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    factor = _onion(q.base_dist, key, sample_shape)
    return factor @ jnp.swapaxes(factor, -2, -1)


# The fraction of the largest exponent that draws may use, so that a draw times its derivative is finite.
_HEADROOM = 0.85


def student_t_sample(
    key: Key[Array, ""],
    df: Float[Array, "..."],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "*shape"]:
    """A draw from the standard Student-t with ``df`` degrees of freedom, differentiable in them to every order.

    Draws are clipped near the largest finite number (float32: about 1e32, which matters for df below 0.5), with a
    derivative of zero beyond; those of :func:`log_abs_student_t_sample` are not.

    Args:
        key: A typed random key.
        df: Positive degrees of freedom; they broadcast to ``shape``.
        shape: Shape of the result; by default that of ``df``.
        dtype: Floating type of the result; by default that of ``df``.
    """
    log_abs, sign = log_abs_student_t_sample(key, df, shape, dtype)
    largest = _HEADROOM * jnp.log(jnp.finfo(log_abs.dtype).max)
    return sign * jnp.exp(jnp.minimum(log_abs, largest.astype(log_abs.dtype)))


def log_abs_student_t_sample(
    key: Key[Array, ""],
    df: Float[Array, "..."],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""(log |t|, sign t) of a standard Student-t draw.

    $t^2 / (\nu + t^2)$ is Beta(1/2, nu/2), so that $2 \log|t| = z + \log\nu$ with z the logit of that draw, whose
    implicit derivative is univariate, and so has the least variance of all pathwise derivatives.
    """
    df = jnp.asarray(df, dtype)
    shape = df.shape if shape is None else shape
    df = broadcast_flat(df, shape)
    normal_key, gamma_key = jax.random.split(key)
    normal = jax.random.normal(normal_key, df.shape, df.dtype)
    half = 0.5 * df
    log_chi = jnp.log(jnp.maximum(0.5 * normal * normal, jnp.finfo(df.dtype).tiny))
    drawn = log_chi - draw_log_gamma(gamma_key, jax.lax.stop_gradient(half))
    logit = logit_beta_path(drawn, jnp.full_like(half, 0.5), half)
    sign = jnp.where(normal < 0.0, -1.0, 1.0).astype(df.dtype)
    return (0.5 * (logit + jnp.log(df))).reshape(shape), sign.reshape(shape)


@rule(
    dist.StudentT,
    declare=(*declared("implicit", "df", reference=FIGURNOV), *declared("location-scale", "loc", "scale")),
)
def _student_t(q: dist.StudentT, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    df, loc, scale = to_float(q.df, q.loc, q.scale)
    return loc + scale * student_t_sample(key, df, full_shape(q, sample_shape))
