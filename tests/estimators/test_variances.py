"""Variances that are known exactly, met within the error of measuring them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.estimators import MeanBaseline

from ..monte_carlo import many, variance_z_score, z_score

LOC, SCALE, TARGET = 1.0, 0.8, 0.4
DELTA = LOC - TARGET
D2, D4, S2 = DELTA**2, DELTA**4, SCALE**2
NORMAL = {
    "score-function": (D4 / S2 + 14 * D2 + 15 * S2, 2 * D4 / S2 + 60 * D2 + 74 * S2),
    "pathwise": (4 * S2, 4 * D2 + 8 * S2),
    "measure-valued": (4 * D2 * (4 / np.pi - 1), 4 * D2 + 4 * S2),
}
CENTERED = (8 * D2 + 10 * S2, 40 * D2 + 56 * S2)
OPTIMAL = (8 * D2 + 6 * S2, 40 * D2 + 24 * S2)


def normal_gradients(estimator, num_samples, repeats):
    def loss(theta, key):
        q = dist.Normal(theta[0], theta[1])
        return rx.expectation(lambda z: (z - TARGET) ** 2, q, key=key, num_samples=num_samples, estimator=estimator)

    return many(lambda key: jax.grad(loss)(jnp.array([LOC, SCALE]), key), repeats)


@pytest.mark.parametrize("name", NORMAL)
def test_single_sample_variance_for_a_normal_and_a_quadratic(name):
    assert variance_z_score(normal_gradients(name, 1, 100000), NORMAL[name]) < 5


def test_mean_baseline_approaches_the_centered_variance():
    draws = normal_gradients(MeanBaseline(num_pilot=1000), 64, 4000)
    # One pilot serves 64 draws: its own error adds Var f E[s^2] / 1000 per pilot, as the last term.
    extra = np.array([1, 2]) / S2 * (4 * D2 * S2 + 2 * S2**2) / 1000
    assert variance_z_score(draws * 8, np.array(CENTERED) + extra) < 5


@pytest.mark.parametrize("count", [2, 4])
def test_leave_one_out_variance_formula(count):
    """A/K + B/(K (K-1)), A = E[(f - E f)^2 s^2] - g^2, B = Var f E[s^2] + g^2."""
    spread = 4 * D2 * S2 + 2 * S2**2
    gradient = np.array([2 * DELTA, 2 * SCALE])
    b = spread * np.array([1 / S2, 2 / S2]) + gradient**2
    exact = np.array(CENTERED) / count + b / (count * (count - 1))
    assert variance_z_score(normal_gradients("leave-one-out", count, 50000), exact) < 5


def test_optimal_baseline_approaches_the_optimal_variance():
    draws = normal_gradients("optimal-baseline", 2048, 2000)
    measured = np.var(np.asarray(draws), axis=0) * 2048
    np.testing.assert_allclose(measured, OPTIMAL, rtol=0.12)


P, TOY = 0.7, 0.35
D, M = 1 - 2 * TOY, min(P, 1 - P)
F1, F0 = (1 - TOY) ** 2, TOY**2
BERNOULLI = {
    ("score-function", 1): P * (1 - P) * ((1 - P) * F1 + P * F0) ** 2,
    ("leave-one-out", 2): D**2 * (P * (1 - P) / 2 - P**2 * (1 - P) ** 2),
    ("arm", 2): D**2 * ((2 / 3) * (1 / 8 - (1 / 2 - M) ** 3) - M**2 * (1 - M) ** 2),
    ("disarm", 2): D**2 * (1 - M) ** 2 * M * (1 / 2 - M),
    ("enumeration", 1): 0.0,
}


@pytest.mark.parametrize(("name", "count"), BERNOULLI)
def test_bernoulli_toy(name, count):
    """E[(b - t)^2] in the logit: gradient p (1 - p) (1 - 2t)."""

    def loss(logit, key):
        q = dist.Bernoulli(logits=logit)
        return rx.expectation(lambda b: (b.astype(float) - TOY) ** 2, q, key=key, num_samples=count, estimator=name)

    draws = many(lambda key: jax.grad(loss)(jnp.log(jnp.float32(P / (1 - P))), key), 50000)
    assert z_score(draws, P * (1 - P) * D) < 5
    assert variance_z_score(draws, BERNOULLI[name, count]) < 5


def test_mixture_weight_gradient_enumerated_beats_implicit_beats_leave_one_out():
    """Per evaluation of f, as measured for two Gaussian components."""

    def variance(name, count):
        def loss(logit, key):
            weights = dist.Categorical(logits=jnp.stack([logit, jnp.float32(0)]))
            q = dist.MixtureSameFamily(weights, dist.Normal(jnp.array([-1.0, 1.0]), 0.7))
            return rx.expectation(jnp.sin, q, key=key, num_samples=count, estimator=name)

        return np.var(np.asarray(many(lambda k: jax.grad(loss)(jnp.float32(0.3), k), 10000)))

    enumerated = 2 * variance("rao-blackwellized-mixture", 1)
    implicit = variance("pathwise", 1)
    leave_one_out = 2 * variance("leave-one-out", 2)
    assert enumerated < implicit < leave_one_out
