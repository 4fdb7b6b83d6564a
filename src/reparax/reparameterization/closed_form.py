"""Families whose draws have a closed form in the noise: location-scale, Gaussian vectors, uniform, quantiles."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._rules import ParameterRule, declared, parameter_rules, rsample, rule
from reparax.reparameterization.numerics import bounded_exp, float_dtype, full_shape, log1m_exp, to_float, unit_exp
from reparax.reparameterization.truncated import tilted_quantile

METHOD = "location-scale"


def matvec(matrix: Array, vector: Array) -> Array:
    """Matrix-vector product over leading batch axes."""
    return jnp.squeeze(jnp.matmul(matrix, vector[..., None]), -1)


@rule(
    dist.MultivariateNormal,
    declare=declared(METHOD, "loc", "covariance_matrix", "precision_matrix", "scale_tril"),
)
def _multivariate_normal(q: dist.MultivariateNormal, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    loc, scale_tril = to_float(q.loc, q.scale_tril)
    return loc + matvec(scale_tril, jax.random.normal(key, full_shape(q, sample_shape), loc.dtype))


@rule(dist.LowRankMultivariateNormal, declare=declared(METHOD, "loc", "cov_factor", "cov_diag"))
def _low_rank(q: dist.LowRankMultivariateNormal, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    loc, factor, diagonal = to_float(q.loc, q.cov_factor, q.cov_diag)
    key_factor, key_diagonal = jax.random.split(key)
    rank = (*sample_shape, *q.batch_shape, factor.shape[-1])
    shared = jax.random.normal(key_factor, rank, loc.dtype)
    independent = jax.random.normal(key_diagonal, full_shape(q, sample_shape), loc.dtype)
    return loc + matvec(factor, shared) + jnp.sqrt(diagonal) * independent


@rule(dist.MatrixNormal, declare=declared(METHOD, "loc", "scale_tril_row", "scale_tril_column"))
def _matrix_normal(q: dist.MatrixNormal, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    loc, row, column = to_float(q.loc, q.scale_tril_row, q.scale_tril_column)
    eps = jax.random.normal(key, full_shape(q, sample_shape), loc.dtype)
    return loc + row @ eps @ jnp.swapaxes(column, -2, -1)


@rule(dist.CAR, declare=declared(METHOD, "loc", "correlation", "conditional_precision", "adj_matrix"))
def _conditional_autoregressive(q: dist.CAR, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return rsample(dist.MultivariateNormal(q.mean, precision_matrix=q.precision_matrix), key, sample_shape)


@rule(dist.GaussianRandomWalk, declare=declared(METHOD, "scale"))
def _random_walk(q: dist.GaussianRandomWalk, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    (scale,) = to_float(q.scale)
    eps = jax.random.normal(key, full_shape(q, sample_shape), scale.dtype)
    return jnp.cumsum(eps, -1) * scale[..., None]


def _of_path(q: dist.EulerMaruyama) -> tuple[ParameterRule, ...]:
    steps = ParameterRule("drift, diffusion and t", "composed (location-scale)", True, "each step is location-scale")
    return (steps, *parameter_rules(q.init_dist))


@rule(dist.EulerMaruyama, declare=_of_path)
def _euler_maruyama(q: dist.EulerMaruyama, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    key_noise, key_start = jax.random.split(key)
    shape = full_shape(q, sample_shape)
    batch = shape[: len(shape) - q.event_dim]
    start = rsample(q.init_dist, key_start, batch[: len(batch) - len(q.init_dist.batch_shape)])
    start = jnp.broadcast_to(start, batch + tuple(q.event_shape[1:]))
    noise = jax.random.normal(key_noise, (*batch, q.event_shape[0] - 1, *q.event_shape[1:]), start.dtype)
    times = jnp.broadcast_to(jnp.asarray(q.t, start.dtype), (*batch, q.event_shape[0]))

    def path(first: Array, eps: Array, t: Array) -> Array:
        def step(y: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            e, now, dt = inputs
            drift, diffusion = q.sde_fn(y, now)
            following = y + dt * drift + jnp.sqrt(dt) * diffusion * e
            return following, following

        _, rest = jax.lax.scan(step, first, (eps, t[:-1], jnp.diff(t)))
        return jnp.concatenate([first[None], rest])

    for _ in batch:
        path = jax.vmap(path)
    return path(start, noise, times)


@rule(dist.ProjectedNormal, declare=declared("composed (location-scale)", "concentration"))
def _projected_normal(q: dist.ProjectedNormal, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    (mean,) = to_float(q.concentration)
    point = mean + jax.random.normal(key, full_shape(q, sample_shape), mean.dtype)
    return point / jnp.linalg.norm(point, axis=-1, keepdims=True)


LOCATION_SCALE = "location-scale"
INVERSE_CDF = "inverse CDF"


def _register(family: type, noise: Callable[..., Array]) -> None:
    def sampler(q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
        eps = noise(key, full_shape(q, sample_shape), float_dtype(q.loc, q.scale))
        return q.loc + q.scale * eps

    rule(family, declare=declared(LOCATION_SCALE, "loc", "scale"))(sampler)


def _normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    # The same numbers as without the reshaping; noise of several dimensions takes XLA three times as long to compile,
    # and the CPU three times as long to draw.
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def _sech(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    # Quantile of the hyperbolic secant density sech(x)/pi: log tan(pi u / 2), antisymmetric about u = 1/2.
    u = jax.random.uniform(key, shape, dtype, minval=jnp.finfo(dtype).tiny)
    tail = jnp.where(u < 0.5, u, 1 - u)
    return jnp.where(u < 0.5, 1.0, -1.0).astype(dtype) * jnp.log(
        jnp.tan(jnp.pi / 2 * jnp.maximum(tail, jnp.finfo(dtype).tiny))
    )


for _family, _noise in (
    (dist.Normal, _normal),
    (dist.Laplace, jax.random.laplace),
    (dist.Logistic, jax.random.logistic),
    (dist.Cauchy, jax.random.cauchy),
    (dist.Gumbel, jax.random.gumbel),
    (dist.SoftLaplace, _sech),
):
    _register(_family, _noise)


def interval(low: Array, high: Array, u: Array) -> Array:
    """The point (1 - u) low + u high, kept inside the interval and exact at both ends."""
    return (1 - u) * low + u * high


@rule(dist.Uniform, declare=declared("uniform", "low", "high"))
def _uniform(q: dist.Uniform, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    u = jax.random.uniform(key, full_shape(q, sample_shape), float_dtype(q.low, q.high))
    return interval(q.low, q.high, u)


@rule(dist.LogUniform, declare=declared("uniform", "low", "high", reason="log z is uniform"))
def _log_uniform(q: dist.LogUniform, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    low, high = to_float(q.low, q.high)
    u = jax.random.uniform(key, full_shape(q, sample_shape), low.dtype)
    return jnp.exp(interval(jnp.log(low), jnp.log(high), u))


@rule(dist.Delta, declare=declared("deterministic", "v"))
def _delta(q: dist.Delta, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return jnp.broadcast_to(jnp.asarray(q.v), full_shape(q, sample_shape))


def exponential_noise(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Standard exponential draws, never zero, so that their logarithm is finite."""
    return jnp.maximum(jax.random.exponential(key, shape, dtype), jnp.finfo(dtype).epsneg / 2)


