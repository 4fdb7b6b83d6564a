"""The optimizer of recipes: what decays, and the rate over time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.training import cosine_adam


@pytest.fixture(autouse=True)
def _promotion_of_optax():
    """optax counts steps in whole numbers and multiplies them with real ones."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_only_matrices_decay():
    parameters = {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2), "scalar": jnp.ones(())}
    optimizer = cosine_adam(0.1, 100, weight_decay=0.5)
    zero = {name: jnp.zeros_like(value) for name, value in parameters.items()}
    updates, _ = optimizer.update(zero, optimizer.init(parameters), parameters)
    # The first rate is a tenth of the highest: 0.01, times 0.5.
    np.testing.assert_allclose(updates["matrix"], -0.005, rtol=1e-6)
    np.testing.assert_array_equal(updates["vector"], 0.0)
    np.testing.assert_array_equal(updates["scalar"], 0.0)
