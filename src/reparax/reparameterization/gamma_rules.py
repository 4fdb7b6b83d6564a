"""Families drawn from Gamma and Beta variables: computed in log space, implicit in the shape parameters."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._multivariate_normal import matvec
from reparax.reparameterization._rules import ParameterRule, declared, rule
from reparax.reparameterization.beta import log_beta_sample, log_dirichlet_sample
from reparax.reparameterization.gamma import log_gamma_sample
from reparax.reparameterization.numerics import bounded_exp, full_shape, to_float, unit_exp

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