@rule(dist.Exponential, declare=declared(INVERSE_CDF, "rate"))
def _exponential(q: dist.Exponential, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    (rate,) = to_float(q.rate)
    return exponential_noise(key, full_shape(q, sample_shape), rate.dtype) / rate


@rule(dist.Weibull, declare=declared(INVERSE_CDF, "scale", "concentration"))
def _weibull(q: dist.Weibull, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    scale, concentration = to_float(q.scale, q.concentration)
    noise = exponential_noise(key, full_shape(q, sample_shape), scale.dtype)
    return bounded_exp(jnp.log(scale) + jnp.log(noise) / concentration)


@rule(dist.Pareto, declare=declared(INVERSE_CDF, "scale", "alpha"))
def _pareto(q: dist.Pareto, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    scale, alpha = to_float(q.scale, q.alpha)
    noise = exponential_noise(key, full_shape(q, sample_shape), scale.dtype)
    return bounded_exp(jnp.log(scale) + noise / alpha)


@rule(dist.LowerTruncatedPowerLaw, declare=declared(INVERSE_CDF, "alpha", "low"))
def _lower_truncated_power_law(q: dist.LowerTruncatedPowerLaw, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return rsample(dist.Pareto(q.low, -1.0 - q.alpha), key, sample_shape)


@rule(dist.DoublyTruncatedPowerLaw, declare=declared(INVERSE_CDF, "alpha", "low", "high"))
def _doubly_truncated_power_law(
    q: dist.DoublyTruncatedPowerLaw, key: jax.Array, sample_shape: tuple[int, ...]
) -> Array:
    alpha, low, high = to_float(q.alpha, q.low, q.high)
    u = jax.random.uniform(key, full_shape(q, sample_shape), alpha.dtype)
    width = jnp.log(high) - jnp.log(low)
    # y = log(z / low) has density proportional to exp((alpha + 1) y) on [0, width].
    return low * jnp.exp(tilted_quantile(u, (alpha + 1) * width) * width)


@rule(dist.Kumaraswamy, declare=declared(INVERSE_CDF, "concentration1", "concentration0"))
def _kumaraswamy(q: dist.Kumaraswamy, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    power, tail = to_float(q.concentration1, q.concentration0)
    noise = exponential_noise(key, full_shape(q, sample_shape), power.dtype)
    # 1 - x^power = exp(-noise / tail)
    log_x = log1m_exp(-noise / tail) / power
    return unit_exp(log_x, log1m_exp(jnp.minimum(log_x, -jnp.finfo(power.dtype).tiny)))


def log_log_kumaraswamy(q: dist.Kumaraswamy, key: jax.Array, shape: tuple[int, ...]) -> Array:
    """log(-log x) of draws of q, without a derivative: accurate even if x rounds to 0 or 1."""
    power, tail = to_float(*jax.lax.stop_gradient((q.concentration1, q.concentration0)))
    drop = exponential_noise(key, shape, power.dtype) / tail
    # -log(1 - exp(-t)) is exp(-t) for large t.
    far = drop > 15.0
    near = jnp.log(-log1m_exp(-jnp.where(far, 1.0, drop)))
    return jnp.where(far, -drop, near) - jnp.log(power)


@rule(dist.Gompertz, declare=declared(INVERSE_CDF, "concentration", "rate"))
def _gompertz(q: dist.Gompertz, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    concentration, rate = to_float(q.concentration, q.rate)
    return jnp.log1p(exponential_noise(key, full_shape(q, sample_shape), rate.dtype) / concentration) / rate


@rule(dist.Dagum, declare=declared(INVERSE_CDF, "concentration", "sharpness", "scale"))
def _dagum(q: dist.Dagum, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return bounded_exp(log_dagum_of(q, key, full_shape(q, sample_shape)))


def log_dagum_of(q: dist.Dagum, key: jax.Array, shape: tuple[int, ...]) -> Array:
    """The logarithms of draws of q."""
    concentration, sharpness, scale = to_float(q.concentration, q.sharpness, q.scale)
    noise = exponential_noise(key, shape, scale.dtype)
    # F(x) = (1 + (x / scale)^-sharpness)^-concentration, and -log F is exponential.
    t = noise / concentration
    return jnp.log(scale) - (t + log1m_exp(-t)) / sharpness


@rule(dist.Levy, declare=declared("location-scale", "loc", "scale", reason="1 / eps^2 with eps standard normal"))
def _levy(q: dist.Levy, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    loc, scale = to_float(q.loc, q.scale)
    eps = jax.random.normal(key, full_shape(q, sample_shape), loc.dtype)
    return loc + scale / jnp.maximum(eps**2, jnp.finfo(loc.dtype).epsneg ** 2)


@rule(dist.HalfNormal, declare=declared("location-scale", "scale"))
def _half_normal(q: dist.HalfNormal, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    (scale,) = to_float(q.scale)
    return scale * jnp.abs(jax.random.normal(key, full_shape(q, sample_shape), scale.dtype))


@rule(dist.HalfCauchy, declare=declared("location-scale", "scale"))
def _half_cauchy(q: dist.HalfCauchy, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    (scale,) = to_float(q.scale)
    return scale * jnp.abs(jax.random.cauchy(key, full_shape(q, sample_shape), scale.dtype))


@rule(dist.AsymmetricLaplace, declare=declared("location-scale", "loc", "scale", "asymmetry"))
def _asymmetric_laplace(q: dist.AsymmetricLaplace, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    loc, scale, asymmetry = to_float(q.loc, q.scale, q.asymmetry)
    left, right = jax.random.exponential(key, (2, *full_shape(q, sample_shape)), loc.dtype)
    return loc + scale * (right / asymmetry - left * asymmetry)


@rule(dist.AsymmetricLaplaceQuantile, declare=declared("location-scale", "loc", "scale", "quantile"))
def _asymmetric_laplace_quantile(
    q: dist.AsymmetricLaplaceQuantile, key: jax.Array, sample_shape: tuple[int, ...]
) -> Array:
    loc, scale, quantile = to_float(q.loc, q.scale, q.quantile)
    asymmetry = jnp.sqrt(quantile / (1 - quantile))
    return rsample(dist.AsymmetricLaplace(loc, scale * asymmetry / quantile, asymmetry), key, sample_shape)
