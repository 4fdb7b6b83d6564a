"""Where the user's data come in: read if need be, and held against the schema of the fit."""

from dataclasses import replace
from typing import Any

import numpy as np

from reparax.data import Dataset, read_as, split
from reparax.likelihoods.columns import ColumnsDecoder
from reparax.recipe import FittedModel


def dataset_of(fitted: FittedModel, data: Any) -> Dataset:
    """The data as the model takes them: its columns in its order, its dtype, in the user's units.

    A model of columns takes missing cells, also where the data of its fit had none; its rows are floating numbers, so
    that one of them is the same whether others have gaps or not.

    Args:
        fitted: The fitted model.
        data: A `Dataset`, or anything that `reparax.data.read` reads.

    Raises:
        DataError: Data that cannot be read, or of another shape or kind than at fitting.
    """
    if not isinstance(fitted.model.likelihood, ColumnsDecoder):
        return read_as(data, fitted.schema)
    dataset = read_as(data, fitted.schema, allow_missing=True)
    if dataset.values.dtype.kind == "f":
        return dataset
    return replace(dataset, values=dataset.values.astype(np.float32))


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


def values_of(fitted: FittedModel, data: Any) -> np.ndarray:
    """The values of `dataset_of`.

    Raises:
        DataError: Data that cannot be read, or of another shape or kind than at fitting.
    """
    return dataset_of(fitted, data).values
