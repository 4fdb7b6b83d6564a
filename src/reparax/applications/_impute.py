"""Imputation: the missing cells of a table given the observed ones."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from reparax.applications._door import dataset_of
from reparax.applications._rows import importance_samples, map_with_samples, require_samples
from reparax.data import Dataset, fill
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.tables import adapter_of


def impute(fitted: FittedModel, data: Any, *, num_samples: int = 400, seed: int = 0, context: Any = None) -> Any:
    """The table with its missing cells filled by E[x_j | observed cells], or by the most probable category.

    The expectation is over p(z | observed), by self-normalized importance sampling from the posterior q(z | observed):
    Mattei & Frellsen (2019), "MIWAE", equation 13. Observed cells are not changed.

    Args:
        fitted: A model with the columns likelihood.
        data: A table, as anything that `reparax.data.read` reads.
        num_samples: The number of importance samples for each row.
        seed: The seed of the importance samples.
        context: For a conditional model, one row of numbers for each row of the table.

    Returns:
        The kind of frame or array that was given; a polars frame for files.

    Raises:
        DataError: The data have other columns than in the fit.
        RecipeError: The model lacks the columns likelihood, or the number of samples is below 1.
    """
    dataset = dataset_of(fitted, data, context)
    return fill(dataset, _filled(fitted, dataset, _Expect(num_samples), num_samples, seed))


def impute_draws(
    fitted: FittedModel, data: Any, num_draws: int, *, num_samples: int = 400, seed: int = 0, context: Any = None
) -> list[Any]:
    """Multiple imputation: tables whose missing cells are drawn from p(x_missing | observed).

    Each draw resamples one z by its importance weight and draws the cells given z (Mattei & Frellsen 2019, section
    3.2), so that the variation between the tables is the uncertainty of the cells.

    Args:
        fitted: A model with the columns likelihood.
        data: A table, as anything that `reparax.data.read` reads.
        num_draws: The number of tables.
        num_samples: The number of importance samples for each row.
        seed: The seed of everything random.
        context: For a conditional model, one row of numbers for each row of the table.

    Raises:
        DataError: The data have other columns than in the fit.
        RecipeError: The model lacks the columns likelihood, or one of the numbers is below 1.
    """
    if num_draws < 1:
        raise RecipeError(expected="a number of draws from 1 up", got=f"{num_draws}", cure="ask for at least one")
    dataset = dataset_of(fitted, data, context)
    values = _filled(fitted, dataset, _Draws(num_samples, num_draws), num_samples * num_draws, seed)
    return [fill(dataset, values[:, index]) for index in range(num_draws)]


class _Expect(eqx.Module):
    """Expected numbers and most probable categories of one row."""

    num_samples: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> Array:
        z, log_weights = _weighted(model, x, key, self.num_samples)
        return adapter_of(model.likelihood).expected(model.likelihood, z, log_weights)


class _Draws(eqx.Module):
    """Draws of one row, shape (num_draws, columns)."""

    num_samples: int = eqx.field(static=True)
    num_draws: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> Array:
        for_z, *for_rows = jax.random.split(key, 3)
        z, log_weights = _weighted(model, x, for_z, self.num_samples)
        return adapter_of(model.likelihood).drawn(model.likelihood, z, log_weights, self.num_draws, for_rows)


def _weighted(model: Model, x: Array, key: Array, num_samples: int) -> tuple[Array, Array]:
    """Draws of z from the posterior given the observed cells, and their log importance weights."""
    z, kl = importance_samples(model, model.posterior(x), key, num_samples)
    return z, jax.vmap(lambda one: model.likelihood(one).log_prob(x))(z) - kl


def _filled(fitted: FittedModel, dataset: Dataset, function: Any, work: int, seed: int) -> np.ndarray:
    """The rows with a function applied to those that have missing cells."""
    require_samples(work)
    adapter_of(fitted.model.likelihood).require_table()
    values = dataset.values
    has_gaps = np.isnan(values).any(axis=1) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    inner = (function.num_draws,) if isinstance(function, _Draws) else ()
    result = np.broadcast_to(
        values.astype(np.float64).reshape(len(values), *(1 for _ in inner), values.shape[1]),
        (len(values), *inner, values.shape[1]),
    ).copy()
    if has_gaps.any():
        rows = map_with_samples(function, fitted, dataset.take(np.flatnonzero(has_gaps)), work, seed)
        given = result[has_gaps]
        whole = fitted.units.restored(rows.reshape(-1, rows.shape[-1]), given.reshape(-1, given.shape[-1]))
        result[has_gaps] = whole.reshape(given.shape)
    return result
