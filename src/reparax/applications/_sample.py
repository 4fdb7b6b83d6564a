"""Sampling new examples from the prior and the likelihood."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from reparax.applications._door import contexts_of, in_context, some_of
from reparax.applications._rows import LARGEST_BATCH, batch_size, batches, require_samples
from reparax.data import FrameKind, cell_value, to_frame
from reparax.errors import DataError, RecipeError
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel
from reparax.tables import adapter_of

Draw = Callable[[Model, Array], Array]

PROPOSALS = 20_000
"""The number of draws from the prior that are resampled to meet a condition."""
MIN_EFFECTIVE = 20.0
"""The smallest effective number of proposals: with fewer, rows would repeat a few latent points."""


def sample(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    like: FrameKind | None = None,
    context: Any = None,
) -> Any:
    """Examples drawn from p(z) p(x | z), in the user's units; samples, not means or most probable values.

    Rows of a table have the names, data types, categories, rounding and range of the data. Which cells are missing is
    drawn with the rest of the row, from P(gaps | z): `reparax.tables.Gaps`.

    Args:
        fitted: The fitted model.
        num_samples: The number of examples.
        key: The random key; the same key gives the same examples.
        where: For tables, the values of some columns in every row: z is then drawn from p(z | those cells, which are
            observed) by importance resampling of draws from the prior.
        context: For a conditional model, one row of numbers for each example, or one row for all.
        like: For tables, the library of the frame; by default an array if the data were an array of plain numbers, else
            that of the frame that was fitted, or polars.

    Returns:
        An array for images and plain numbers, else a data frame.

    Raises:
        RecipeError: The number of samples is below 1, or there is a condition but no table.
        DataError: A condition names an unknown column or category, or is too rare to sample from.
    """
    values = sample_values(fitted, num_samples, key=key, where=where, context=context)
    schema = fitted.schema
    if schema.columns is None or (like is None and schema.names is None and schema.value_kind != "mixed"):
        return values
    fitted_to = fitted.frame_kind if fitted.frame_kind != "numpy" else None
    return to_frame(values, schema, like=like or fitted_to or "polars")


def sample_values(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    context: Any = None,
) -> np.ndarray:
    """`sample` as the matrix that `reparax.data.to_frame` takes: codes for categories, NaN for missing cells."""
    if not where:
        return fitted.units.restored(_draw(_sample, fitted, num_samples, key, context))
    _refuse_both(fitted)
    cells = _conditions(fitted, where)
    rows = fitted.units.restored(_draw_where(fitted, num_samples, cells, key))
    for column, value in cells.items():
        rows[:, column] = value
    return rows


def sample_means(fitted: FittedModel, num_samples: int, *, key: jax.Array, context: Any = None) -> np.ndarray:
    """E[x | z] for z drawn from the prior, in the user's units: smoother than the output of `sample`, but not samples.

    No cell of a table is missing.

    Raises:
        RecipeError: The number of samples is below 1.
    """
    return fitted.units.restored(_draw(_sample_mean, fitted, num_samples, key, context))


def _refuse_both(fitted: FittedModel) -> None:
    if context_size(fitted.model):
        raise RecipeError(
            expected="either a condition on columns or a context",
            got="a condition on columns of a conditional model",
            cure="leave where out, and pass the context",
        )


def _draw(function: Draw, fitted: FittedModel, num_samples: int, key: jax.Array, context: Any) -> np.ndarray:
    require_samples(num_samples, fitted.units.summary.size)
    size, contexts = batch_size(fitted), contexts_of(fitted, context, num_samples)
    pieces = [
        np.asarray(_batch(function, fitted.model, _keys(key, number, size), some_of(contexts, places)))[:kept]
        for number, places, kept in batches(num_samples, size)
    ]
    return np.concatenate(pieces)


def _keys(key: Array, number: int, size: int) -> Array:
    """The keys of a batch."""
    return jax.random.split(jax.random.fold_in(key, number), size)


def _conditions(fitted: FittedModel, where: Mapping[str, Any]) -> dict[int, float]:
    """The columns of a condition, by index, and the values of their cells in the matrix."""
    columns = fitted.schema.columns
    if columns is None:
        raise RecipeError(
            expected="a table for a condition", got=f"a model of {fitted.schema.kind}", cure="leave the condition out"
        )
    places = {column.name: index for index, column in enumerate(columns)}
    unknown = [name for name in where if name not in places]
    if unknown:
        raise DataError(
            expected=f"columns of the data: {', '.join(list(places)[:12])}",
            got=", ".join(map(repr, unknown)),
            cure="name a column that the model was fitted on",
        )
    return {places[name]: cell_value(columns[places[name]], str(value)) for name, value in where.items()}


def _draw_where(fitted: FittedModel, num_samples: int, cells: Mapping[int, float], key: jax.Array) -> np.ndarray:
    """Rows whose latent variable is resampled from the prior with the probability of the cells as weight."""
    require_samples(num_samples, fitted.units.summary.size)
    row = np.full((1, fitted.units.summary.size), np.nan)
    for column, value in cells.items():
        row[0, column] = value
    seen = jnp.asarray(fitted.units.stored(row)[0], jnp.float32)
    for_z, for_choice, for_x = jax.random.split(key, 3)
    proposals = max(PROPOSALS, 2 * num_samples)
    z, log_weights = _proposed(fitted.model, seen, jax.random.split(for_z, -(-proposals // LARGEST_BATCH)))
    weights = np.exp(np.asarray(log_weights, np.float64) - float(np.max(log_weights)))
    effective = float(weights.sum() ** 2 / (weights**2).sum()) if np.isfinite(weights).all() else 0.0
    if effective < MIN_EFFECTIVE:
        raise DataError(
            expected=f"a condition that at least {MIN_EFFECTIVE:g} of {len(weights)} draws from the prior meet",
            got=f"one that {effective:.1f} of them meet, which is too rare under the model",
            cure="condition on fewer columns, or on more common values",
        )
    chosen = jax.random.choice(for_choice, len(weights), (num_samples,), p=jnp.asarray(weights / weights.sum()))
    size = batch_size(fitted)
    pieces = [
        np.asarray(_given(fitted.model, z[chosen[places]], _keys(for_x, number, size), ~jnp.isnan(seen)))[:kept]
        for number, places, kept in batches(num_samples, size)
    ]
    return np.concatenate(pieces).astype(np.float64)


@eqx.filter_jit
def _batch(function: Draw, model: Model, keys: Array, contexts: Array | None) -> Array:
    return jax.vmap(lambda key, context: function(in_context(model, context), key))(keys, contexts)


@eqx.filter_jit
def _proposed(model: Model, x: Array, keys: Array) -> tuple[Array, Array]:
    """Draws of z from the prior, and the log density of a condition x given each."""
    prior, adapter = model.prior(model.posterior), adapter_of(model.likelihood)

    def some(key: Array) -> tuple[Array, Array]:
        z = prior.sample(key, (LARGEST_BATCH,))
        return z, jax.vmap(lambda one: adapter.log_prob_of_condition(model.likelihood(one), x))(z)

    z, log_weights = jax.lax.map(some, keys)
    return z.reshape(-1, *z.shape[2:]), log_weights.reshape(-1)


@eqx.filter_jit
def _given(model: Model, z: Array, keys: Array, observed: Array) -> Array:
    adapter = adapter_of(model.likelihood)
    return jax.vmap(lambda one, key: adapter.sample_given(model.likelihood(one), key, observed))(z, keys)


def _sample(model: Model, key: Array) -> Array:
    return model.sample(key)


def _sample_mean(model: Model, key: Array) -> Array:
    return model.expected(model.prior(model.posterior).sample(key))
