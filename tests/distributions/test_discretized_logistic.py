"""The discretized logistic against differences of scipy's distribution function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from reparax.distributions import DiscretizedLogistic

PARAMETERS = [(3.2, 0.7, 0, 7), (-4.0, 12.0, -10, 3), (127.4, 0.12, 0, 255), (300.0, 20.0, 0, 255), (0.5, 0.5, 0, 1)]


def exact(loc: float, scale: float, low: int, high: int) -> np.ndarray:
    """The probability of each level, from the nearer tail so that no digits cancel; float64."""
    edges = np.arange(low, high) + 0.5
    cdf = np.concatenate([[0.0], stats.logistic.cdf(edges, loc, scale), [1.0]])
    tail = np.concatenate([[1.0], stats.logistic.sf(edges, loc, scale), [0.0]])
    return np.where(cdf[1:] < 0.5, np.diff(cdf), -np.diff(tail))


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_probabilities_are_differences_of_the_distribution_function(parameters):
    loc, scale, low, high = parameters
    levels = np.arange(low, high + 1)
    found = DiscretizedLogistic(jnp.float32(loc), jnp.float32(scale), low, high).log_prob(jnp.asarray(levels))
    expected = exact(*parameters)
    kept = expected > 1e-250
    np.testing.assert_allclose(np.asarray(found)[kept], np.log(expected[kept]), rtol=3e-5, atol=3e-5)
    assert np.isfinite(found).all()
    assert abs(np.exp(np.asarray(found, np.float64)).sum() - 1) < 1e-5


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_edge_bins_take_the_whole_tails(parameters):
    loc, scale, low, high = parameters
    law = DiscretizedLogistic(jnp.float32(loc), jnp.float32(scale), low, high)
    found = law.log_prob(jnp.array([low, high]))
    tails = [stats.logistic.logcdf(low + 0.5, loc, scale), stats.logistic.logsf(high - 0.5, loc, scale)]
    np.testing.assert_allclose(found, tails, rtol=3e-5, atol=3e-6)


def test_nothing_lies_outside_the_levels():
    log_prob = jax.jit(lambda x: DiscretizedLogistic(jnp.float32(3.0), jnp.float32(2.0), 0, 7).log_prob(x))
    assert np.all(np.asarray(log_prob(jnp.array([-1.0, 8.0, 250.0]))) == -np.inf)


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_mean_counts_the_edge_bins(parameters):
    loc, scale, low, high = parameters
    law = DiscretizedLogistic(jnp.float32(loc), jnp.float32(scale), low, high)
    assert abs(float(law.mean) - np.arange(low, high + 1) @ exact(*parameters)) < 1e-5 * (high - low)


@pytest.mark.parametrize("parameters", [(3.2, 0.7, 0, 7), (-4.0, 2.0, -10, 3), (0.5, 0.5, 0, 1)])
def test_slopes_are_those_of_the_exact_logarithm(parameters):
    loc, scale, low, high = parameters
    law = lambda p: DiscretizedLogistic(p[0], p[1], low, high).log_prob(jnp.arange(low, high + 1))  # noqa: E731
    found = jax.jacfwd(law)(jnp.array([loc, scale]))
    step = 1e-6
    by_loc = (np.log(exact(loc + step, scale, low, high)) - np.log(exact(loc - step, scale, low, high))) / (2 * step)
    by_scale = (np.log(exact(loc, scale + step, low, high)) - np.log(exact(loc, scale - step, low, high))) / (2 * step)
    np.testing.assert_allclose(found, np.stack([by_loc, by_scale], axis=1), rtol=2e-4, atol=2e-4)


def test_slopes_hold_far_out_in_the_tails():
    """There, P(x) is 2 sinh(1 / (2 scale)) exp(-|x - loc| / scale)."""
    low, high = 0, 1_000_000
    x, loc, scale = jnp.array([400_000.0, 600_000.0]), 500_000.0, jnp.array([0.3, 40.0])
    value = lambda *p: jnp.sum(DiscretizedLogistic(p[1], p[2], low, high).log_prob(p[0]))  # noqa: E731
    of_x, of_loc, of_scale = jax.grad(value, argnums=(0, 1, 2))(x, jnp.full(2, loc), scale)
    rate, side = 1 / np.float64(scale), np.array([1.0, -1.0])
    np.testing.assert_allclose(of_x, side * rate, rtol=1e-5)
    np.testing.assert_allclose(of_loc, -side * rate, rtol=1e-5)
    np.testing.assert_allclose(of_scale, rate**2 * (1e5 - 0.5 / np.tanh(rate / 2)), rtol=1e-5)
    curvature = jax.grad(lambda s: jax.grad(value, argnums=2)(x[0], jnp.float32(loc), s))(jnp.float32(40.0))
    assert float(curvature) == pytest.approx(-2e5 / 40.0**3, rel=1e-3)


def test_samples_have_the_frequencies_of_the_probabilities():
    loc, scale, low, high = 5.9, 1.5, 0, 7
    law = DiscretizedLogistic(jnp.float32(loc), jnp.float32(scale), low, high)
    draws = np.asarray(law.sample(jax.random.key(0), (20_000,)))
    counts = np.bincount(draws.astype(int), minlength=high + 1)
    assert counts.sum() == 20_000
    assert len(counts) == high + 1
    assert stats.chisquare(counts, 20_000 * exact(loc, scale, low, high)).pvalue > 1e-5
