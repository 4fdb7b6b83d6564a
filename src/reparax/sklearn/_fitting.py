"""From an estimator's parameters and data to a fitted model."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from reparax import applications
from reparax.data import Dataset, read
from reparax.recipe import FittedModel, Recipe
from reparax.sklearn._door import admitted

SEEDS = 1_000_000_000

RENAMED: Mapping[str, str] = {
    "gradient_estimator": "objective.estimator",
    "beta": "objective.beta",
    "free_bits": "objective.free_bits",
    "num_samples": "objective.num_samples",
    "num_components": "prior.num_components",
}
"""Parameters that are options of the recipe's parts."""


def fitted_model(estimator: BaseEstimator, data: Any) -> tuple[FittedModel, Dataset]:
    """Fits what an estimator's parameters describe; the model, and the data as they were read.

    Args:
        estimator: An estimator whose parameters are fields of `reparax.Recipe`, ``schema``, ``exclude`` and
            ``random_state``.
        data: As of `admitted`.

    Raises:
        ValueError: Data that cannot be read, or a parameter out of its range.
    """
    parameters = estimator.get_params(deep=False)
    rows = admitted(estimator, data, fitting=True)
    dataset = read(rows, schema=parameters["schema"], exclude=parameters["exclude"] or ())
    return applications.fit(dataset, seed=seed_of(parameters["random_state"]), **chosen(parameters)), dataset


def chosen(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that parameters decide; None leaves one open."""
    known = {field.name for field in msgspec.structs.fields(Recipe)} | set(RENAMED.values())
    fields = {RENAMED.get(name, name): value for name, value in parameters.items()}
    return {name: value for name, value in fields.items() if name in known and value is not None}


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """An integer as it is; else a number drawn from the random state, or from NumPy's own for None."""
    if isinstance(random_state, int | np.integer) and 0 <= random_state <= SEEDS:
        return int(random_state)
    return int(check_random_state(random_state).randint(SEEDS))
