"""Models that are explored: small ones, fitted once."""

import jax
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.explorer import load


@pytest.fixture(autouse=True, scope="module")
def _settings_of_a_user():
    # Also of the threads that compute: the settings of a test reach only its own.
    before = jax.config.jax_numpy_rank_promotion, jax.config.jax_numpy_dtype_promotion
    jax.config.update("jax_numpy_rank_promotion", "allow")
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_rank_promotion", before[0])
    jax.config.update("jax_numpy_dtype_promotion", before[1])


HOSTILE = "<img src=x onerror=alert(1)>"


def table(count=240, seed=0):
    """Columns of all kinds that depend on one hidden number, with gaps and a hostile name."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=count)
    gaps = rng.random(count) < 0.2
    amount = np.where(hidden > 0.7, 0.0, np.round(np.exp(1 + hidden + 0.2 * rng.normal(size=count)), 2))
    return pl.DataFrame(
        {
            "height": hidden + 0.2 * rng.normal(size=count),
            HOSTILE: np.where(hidden + 0.5 * rng.normal(size=count) > 0, "=yes", "</script>"),
            "count": rng.poisson(np.exp(0.5 * hidden + 1)),
            "amount": amount,
            "weight": [
                None if gap else value for gap, value in zip(gaps, hidden + rng.normal(size=count), strict=True)
            ],
            "day": np.datetime64("2024-01-01") + (100 * rng.random(count) + 40 * hidden).astype(int),
        }
    )


@pytest.fixture(scope="session")
def rows():
    return table()


@pytest.fixture(scope="session")
def fitted(rows):
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return rx.fit(
            rows, latent_dim=1, prior="standard-normal", width=16, depth=1, epochs=40, learning_rate=0.01,
            relations="none", seed=0, patience=100,
        )  # fmt: skip


@pytest.fixture(scope="session")
def explorer(fitted, rows):
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return load(fitted, rows, "rows")
