"""The one-hot categorical: its support, its sum, its moments."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from reparax.distributions import OneHotCategorical

LOGITS = np.array([[0.3, -1.0, 2.0], [-4.0, 0.0, 4.0]])


def law() -> OneHotCategorical:
    return OneHotCategorical(jnp.asarray(LOGITS, jnp.float32))


def test_support_is_every_unit_vector_and_sums_to_one():
    values = np.asarray(law().enumerate_support())
    np.testing.assert_array_equal(values, np.tile(np.eye(3)[:, None], (1, 2, 1)))
    np.testing.assert_array_equal(law().enumerate_support(expand=False), np.eye(3)[:, None])
    found = np.asarray(law().log_prob(values), np.float64)
    np.testing.assert_allclose(found.T, special.log_softmax(LOGITS, axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.exp(found).sum(axis=0), 1.0, atol=1e-6)


def test_support_constraint_tells_one_hot_from_the_rest():
    constraint = OneHotCategorical.support
    vectors = jnp.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(constraint(vectors), [True, False, False, False])


def test_moments_are_those_of_the_enumeration():
    probabilities = special.softmax(LOGITS, axis=1)
    np.testing.assert_allclose(law().mean, probabilities, rtol=1e-5)
    np.testing.assert_allclose(law().variance, probabilities - probabilities**2, rtol=1e-5)


def test_samples_are_one_hot_with_the_frequencies_of_the_probabilities():
    draws = np.asarray(law().sample(jax.random.key(2), (20_000,)))
    assert draws.shape == (20_000, 2, 3)
    np.testing.assert_array_equal(np.sort(draws, axis=-1), np.tile([0.0, 0.0, 1.0], (20_000, 2, 1)))
    for row in range(2):
        assert stats.chisquare(draws[:, row].sum(axis=0), 20_000 * special.softmax(LOGITS[row])).pvalue > 1e-5
