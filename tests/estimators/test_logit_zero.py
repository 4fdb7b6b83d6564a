"""Derivatives at a logit of exactly 0, where numpyro's own log densities bend and training often starts."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from reparax.distributions import Bernoulli
from reparax.estimators import expectation

DRAWS = 40_000
TARGET = 0.45


def cost(z):
    return jnp.sum((jnp.asarray(z, jnp.float32) - TARGET) ** 2)


@pytest.mark.parametrize(
    "estimator",
    ["enumeration", "score-function", "leave-one-out", "mean-baseline", "optimal-baseline", "disarm", "arm",
     "measure-valued", "sum-and-sample", "rebar"],
)  # fmt: skip
@pytest.mark.parametrize("family", [dist.BernoulliLogits, Bernoulli])
def test_the_gradient_at_zero_is_unbiased(family, estimator):
    def value(logits, key):
        q = family(logits=logits).to_event(1)
        return expectation(cost, q, key=key, num_samples=2, estimator=estimator)

    keys = jax.random.split(jax.random.key(0), DRAWS)
    gradients = np.asarray(jax.jit(jax.vmap(jax.grad(value), in_axes=(None, 0)))(jnp.zeros(1), keys)[:, 0], np.float64)
    exact = 0.25 * (1 - 2 * TARGET)
    error = np.std(gradients) / np.sqrt(DRAWS) + 1e-7
    assert abs(np.mean(gradients) - exact) <= 5 * error


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_distribution_itself_is_smooth_at_zero(value):
    slope = jax.grad(lambda logit: Bernoulli(logits=logit).log_prob(jnp.asarray(value)))(0.0)
    assert slope == value - 0.5


def test_binomial_counts_are_smooth_at_zero():
    def value(logit):
        q = dist.BinomialLogits(logit, total_count=4)
        return expectation(lambda z: jnp.asarray(z, jnp.float32), q, key=jax.random.key(0), estimator="enumeration")

    np.testing.assert_allclose(jax.value_and_grad(value)(0.0), (2.0, 1.0), rtol=1e-6)


@pytest.mark.parametrize("estimator", ["optimal-baseline", "measure-valued", "leave-one-out"])
def test_a_plain_number_is_a_parameter_too(estimator):
    def value(logit, key):
        return expectation(cost, dist.Bernoulli(logits=logit), key=key, num_samples=2, estimator=estimator)

    keys = jax.random.split(jax.random.key(1), 20_000)
    gradients = np.asarray(jax.vmap(jax.grad(value), in_axes=(None, 0))(0.0, keys), np.float64)
    assert abs(gradients.mean() - 0.025) <= 5 * gradients.std() / np.sqrt(len(gradients)) + 1e-7
