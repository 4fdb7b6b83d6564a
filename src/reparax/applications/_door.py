"""Reading the data that a model is applied to, and checking them against the schema of the fit."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from reparax.applications._given import conditions_named
from reparax.data import Dataset, read_as
from reparax.errors import DataError
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel, given_numbers
from reparax.tables import adapter_of


def dataset_of(fitted: FittedModel, data: Any, context: Any = None) -> Dataset:
    """The data in the form that the model takes: the columns of the fit in their order, with its dtype.

    Models with the columns likelihood accept missing cells in any column.

    Args:
        fitted: The fitted model.
        data: A `Dataset`, or anything that `reparax.data.read` reads.
        context: For a conditional model, one row of numbers for each example; by default the context of the dataset.
            For a model of which something is given by name, a mapping or a frame instead of the columns of the data.

    Raises:
        DataError: The data cannot be read, or have another shape or kind than in the fit.
    """
    adapter, named = adapter_of(fitted.model.likelihood), fitted.schema.given is not None
    dataset = read_as(data, fitted.schema, allow_missing=adapter.allows_missing, context=context if named else None)
    dataset = replace(dataset, values=adapter.stored(dataset.values))
    if dataset.schema.views:  # some of which only the fit had
        labels = {**(fitted.frame_labels or {}), **(dataset.frame_labels or {})}
        dataset = replace(dataset, frame_labels=labels or None)
    if dataset.conditions is not None:
        return replace(dataset, context=given_numbers(dataset.conditions.schema, dataset.conditions.values))
    context = data.context if context is None and isinstance(data, Dataset) else context
    size = context_size(fitted.model)
    if context is None and size == 0:
        return dataset
    dataset = dataset if context is None else dataset.given(context)
    require_context(size, None if dataset.context is None else dataset.context.shape[1])
    return dataset


def require_context(expected: int, got: int | None) -> None:
    """Checks the size of a context against that of the model.

    Raises:
        DataError: The sizes differ, the context is missing, or the model takes none.
    """
    if expected != (got or 0):
        raise DataError(
            expected=f"a context of {expected} numbers for each example" if expected else "no context",
            got=f"a context of {got}" if got else "none",
            cure="pass context=... as in the fit" if expected else "leave it out, or fit with a context",
        )


def contexts_of(fitted: FittedModel, context: Any, count: int) -> Float[np.ndarray, "n c"] | None:
    """One context for each of ``count`` examples, from one for each or one for all.

    Raises:
        DataError: The context has another size than that of the model, is missing, or the model takes none.
    """
    size = context_size(fitted.model)
    if fitted.schema.given is not None:
        conditions = conditions_named(fitted, context, count)
        return given_numbers(conditions.schema, conditions.values)
    if context is None:
        require_context(size, None)
        return None
    rows = np.asarray(context, np.float32)
    rows = np.broadcast_to(rows, (count, rows.size)) if rows.ndim == 1 and rows.size == size else rows
    if rows.ndim != 2 or len(rows) != count or not np.isfinite(rows).all():
        raise DataError(
            expected=f"a context of {size} finite numbers, or {count} rows of {size}",
            got=f"an array of shape {np.shape(context)}",
            cure="pass one context for all examples, or one row for each",
        )
    require_context(size, rows.shape[1])
    return rows


def some_of(contexts: Float[np.ndarray, "n c"] | None, places: Int[np.ndarray, " m"]) -> Float[Array, "m c"] | None:
    """The contexts of some examples."""
    return None if contexts is None else jnp.asarray(contexts[places])


def in_context(model: Model, context: Float[Array, " c"] | None) -> Model:
    """The plain model for one context; without a context, the model unchanged."""
    return model if context is None else model.given(context)
