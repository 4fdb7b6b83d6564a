"""Cumulative distribution functions that are differentiable in their parameters, also where numpyro's are not."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import betainc, betaln, gammainc, gammaln
from jaxtyping import Array

from reparax.reparameterization._beta import logit_beta_derivatives
from reparax.reparameterization._gamma import log_gamma_derivative
from reparax.reparameterization._shapes import to_float

# Families whose numpyro CDF is a composition of functions that jax differentiates, with a support free of parameters.
_CLOSED_FORM = (
    dist.Normal,
    dist.LogNormal,
    dist.Laplace,
    dist.Logistic,
    dist.Cauchy,
    dist.Gumbel,
    dist.SoftLaplace,
    dist.AsymmetricLaplace,
    dist.Exponential,
    dist.Weibull,
    dist.Gompertz,
    dist.HalfNormal,
    dist.HalfCauchy,
)


def has_differentiable_cdf(q: dist.Distribution) -> bool:
    """Whether `differentiable_cdf` knows the family of q."""
    return isinstance(q, (*_CLOSED_FORM, dist.Gamma, dist.Beta, dist.StudentT))


def differentiable_cdf(q: dist.Distribution, x: Array) -> Array:
    """F(x) under q, elementwise, with the right derivative in x and in every parameter."""
    if isinstance(q, dist.Gamma):
        x, concentration, rate = jnp.broadcast_arrays(*to_float(x, q.concentration, q.rate))
        return _gamma_cdf(jnp.log(x * rate), concentration)
    if isinstance(q, dist.Beta):
        x, a, b = jnp.broadcast_arrays(*to_float(x, q.concentration1, q.concentration0))
        return _beta_cdf(jnp.log(x) - jnp.log1p(-x), a, b)
    if isinstance(q, dist.StudentT):
        x, df, loc, scale = jnp.broadcast_arrays(*to_float(x, q.df, q.loc, q.scale))
        t = (x - loc) / scale
        square = jnp.maximum(t * t, jnp.finfo(t.dtype).tiny)
        share = _beta_cdf(jnp.log(square) - jnp.log(df), jnp.full_like(df, 0.5), df / 2)
        return 0.5 + 0.5 * jnp.sign(t) * share
    return q.cdf(x)


@jax.custom_jvp
def _gamma_cdf(log_x: Array, a: Array) -> Array:
    return gammainc(a, jnp.exp(log_x))


@_gamma_cdf.defjvp
def _gamma_cdf_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    log_x, a = primals
    density = jnp.exp(a * log_x - jnp.exp(log_x) - gammaln(a))
    return _gamma_cdf(log_x, a), density * (tangents[0] - log_gamma_derivative(log_x, a) * tangents[1])


@jax.custom_jvp
def _beta_cdf(logit: Array, a: Array, b: Array) -> Array:
    return betainc(a, b, jax.nn.sigmoid(logit))


@_beta_cdf.defjvp
def _beta_cdf_jvp(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    logit, a, b = primals
    density = jnp.exp(-a * jax.nn.softplus(-logit) - b * jax.nn.softplus(logit) - betaln(a, b))
    in_a, in_b = logit_beta_derivatives(logit, a, b)
    return _beta_cdf(logit, a, b), density * (tangents[0] - in_a * tangents[1] - in_b * tangents[2])
