"""The categorical distribution over whole numbers: sums, values, support, mean, samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from reparax.distributions import IntegerCategorical

LOGITS = np.array([[0.3, -1.0, 2.0, 0.0], [5.0, 5.0, -30.0, 1.0]])
LOW = -2


def law() -> IntegerCategorical:
    return IntegerCategorical(jnp.asarray(LOGITS, jnp.float32), LOW)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float32])
def test_probabilities_are_the_softmax_from_low_up(dtype):
    values = law().enumerate_support().astype(dtype)
    np.testing.assert_array_equal(values, np.tile(np.arange(LOW, LOW + 4)[:, None], (1, 2)))
    found = np.asarray(law().log_prob(values), np.float64)
    np.testing.assert_allclose(found.T, special.log_softmax(LOGITS, axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.exp(found).sum(axis=0), 1.0, atol=1e-6)


def test_nothing_lies_outside():
    log_prob = jax.jit(lambda x: law().log_prob(x))
    assert np.all(np.asarray(log_prob(jnp.array([[LOW - 1, LOW - 1], [LOW + 4, 99]]))) == -np.inf)


def test_mean_is_that_of_the_values():
    expected = special.softmax(LOGITS, axis=1) @ np.arange(LOW, LOW + 4)
    np.testing.assert_allclose(law().mean, expected, rtol=1e-5)


def test_samples_have_the_frequencies_of_the_probabilities():
    draws = np.asarray(law().sample(jax.random.key(1), (20_000,)))
    assert draws.shape == (20_000, 2)
    counts = np.bincount(draws[:, 0] - LOW, minlength=4)
    assert stats.chisquare(counts, 20_000 * special.softmax(LOGITS[0])).pvalue > 1e-5
