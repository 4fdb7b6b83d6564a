"""Families drawn from Gamma variables, all of them in log space and implicit in the shape."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._bounded_exp import bounded_exp
from reparax.reparameterization._gamma import log_gamma_sample
from reparax.reparameterization._multivariate_normal import matvec
from reparax.reparameterization._rule import ParameterRule, declared, rule
from reparax.reparameterization._shapes import full_shape, to_float

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
