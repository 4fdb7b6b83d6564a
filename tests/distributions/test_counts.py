"""Distributions of counts against scipy in float64, by summation, and in the edges of float32."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import stats

from reparax.distributions import NegativeBinomial, OfTotal, Poisson, ZeroInflated

KEY = jax.random.key(0)
MEANS = np.array([1e-8, 1e-3, 0.3, 4.0, 250.0, 1e4, 1e5], np.float32)
CONCENTRATIONS = np.array([3e-3, 0.1, 1.0, 7.7, 300.0, 2900.0], np.float32)


def places(mean: float) -> np.ndarray:
    """Counts near the mean and in both tails."""
    spread = max(1.0, mean**0.5)
    values = {0, 1, 2, 5, 7, 8, 9, 100, *(round(mean + k * spread) for k in (-3, -1, 0, 1, 4)), round(3 * mean)}
    return np.array(sorted(value for value in values if 0 <= value <= 3 * mean + 100))


def near(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("mean", MEANS)
def test_poisson_is_that_of_scipy_in_float32(mean):
    x = places(float(mean))
    near(Poisson(jnp.asarray(mean)).log_prob(jnp.asarray(x, jnp.float32)), stats.poisson.logpmf(x, float(mean)))


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("r", CONCENTRATIONS)
def test_negative_binomial_is_that_of_scipy_in_float32(mean, r):
    x, m, n = places(float(mean)), float(mean), float(r)
    # scipy's own value cancels in float64 only beyond what is compared here.
    expected = stats.nbinom.logpmf(x, n, n / (n + m))
    near(NegativeBinomial(jnp.asarray(mean), jnp.asarray(r)).log_prob(jnp.asarray(x, jnp.float32)), expected)


def test_densities_sum_to_one_and_have_their_moments():
    x = np.arange(4000)
    gate = jnp.asarray(-0.7)
    for mean, r in itertools.product((0.2, 3.0, 60.0), (0.5, 20.0)):
        counts = NegativeBinomial(jnp.float32(mean), jnp.float32(r))
        for law in (Poisson(jnp.float32(mean)), counts, ZeroInflated(counts, gate)):
            mass = np.exp(np.asarray(law.log_prob(jnp.asarray(x, jnp.float32)), np.float64))
            assert abs(mass.sum() - 1) < 1e-4
            assert abs(mass @ x / float(law.mean) - 1) < 1e-4
            assert abs(mass @ (x - mass @ x) ** 2 / float(law.variance) - 1) < 1e-3


def test_zero_inflation_is_a_mixture():
    law = ZeroInflated(Poisson(jnp.float32(2.5)), jnp.float32(0.4))
    g, x = 1 / (1 + np.exp(-0.4)), np.arange(20)
    expected = g * (x == 0) + (1 - g) * stats.poisson.pmf(x, 2.5)
    near(law.log_prob(jnp.asarray(x, jnp.float32)), np.log(expected))


@pytest.mark.parametrize("x", [0.0, 1.0, 20.0, 1e5, 1.6e7])
@pytest.mark.parametrize("log_mean", [-30.0, 0.0, 15.0])
def test_values_and_derivatives_are_finite_at_the_edges(x, log_mean):
    def log_prob(parameters):
        mean, r, gate = jnp.exp(parameters[0]), jnp.exp(parameters[1]), parameters[2]
        law = ZeroInflated(NegativeBinomial(mean, r), gate)
        return law.log_prob(jnp.float32(x)) + ZeroInflated(Poisson(mean), gate).log_prob(jnp.float32(x))

    for log_r, gate in itertools.product((-6.0, 8.0), (-12.0, 12.0)):
        value, slope = jax.jit(jax.value_and_grad(log_prob))(jnp.array([log_mean, log_r, gate]))
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


def test_derivatives_are_those_of_scipys_density():
    def ours(parameters, x):
        return NegativeBinomial(jnp.exp(parameters[0]), jnp.exp(parameters[1])).log_prob(x)

    def theirs(parameters, x):
        m, r = np.exp(parameters)
        return stats.nbinom.logpmf(x, r, r / (r + m))

    at, step = np.array([1.3, 0.4]), 1e-5
    for x in (0, 1, 4, 11, 90):
        slope = jax.grad(ours)(jnp.asarray(at, jnp.float32), jnp.float32(x))
        expected = [(theirs(at + d, x) - theirs(at - d, x)) / (2 * step) for d in step * np.eye(2)]
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)


def test_negative_values_have_no_probability():
    one = jnp.ones(())
    for law in (Poisson(one), NegativeBinomial(one, one), ZeroInflated(Poisson(one), one)):
        assert float(jax.jit(law.log_prob)(jnp.float32(-1.0))) == -np.inf


def _nb(concentration, mean):
    return NegativeBinomial(mean, concentration)


TOTAL = NegativeBinomial(jnp.float32(6.0), jnp.float32(2.0))
SHARES = np.array([0.7, 0.3])
LOG_SHARES = jnp.log(jnp.asarray(SHARES, jnp.float32))
GRID = np.stack(np.meshgrid(np.arange(90), np.arange(90), indexing="ij"), axis=-1).reshape(-1, 2)


def grid_mass(law) -> np.ndarray:
    """The probabilities of all examples at once, each with its own size."""
    return np.exp(np.asarray(law.log_prob(jnp.asarray(GRID, jnp.float32)), np.float64))


def test_latent_size_is_integrated_out():
    """Against quadrature over a Gamma size of independent Poisson counts."""
    law = OfTotal(LOG_SHARES, TOTAL, Partial(Poisson), exact=True)
    mass = grid_mass(law)
    assert abs(mass.sum() - 1) < 1e-4
    size = np.linspace(1e-4, 120, 60001)
    prior = stats.gamma.pdf(size, 2.0, scale=3.0)
    for x in ((0, 0), (3, 1), (0, 9), (14, 5)):
        integrand = prior * np.prod([stats.poisson.pmf(k, size * s) for k, s in zip(x, SHARES, strict=True)], axis=0)
        assert abs(float(law.log_prob(jnp.asarray(x, jnp.float32))) - np.log(np.trapezoid(integrand, size))) < 1e-4
    np.testing.assert_allclose(law.mean, mass @ GRID, rtol=1e-3)


def test_observed_size_is_a_lower_bound_by_the_stated_gap():
    """log p(l = t) + log p(x | l = t) <= log sum_l p(l) p(x | l), and exactly that joint probability."""
    law = OfTotal(LOG_SHARES, TOTAL, Partial(_nb, jnp.asarray([0.8, 3.0], jnp.float32)))
    mass = grid_mass(law)
    sizes = np.arange(400)
    of_size = stats.nbinom.pmf(sizes, 2.0, 2.0 / 8.0)
    for x in ((0, 0), (3, 1), (0, 9), (14, 5)):
        given = np.prod([
            stats.nbinom.pmf(k, r, r / (r + np.maximum(sizes, 1e-12) * s))
            for k, s, r in zip(x, SHARES, (0.8, 3.0), strict=True)
        ], axis=0)  # fmt: skip
        joint, marginal = (of_size * given)[sum(x)], (of_size * given).sum()
        value = float(law.log_prob(jnp.asarray(x, jnp.float32)))
        assert abs(value - np.log(joint)) < 1e-3
        assert value < np.log(marginal) + 1e-6
    assert mass.sum() < 1


def test_samples_have_the_means():
    makers = (Partial(Poisson), Partial(_nb, jnp.full(2, 3.0)))
    for make, exact in zip(makers, (True, False), strict=True):
        law = OfTotal(LOG_SHARES, TOTAL, make, exact=exact)
        draws = np.asarray(law.sample(KEY, (4000,)), np.float64)
        error = draws.std(axis=0) / 4000**0.5
        assert (np.abs(draws.mean(axis=0) - np.asarray(law.mean)) < 5 * error).all()
    counts = NegativeBinomial(jnp.float32(3.0), jnp.float32(1.5))
    draws = np.asarray(ZeroInflated(counts, jnp.float32(-0.5)).sample(KEY, (20000,)), np.float64)
    x = np.arange(400)
    mass = np.exp(np.asarray(ZeroInflated(counts, jnp.float32(-0.5)).log_prob(jnp.asarray(x, jnp.float32)), np.float64))
    for moment in (np.positive, np.square, lambda v: v == 0):
        expected, spread = mass @ moment(x), np.sqrt(mass @ moment(x) ** 2 - (mass @ moment(x)) ** 2) + 1e-12
        assert abs(moment(draws).mean() - expected) <= 5 * spread / 20000**0.5 + 1e-9
