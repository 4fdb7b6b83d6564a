"""The class of each example, for models with a class as latent variable."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from reparax.applications._door import dataset_of
from reparax.applications._rows import map_rows
from reparax.data import Dataset, label_names
from reparax.distributions import ClassNormal
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.recipe import FittedModel


class Classes(NamedTuple):
    """What `classify` returns.

    Attributes:
        names: The names of the classes; numbers from 0 if the fit had no labels.
        probabilities: q(y | x) of each example, shape ``(n, k)``.
    """

    names: tuple[str, ...]
    probabilities: Float[np.ndarray, "n k"]

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each example, by name."""
        return np.asarray(self.names)[self.probabilities.argmax(axis=1)]


def classify(fitted: FittedModel, data: Any, *, context: Any = None) -> Classes:
    """The probabilities q(y | x) of the classes of examples; of an ensemble with labels, their mean over the models.

    Args:
        fitted: A model with a class: of the semi-supervised objective, or of the posterior ``class-normal``.
        data: Anything `reparax.data.read` reads, or a `Dataset`; its labels are not used.
        context: For a conditional model, one row of numbers for each example.

    Raises:
        DataError: The data have another shape or kind than in the fit.
        RecipeError: The model has no class.
    """
    if fitted.model.posterior.latent_space != "class and real":
        raise RecipeError(
            expected="a model with a class as latent variable",
            got=repr(fitted.model.posterior.latent_space),
            cure="fit with --objective semi-supervised and labels, or with --posterior class-normal",
        )
    if not fitted.schema.classes:
        fitted.require_one("with classes of its own")
    dataset = dataset_of(fitted, data, context)
    key, transform = jax.random.key(0), fitted.units.expected
    each = [map_rows(_probabilities, one, dataset, transform=transform, key=key) for one in fitted.members]
    found = np.mean(each, axis=0, dtype=np.float64)
    names = fitted.schema.classes or tuple(map(str, range(found.shape[1])))
    return Classes(names, found / found.sum(axis=1, keepdims=True))


def accuracy(found: Classes, dataset: Dataset) -> tuple[float, int] | None:
    """The fraction of labeled examples whose most probable class is their label, and their number; None if no labels.

    Args:
        found: The classes of the examples.
        dataset: The examples with their labels.
    """
    if dataset.labels is None:
        return None
    names = label_names(dataset.labels)
    labeled = np.asarray([name is not None for name in names], bool)
    right = [name == label for name, label in zip(names, found.labels.tolist(), strict=True) if name is not None]
    return (float(np.mean(right)), int(labeled.sum())) if right else None


def _probabilities(model: Model, x: Array, key: Array) -> Array:
    q = model.posterior(x)
    assert isinstance(q, ClassNormal)
    return q.classes.probs
