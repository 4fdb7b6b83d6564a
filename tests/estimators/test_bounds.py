"""Bounds on log p(x) of a linear-Gaussian model against quadrature, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator
from reparax.estimators import AssumedContinuous, DoublyReparameterized, StickingTheLanding

from ..monte_carlo import many, z_score

NODES, WEIGHTS = np.polynomial.hermite.hermgauss(80)
NODES = jnp.asarray(np.sqrt(2) * NODES, jnp.float32)
WEIGHTS = jnp.asarray(WEIGHTS / np.sqrt(np.pi), jnp.float32)
THETA = jnp.array([0.2, -0.4, 0.1, 0.9])
X = 1.3


def joint(t):
    return lambda z: dist.Normal(t[2], 1.0).log_prob(z) + dist.Normal(z * t[3], 0.7).log_prob(X)


def posterior(t):
    return dist.Normal(t[0], jnp.exp(t[1]))


def log_weights(t):
    z = t[0] + jnp.exp(t[1]) * NODES
    return joint(t)(z) - posterior(t).log_prob(z)


def exact_elbo(t):
    return jnp.sum(WEIGHTS * log_weights(t))


def exact_iwae(t):
    """K = 2."""
    w = log_weights(t)
    pairs = jax.vmap(lambda a: jnp.logaddexp(w, jnp.full_like(w, a)))(w) - jnp.log(2.0)
    return WEIGHTS @ pairs @ WEIGHTS


def check(estimate, name, count, exact, repeats, with_hessian=False):
    def loss(t, key):
        return estimate(joint(t), posterior(t), key=key, num_samples=count, estimator=name)

    values, gradients = many(lambda key: jax.value_and_grad(loss)(THETA, key), repeats)
    assert z_score(values, exact(THETA)) < 5
    assert z_score(gradients, jax.grad(exact)(THETA)) < 5
    if with_hessian:
        assert z_score(many(lambda k: jax.hessian(loss)(THETA, k), repeats), jax.hessian(exact)(THETA)) < 5
    return np.var(np.asarray(gradients), axis=0)


ELBO = ["auto", "leave-one-out", "sticking-the-landing"]
IWAE = ["auto", "vimco", "doubly-reparameterized", "score-function"]


@pytest.mark.parametrize("name", ELBO)
def test_elbo(name):
    check(rx.elbo_estimate, name, 2, exact_elbo, 20000)


@pytest.mark.parametrize("name", IWAE)
def test_iwae(name):
    check(rx.iwae_estimate, name, 2, exact_iwae, 20000)


@pytest.mark.full
@pytest.mark.parametrize("name", [*ELBO, "pathwise", "doubly-reparameterized", "optimal-baseline"])
def test_elbo_full(name):
    check(rx.elbo_estimate, name, 2, exact_elbo, 200000, with_hessian=True)


@pytest.mark.full
@pytest.mark.parametrize("name", [*IWAE, "importance-weighted-pathwise", "leave-one-out"])
def test_iwae_full(name):
    check(rx.iwae_estimate, name, 2, exact_iwae, 200000, with_hessian=True)


def test_sticking_the_landing_has_no_variance_at_the_exact_posterior():
    precision = 1 + 0.9**2 / 0.7**2
    mean = (0.1 + 0.9 * X / 0.7**2) / precision
    theta = jnp.array([mean, -0.5 * np.log(precision), 0.1, 0.9])

    def loss(t, key, name):
        return rx.elbo_estimate(joint(theta), posterior(t), key=key, estimator=name)

    landed = many(lambda k: jax.grad(loss)(theta, k, "sticking-the-landing"), 1000)
    plain = many(lambda k: jax.grad(loss)(theta, k, "pathwise"), 1000)
    np.testing.assert_allclose(landed, 0, atol=2e-5)
    assert np.all(np.var(np.asarray(plain)[:, :2], axis=0) > 0.5)


def test_discrete_posteriors_take_vimco_and_one_draw_is_the_elbo():
    def log_joint(z):
        return -jnp.sum((z.astype(float) - 0.3) ** 2)

    def loss(logits, key, count):
        q = dist.Bernoulli(logits=logits).to_event(1)
        return rx.iwae_estimate(log_joint, q, key=key, num_samples=count)

    logits = jnp.array([0.3, -0.5])
    states = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])

    def weights(t):
        log_q = jnp.sum(states.astype(float) * t[None] - jax.nn.softplus(t)[None], axis=-1)
        return log_q, jax.vmap(log_joint)(states) - log_q

    def exact_two(t):
        log_q, w = weights(t)
        q = jnp.exp(log_q)
        return q @ jax.vmap(lambda a: jnp.logaddexp(w, jnp.full_like(w, a)) - jnp.log(2.0))(w) @ q

    def exact_one(t):
        log_q, w = weights(t)
        return jnp.sum(jnp.exp(log_q) * w)

    for count, exact in ((2, exact_two), (1, exact_one)):
        draws = many(lambda k, c=count: jax.grad(loss)(logits, k, c), 20000)
        assert z_score(draws, jax.grad(exact)(logits)) < 5


def test_refusals():
    key = jax.random.key(0)
    with pytest.raises(InvalidEstimator, match="doubly-reparameterized"):
        rx.iwae_estimate(joint(THETA), posterior(THETA), key=key, num_samples=4, estimator=StickingTheLanding())
    with pytest.raises(InvalidEstimator, match="elbo"):
        rx.elbo_estimate(joint(THETA), posterior(THETA), key=key, estimator="vimco")
    with pytest.raises(InvalidEstimator, match="vimco"):
        rx.iwae_estimate(lambda z: 0.0, dist.Poisson(1.0), key=key, num_samples=2, estimator=DoublyReparameterized())
    with pytest.raises(InvalidEstimator, match="edge"):
        rx.iwae_estimate(lambda z: z, dist.Uniform(0.0, 1.0), key=key, num_samples=2, estimator="vimco")
    with pytest.raises(InvalidEstimator, match="continuous"):
        rx.elbo_estimate(jnp.sign, posterior(THETA), key=key, estimator=StickingTheLanding())
    with pytest.raises(InvalidEstimator, match="instance"):
        rx.expectation(lambda z: z, posterior(THETA), key=key, estimator="sticking-the-landing")
    value = rx.elbo_estimate(
        AssumedContinuous(lambda z: z * jnp.sign(z)), posterior(THETA), key=key, estimator="pathwise"
    )
    assert jnp.isfinite(value)


@pytest.mark.parametrize("probs", [[0.3, 0.0], [0.3, 1.0], [0.3, 0.6]])
def test_vimco_does_not_pass_over_probabilities_of_zero_and_one(probs):
    """What is never drawn has a derivative that no draw shows: not a number, and not 0."""

    def loss(p):
        q = dist.Bernoulli(probs=p).to_event(1)
        return rx.iwae_estimate(
            lambda z: -jnp.sum((z.astype(float) - 0.2) ** 2), q, key=jax.random.key(0), num_samples=4, estimator="vimco"
        )

    value, slope = jax.value_and_grad(loss)(jnp.array(probs))
    assert jnp.isfinite(value)
    assert jnp.isnan(slope).any() == (probs[1] in (0.0, 1.0))
