"""Where the user's data come in: read if need be, and held against the schema of the fit."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from reparax.data import Dataset, read_as, split
from reparax.errors import DataError
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel
from reparax.tables import adapter_of


def dataset_of(fitted: FittedModel, data: Any, context: Any = None) -> Dataset:
    """The data as the model takes them: its columns in its order, its dtype, in the user's units.

    A model of columns takes missing cells, also where the data of its fit had none.

    Args:
        fitted: The fitted model.
        data: A `Dataset`, or anything that `reparax.data.read` reads.
        context: Of a conditional model, one row of numbers for each example; of a dataset, by default its own.

    Raises:
        DataError: Data that cannot be read, or of another shape or kind than at fitting.
    """
    adapter = adapter_of(fitted.model.likelihood)
    dataset = read_as(data, fitted.schema, allow_missing=adapter.is_table)
    dataset = replace(dataset, values=adapter.stored(dataset.values))
    context = data.context if context is None and isinstance(data, Dataset) else context
    size = context_size(fitted.model)
    if context is None and size == 0:
        return dataset
    dataset = dataset if context is None else dataset.given(context)
    require_context(size, None if dataset.context is None else dataset.context.shape[1])
    return dataset


def require_context(expected: int, got: int | None) -> None:
    """Refuses a context that is not of the model's size.

    Raises:
        DataError: Another size, none where there must be one, or one where there is none.
    """
    if expected != (got or 0):
        raise DataError(
            expected=f"a context of {expected} numbers for each example" if expected else "no context",
            got=f"one of {got}" if got else "none",
            cure="give context=... as at fitting" if expected else "leave it out, or fit with it",
        )


def held_out_of(fitted: FittedModel, dataset: Dataset) -> Dataset | None:
    """The rows that were held out when the model was fitted to these data; None where these are other data.

    Args:
        fitted: The fitted model.
        dataset: What `dataset_of` gave for the data of the fit.
    """
    recipe = fitted.recipe
    if recipe is None or recipe.valid == 0 or len(dataset) < 2:
        return None
    part, rest = split(dataset, recipe.valid, recipe.seed)
    return replace(rest, schema=fitted.schema) if len(part) == fitted.schema.num_examples else None


def contexts_of(fitted: FittedModel, context: Any, count: int) -> Float[np.ndarray, "n c"] | None:
    """One context for each of so many examples: as given, or the one that is given for all.

    Raises:
        DataError: A context of another size, one where the model has none, or none where it must have one.
    """
    size = context_size(fitted.model)
    if context is None:
        require_context(size, None)
        return None
    rows = np.asarray(context, np.float32)
    rows = np.broadcast_to(rows, (count, rows.size)) if rows.ndim == 1 and rows.size == size else rows
    if rows.ndim != 2 or len(rows) != count or not np.isfinite(rows).all():
        raise DataError(
            expected=f"a context of {size} finite numbers, or {count} rows of these",
            got=f"an array of shape {np.shape(context)}",
            cure="give one for all, or one row for each",
        )
    require_context(size, rows.shape[1])
    return rows


def some_of(contexts: Float[np.ndarray, "n c"] | None, places: Int[np.ndarray, " m"]) -> Float[Array, "m c"] | None:
    """The contexts of some examples."""
    return None if contexts is None else jnp.asarray(contexts[places])


def in_context(model: Model, context: Float[Array, " c"] | None) -> Model:
    """The plain model for a context; a model without contexts as it is."""
    return model if context is None else model.given(context)
