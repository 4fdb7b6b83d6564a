"""Programs with an exact answer: dynamic programming, the forward algorithm, Kalman, sums over all states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax import programs
from reparax.errors import InvalidEstimator

from ..monte_carlo import many, z_score

TABLE = jnp.array([1.0, -2.0, 0.5])


def check(loss, exact, theta, repeats=10000, hessian=False):
    """Value, gradient and perhaps Hessian, in standard errors."""
    values, gradients = many(lambda key: jax.value_and_grad(loss)(theta, key), repeats)
    assert z_score(values, exact(theta)) < 5
    assert z_score(gradients, jax.grad(exact)(theta)) < 5
    if hessian:
        assert z_score(many(lambda key: jax.hessian(loss)(theta, key), repeats), jax.hessian(exact)(theta)) < 5


# ---- a hidden Markov model: E over its states of prod p(y_t | s_t) is the likelihood

SEEN = jnp.array([0, 1, 1, 0])
MARKOV = jnp.concatenate([jnp.array([0.2, -0.4, 0.3, 0.5, 0.1, -0.6, 0.4, 0.0, -0.2]), jnp.array([0.8, -0.5, 0.1])])


def markov_parts(theta):
    return jax.nn.log_softmax(theta[:9].reshape(3, 3)), jax.nn.sigmoid(theta[9:])


def markov_likelihood(theta):
    logits, ones = markov_parts(theta)
    emitted = jnp.stack([1 - ones, ones])
    alpha = jnp.array([1.0, 0.0, 0.0])
    for y in SEEN:
        alpha = (alpha @ jnp.exp(logits)) * emitted[y]
    return jnp.sum(alpha)


def markov(theta, key, estimator="auto"):
    logits, ones = markov_parts(theta)

    def program(key, upstream):
        def step(carry, now):
            state, weight, upstream = carry
            y, key = now
            state, upstream = rx.draw(dist.Categorical(logits=logits[state]), upstream, key=key, estimator=estimator)
            return (state, weight * jnp.where(y == 1, ones[state], 1 - ones[state]), upstream), None

        keys = jax.random.split(key, len(SEEN))
        (_, weight, upstream), _ = jax.lax.scan(step, (0, jnp.float32(1.0), upstream), (SEEN, keys))
        return rx.cost(weight, upstream)

    return rx.simulate(program, key=key, num_samples=4)


def test_hidden_markov_model():
    check(markov, markov_likelihood, MARKOV, repeats=10000)


# ---- a linear-Gaussian state-space model

OBSERVED = jnp.array([0.5, -0.2, 0.9])
GAUSSIAN = jnp.array([0.8, -0.3, 0.2])  # slope, log of the noise of the state, offset


def kalman(theta):
    slope, noise, offset = theta[0], jnp.exp(2 * theta[1]), theta[2]
    mean, variance, total = jnp.float32(0.0), jnp.float32(0.0), jnp.float32(0.0)
    for y in OBSERVED:
        mean, variance = slope * mean + offset, slope**2 * variance + noise
        total += jax.scipy.stats.norm.logpdf(y, mean, jnp.sqrt(variance + 1.0))
        gain = variance / (variance + 1.0)
        mean, variance = mean + gain * (y - mean), (1 - gain) * variance
    return jnp.exp(total)


@pytest.mark.parametrize("estimator", ["pathwise", "score-function"])
def test_linear_gaussian_state_space_model(estimator):
    def loss(theta, key):
        def program(key, upstream):
            def step(carry, now):
                state, upstream = carry
                y, key = now
                q = dist.Normal(theta[0] * state + theta[2], jnp.exp(theta[1]))
                state, upstream = rx.draw(q, upstream, key=key, estimator=estimator)
                return (state, upstream), jax.scipy.stats.norm.logpdf(y, state, 1.0)

            start = (jnp.float32(0.0), upstream)
            (_, upstream), terms = jax.lax.scan(step, start, (OBSERVED, jax.random.split(key, len(OBSERVED))))
            return rx.cost(jnp.exp(jnp.sum(terms)), upstream)

        return rx.simulate(program, key=key, num_samples=4)

    check(loss, kalman, GAUSSIAN, hessian=estimator == "score-function")


@pytest.mark.parametrize("moves", ["pathwise", "leave-one-out"])
def test_the_likelihood_of_a_particle_filter_with_resampling(moves):
    particles = 8

    def loss(theta, key):
        def program(key, upstream):
            def step(carry, now):
                states, upstream = carry
                y, key = now
                move, resample = jax.random.split(key)
                q = dist.Normal(theta[0] * states + theta[2], jnp.exp(theta[1]))
                states, upstream = rx.draw(q, upstream, key=move, estimator=moves)
                log_weights = jax.scipy.stats.norm.logpdf(y, states, 1.0)
                ancestors = dist.Categorical(logits=jnp.broadcast_to(log_weights, (particles, particles)))
                chosen, upstream = rx.draw(ancestors, upstream, key=resample)
                return (states[chosen], upstream), jax.nn.logsumexp(log_weights) - jnp.log(float(particles))

            start = (jnp.zeros(particles), upstream)
            (_, upstream), terms = jax.lax.scan(step, start, (OBSERVED, jax.random.split(key, len(OBSERVED))))
            return rx.cost(jnp.exp(jnp.sum(terms)), upstream)

        return rx.simulate(program, key=key, num_samples=4)

    check(loss, kalman, GAUSSIAN, repeats=3000)


# ---- all estimators in one program, against the sum over all states

MIXED = jnp.array([0.3, -1.5, 0.4, 1.2, -0.1, 0.6])


def mixed_value(b, k, n, x):
    return jnp.sin(x + TABLE[k]) + b * TABLE[n] * x + 4.0 * TABLE[n] + 2.0 * b


def mixed_parts(theta, b, k):
    """The distributions of b, then k given b, then n given k, and the loc of x given n and b."""
    return (
        theta[0],
        jnp.stack([theta[1] * b, theta[2], jnp.zeros(())]),
        jnp.stack([theta[3] * (k - 1.0), jnp.zeros(()), theta[0]]),
    )


def mixed_exact(theta):
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    total = jnp.float32(0.0)
    for b, k, n in itertools.product(range(2), range(3), range(3)):
        b_logit, k_logits, n_logits = mixed_parts(theta, float(b), float(k))
        p = jax.nn.sigmoid(b_logit if b else -b_logit) * jax.nn.softmax(k_logits)[k] * jax.nn.softmax(n_logits)[n]
        x = theta[4] * n + theta[5] * b + jnp.asarray(nodes, jnp.float32)
        inner = jnp.sum(jnp.asarray(weights, jnp.float32) * mixed_value(float(b), k, n, x)) / np.sqrt(2 * np.pi)
        early = b * theta[1] + TABLE[k]
        total += p * (inner + early)
    return total


def mixed(theta, key, estimators, num_samples=4):
    def program(key, upstream):
        keys = jax.random.split(key, 4)
        b, upstream = rx.draw(
            dist.Bernoulli(logits=mixed_parts(theta, 0.0, 0.0)[0]), upstream, key=keys[0], estimator=estimators[0]
        )
        b = b.astype(float)
        q = dist.Categorical(logits=mixed_parts(theta, b, 0.0)[1])
        k, upstream = rx.draw(q, upstream, key=keys[1], estimator=estimators[1])
        early = rx.cost(b * theta[1] + TABLE[k], upstream)
        q = dist.Categorical(logits=mixed_parts(theta, b, k.astype(float))[2])
        n, upstream = rx.draw(q, upstream, key=keys[2], estimator=estimators[2])
        q = dist.Normal(theta[4] * n.astype(float) + theta[5] * b, 1.0)
        x, upstream = rx.draw(q, upstream, key=keys[3], estimator=estimators[3])
        return early + rx.cost(mixed_value(b, k, n, x), upstream)

    return rx.simulate(program, key=key, num_samples=num_samples)


@pytest.mark.parametrize(
    "estimators",
    [
        ("disarm", "enumeration", "leave-one-out", "pathwise"),
        pytest.param(("leave-one-out", "leave-one-out", "enumeration", "leave-one-out"), marks=pytest.mark.full),
        ("enumeration", "leave-one-out", "enumeration", "pathwise"),
        pytest.param(("disarm", "leave-one-out", "leave-one-out", "leave-one-out"), marks=pytest.mark.full),
    ],
)
def test_estimators_mix(estimators):
    num_samples = 3 if estimators[0] == "disarm" else 4

    def loss(theta, key):
        return mixed(theta, key, estimators, num_samples)

    check(loss, mixed_exact, MIXED, repeats=10000, hessian=estimators[0] == "leave-one-out")


def test_enumeration_with_a_path_leaves_only_the_noise_of_the_path():
    plan = None

    def program(key, upstream):
        nonlocal plan
        z, upstream = rx.draw(dist.Categorical(logits=MIXED[:3]), upstream, key=key)
        return rx.cost(TABLE[z], upstream)

    value = rx.simulate(program, key=jax.random.key(0), num_samples=1)
    np.testing.assert_allclose(value, jnp.sum(jax.nn.softmax(MIXED[:3]) * TABLE), rtol=1e-6)
    plan = programs.explain(program, key=jax.random.key(0))
    assert plan.sites[0].estimator == "enumeration"


def test_second_derivatives_through_pairs_are_refused():
    def loss(theta):
        return mixed(theta, jax.random.key(0), ("disarm", "enumeration", "leave-one-out", "pathwise"))

    with pytest.raises(InvalidEstimator, match="second derivative"):
        jax.hessian(loss)(MIXED)


def test_pairs_of_one_layer_are_disarm():
    """With equal logits the program's pairs have DisARM's variance, given by the same estimator of `expectation`."""
    logits = jnp.array([0.3, -0.8, 0.5])
    weights = jnp.array([1.0, 2.0, -0.5])

    def f(b):
        return (jnp.sum(b.astype(float) * weights) + 10.0) ** 2

    def program(logits, key, upstream):
        b, upstream = rx.draw(dist.Bernoulli(logits=logits), upstream, key=key, estimator="disarm")
        return rx.cost(f(b), upstream)

    def sites(logits, key):
        return rx.simulate(lambda k, up: program(logits, k, up), key=key, num_samples=4)

    def whole(logits, key):
        return rx.expectation(f, dist.Bernoulli(logits=logits), key=key, num_samples=4, estimator="disarm")

    ours = many(lambda key: jax.grad(sites)(logits, key), 20000)
    theirs = many(lambda key: jax.grad(whole)(logits, key), 20000, seed=1)
    np.testing.assert_allclose(np.var(ours, axis=0), np.var(theirs, axis=0), rtol=0.1)
