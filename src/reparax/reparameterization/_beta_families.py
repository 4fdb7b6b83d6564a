"""Beta, Dirichlet, and what is drawn from them: kept in log space, implicit in every concentration."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._beta import log_beta_sample
from reparax.reparameterization._bounded_exp import bounded_exp, unit_exp
from reparax.reparameterization._dirichlet import log_dirichlet_sample
from reparax.reparameterization._rule import ParameterRule, declared, rule
from reparax.reparameterization._shapes import full_shape, to_float

METHOD = "implicit"
FIGURNOV = "Figurnov et al. 2018, eq. 5"


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
