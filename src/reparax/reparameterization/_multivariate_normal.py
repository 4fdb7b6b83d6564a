"""Gaussian vectors, matrices and paths: a linear map of standard normal noise."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._rules import ParameterRule, declared, parameter_rules, rsample, rule
from reparax.reparameterization.numerics import full_shape, to_float

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
