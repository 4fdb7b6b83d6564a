"""Where the user's data come in: read if need be, and held against the schema of the fit."""

from typing import Any

import numpy as np

from reparax.data import read_as
from reparax.recipe import FittedModel


def values_of(fitted: FittedModel, data: Any) -> np.ndarray:
    """The data as the model takes them: its columns in its order, its dtype, in the user's units.

    Args:
        fitted: The fitted model.
        data: A `Dataset`, or anything that `reparax.data.read` reads.

    Raises:
        DataError: Data that cannot be read, or of another shape or kind than at fitting.
    """
    return read_as(data, fitted.schema).values
