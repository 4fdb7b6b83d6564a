"""Mixtures of discretized logistics over the channels of a pixel: sums over all values, slopes, draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from reparax.distributions import DiscretizedLogisticMixture

LOW, HIGH = -1, 4
LEVELS = np.arange(LOW, HIGH + 1)
RNG = np.random.default_rng(0)


def law(channels: int, components: int = 3, batch: tuple[int, ...] = (), seed: int = 0, scale: float = 1.0):
    rng = np.random.default_rng(seed)
    made = (
        rng.normal(size=(*batch, components)),
        rng.uniform(LOW - 1, HIGH + 1, (*batch, channels, components)),
        scale * rng.uniform(0.2, 1.5, (*batch, channels, components)),
        rng.uniform(-1, 1, (*batch, channels * (channels - 1) // 2, components)),
    )
    return DiscretizedLogisticMixture(*(jnp.asarray(each, jnp.float32) for each in made), LOW, HIGH)


def logistic(x: float, loc: float, scale: float) -> float:
    """The logarithm of the probability of one level, from scipy's distribution function."""
    if x == LOW:
        return stats.logistic.logcdf(x + 0.5, loc, scale)
    if x == HIGH:
        return stats.logistic.logsf(x - 0.5, loc, scale)
    return np.log(stats.logistic.cdf(x + 0.5, loc, scale) - stats.logistic.cdf(x - 0.5, loc, scale))


def by_hand(q: DiscretizedLogisticMixture, x: np.ndarray) -> float:
    logits, loc, scale, slopes = (np.asarray(each, np.float64) for each in (q.logits, q.loc, q.scale, q.slopes))
    terms = []
    for k, weight in enumerate(logits - logsumexp(logits)):
        total, place = weight, 0
        for j in range(len(x)):
            shifted = loc[j, k]
            for i in range(j):
                shifted += slopes[place, k] * (x[i] - loc[i, k])
                place += 1
            total += logistic(x[j], shifted, scale[j, k])
        terms.append(total)
    return logsumexp(terms)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_probabilities_are_those_by_hand_and_sum_to_one(channels):
    q = law(channels, seed=channels)
    grid = np.array(list(itertools.product(LEVELS, repeat=channels)))
    found = np.asarray(jax.jit(lambda x: q.log_prob(x))(jnp.asarray(grid)), np.float64)
    assert np.exp(found).sum() == pytest.approx(1, abs=2e-5)
    some = RNG.choice(len(grid), min(40, len(grid)), replace=False)
    np.testing.assert_allclose(found[some], [by_hand(q, grid[each]) for each in some], rtol=2e-4, atol=2e-4)


def test_draws_have_the_frequencies_of_the_probabilities():
    q = law(2, seed=7)
    draws = np.asarray(q.sample(jax.random.key(0), (20_000,))).astype(int)
    grid = np.array(list(itertools.product(LEVELS, repeat=2)))
    expected = np.exp(np.asarray(q.log_prob(jnp.asarray(grid)), np.float64))
    counts = np.zeros((len(LEVELS), len(LEVELS)))
    np.add.at(counts, tuple((draws - LOW).T), 1)
    kept = expected * len(draws) > 5
    found, wanted = counts.ravel()[kept], expected[kept] * len(draws)
    assert stats.chisquare(found, wanted * found.sum() / wanted.sum()).pvalue > 1e-5


def test_pixels_of_an_image_are_independent_of_each_other():
    q = law(3, batch=(2, 4), seed=3)
    assert (q.batch_shape, q.event_shape) == ((2, 4), (3,))
    x = q.sample(jax.random.key(1), (5,))
    assert x.shape == (5, 2, 4, 3)
    image = q.to_event(2)
    total = jnp.sum(q.log_prob(x), axis=(1, 2))
    np.testing.assert_allclose(image.log_prob(x), total, rtol=1e-5)
    one = DiscretizedLogisticMixture(q.logits[1, 2], q.loc[1, 2], q.scale[1, 2], q.slopes[1, 2], LOW, HIGH)
    np.testing.assert_allclose(q.log_prob(x)[:, 1, 2], one.log_prob(x[:, 1, 2]), rtol=1e-4, atol=1e-5)


def test_the_mean_is_that_of_draws_inside_the_range():
    loc = jnp.array([[90.0, 140.0], [120.0, 100.0]])
    made = jnp.array([0.3, -0.2]), loc, jnp.full((2, 2), 5.0), jnp.array([[0.9, -0.5]])
    q = DiscretizedLogisticMixture(*made, 0, 255)
    draws = np.asarray(q.sample(jax.random.key(2), (40_000,)))
    assert np.abs((draws.mean(axis=0) - np.asarray(q.mean)) / (draws.std(axis=0) / 200)).max() < 5


def test_slopes_are_those_of_finite_differences():
    q = law(3, seed=5)
    x = jnp.array([0.0, 2.0, 3.0])

    def value(parameters):
        return DiscretizedLogisticMixture(*parameters, LOW, HIGH).log_prob(x)

    parameters = (q.logits, q.loc, q.scale, q.slopes)
    found = jax.jit(jax.grad(value))(parameters)
    for place, (slope, at) in enumerate(zip(found, parameters, strict=True)):
        index = tuple(np.zeros(at.ndim, int))
        step = 1e-2
        ends = [
            by_hand(
                DiscretizedLogisticMixture(
                    *(p.at[index].add(s) if i == place else p for i, p in enumerate(parameters)), LOW, HIGH
                ),
                np.asarray(x),
            )
            for s in (step, -step)
        ]
        assert float(slope[index]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=2e-3)
