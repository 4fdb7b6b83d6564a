"""Shared by the tests of the estimators."""

import jax
import pytest


@pytest.fixture
def enable_x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
