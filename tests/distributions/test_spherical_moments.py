"""Variances of the spherical and hyperbolic distributions against their own draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.distributions.hyperbolic import PoincareNormal
from reparax.distributions.sphere import PowerSpherical, VonMisesFisher

DRAWS = 100_000
CASES = [
    *((kind, jnp.float32(kappa)) for kind in (VonMisesFisher, PowerSpherical) for kappa in (0.0, 2.0, 300.0)),
]


def squares(draws, center):
    found = (np.asarray(draws, np.float64) - np.asarray(center, np.float64)) ** 2
    return found.mean(axis=0), found.std(axis=0) / np.sqrt(len(found))


@pytest.mark.parametrize(("kind", "concentration"), CASES)
def test_spherical_variance_is_that_of_the_draws(kind, concentration):
    q = kind(jnp.array([1.0, 2.0, -1.0, 0.3]), concentration)
    mean, error = squares(q.sample(jax.random.key(0), (DRAWS,)), q.mean)
    assert (np.abs(mean - q.variance) <= 5 * error).all()


def test_hyperbolic_variance_is_that_of_the_draws():
    q = PoincareNormal(jnp.array([0.3, 0.1]), jnp.array([0.5, 0.3]))
    mean, error = squares(q.sample(jax.random.key(0), (DRAWS,)), q.location)
    own = np.sqrt(DRAWS / 512)  # the fixed draws have an error of their own
    assert (np.abs(mean - q.variance) <= 5 * error * own).all()
