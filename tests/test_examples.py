"""The examples at reduced size: what they print must hold, not only run."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        spec.loader.exec_module(module)
    return module


def distances(found, method):
    """From finite differences, in standard errors of both."""
    referee, part = found["finite differences"], found[method]
    return np.abs(part.mean - referee.mean) / np.maximum(np.hypot(part.error, referee.error), 1e-12)


def barrier(draws, difference_draws):
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return example("barrier_option").main(draws, difference_draws)


def test_barrier_option():
    """All four sensitivities by boundary terms; three of four missed, by far, without them."""
    found = barrier(2000, 200_000)
    assert np.all(distances(found, "boundary") < 5)
    assert np.all(found["boundary"].variance < found["finite differences"].variance * [1, 1, 1, 1.2])
    for blind in ("pathwise", "leave-one-out"):
        assert np.all(distances(found, blind)[:3] > 8)


@pytest.mark.full
def test_barrier_option_full():
    found = barrier(40_000, 4_000_000)
    assert np.all(distances(found, "boundary") < 4)


def test_categorical_vae_is_trained_and_its_bound_is_the_exact_one():
    module = example("categorical_vae")
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        model, bounds = module.train(500)
        images = module.data()[1][:20]
        estimated, error, exact = module.referee(model, images)
        # What fits the pixels' means alone, the best without a code.
        shares = jnp.clip(jnp.mean(module.data()[0], axis=0), 0.01, 0.99)
        alone = jnp.mean(jnp.sum(images * jnp.log(shares) + (1 - images) * jnp.log1p(-shares), axis=1))
    assert abs(estimated - exact) < 5 * error
    assert exact > alone + 2
    assert bounds[-20:].mean() > bounds[:20].mean() + 10
