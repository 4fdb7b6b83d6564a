"""The data sets that come with scikit-learn."""

import importlib

import numpy as np

from reparax.errors import DataError

PREFIX = "builtin:"
BUILTIN = ("digits", "iris", "wine", "breast_cancer", "diabetes")


def read_builtin(name: str) -> tuple[np.ndarray, tuple[str, ...] | None, np.ndarray, str | None]:
    """One of scikit-learn's bundled data sets, with its target as labels.

    Digits are images of 8x8x1 with levels 0 to 16; the others are tables with named columns.

    Returns:
        The values, the columns' names, the labels and the name of their column.

    Raises:
        DataError: There is none of that name.
    """
    if name not in BUILTIN:
        raise DataError(
            expected=f"one of {', '.join(PREFIX + known for known in BUILTIN)}",
            got=repr(PREFIX + name),
            cure="choose one of those",
        )
    bundle = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")()
    if name == "digits":
        return bundle.images, None, bundle.target, None
    return bundle.data, tuple(map(str, bundle.feature_names)), np.asarray(bundle.target), "target"
