"""Where the user's data come in: read if need be, and held against the schema of the fit."""

from dataclasses import replace
from typing import Any

import numpy as np

from reparax.data import Dataset, read_as
from reparax.likelihoods.columns import Columns
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
    if not isinstance(fitted.model.likelihood, Columns):
        return read_as(data, fitted.schema)
    dataset = read_as(data, fitted.schema, allow_missing=True)
    if dataset.values.dtype.kind == "f":
        return dataset
    return replace(dataset, values=dataset.values.astype(np.float32))


def values_of(fitted: FittedModel, data: Any) -> np.ndarray:
    """The values of `dataset_of`.

    Raises:
        DataError: Data that cannot be read, or of another shape or kind than at fitting.
    """
    return dataset_of(fitted, data).values
