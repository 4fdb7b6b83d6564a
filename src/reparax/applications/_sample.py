"""Generation: new examples from the prior and the likelihood."""

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from reparax.applications._batches import LARGEST_BATCH, VALUES_PER_BATCH
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.recipe import FittedModel

Draw = Callable[[Model, Array], Array]


def sample(fitted: FittedModel, num_samples: int, *, key: jax.Array) -> np.ndarray:
    """Examples drawn from p(z) p(x | z), in the user's units: samples, never means or the most probable values.

    Args:
        fitted: The fitted model.
        num_samples: How many.
        key: The random key; the same key gives the same examples.

    Raises:
        RecipeError: A number of samples below 1.
    """
    return fitted.units.restored(_draw(_sample, fitted, num_samples, key))


def sample_means(fitted: FittedModel, num_samples: int, *, key: jax.Array) -> np.ndarray:
    """E[x | z] at z drawn from the prior, in the user's units: smoother pictures than `sample`, but not samples.

    Raises:
        RecipeError: A number of samples below 1.
    """
    return fitted.units.restored(_draw(_sample_mean, fitted, num_samples, key))


def _draw(function: Draw, fitted: FittedModel, num_samples: int, key: jax.Array) -> np.ndarray:
    if num_samples < 1:
        raise RecipeError(expected="a number of samples from 1 up", got=f"{num_samples}", cure="ask for at least one")
    size = max(1, min(LARGEST_BATCH, VALUES_PER_BATCH // fitted.units.summary.size))
    pieces = []
    for batch, start in enumerate(range(0, num_samples, size)):
        keys = jax.random.split(jax.random.fold_in(key, batch), size)
        pieces.append(np.asarray(_batch(function, fitted.model, keys))[: num_samples - start])
    return np.concatenate(pieces)


@eqx.filter_jit
def _batch(function: Draw, model: Model, keys: Array) -> Array:
    return jax.vmap(lambda key: function(model, key))(keys)


def _sample(model: Model, key: Array) -> Array:
    return model.sample(key)


def _sample_mean(model: Model, key: Array) -> Array:
    return model.likelihood(model.prior(model.posterior).sample(key)).mean
