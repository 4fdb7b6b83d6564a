"""Shared by these tests: numpyro's own densities mix booleans with numbers, which strict promotion forbids."""

import jax
import pytest


@pytest.fixture(autouse=True)
def numpyro_climate():
    """The promotion rules that users have."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
