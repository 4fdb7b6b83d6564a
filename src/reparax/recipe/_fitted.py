"""The fitted model: the only thing that is saved, applied and served."""

from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import PyTree

from reparax.data import Schema
from reparax.model import Model
from reparax.recipe._recipe import Binarize, Recipe
from reparax.recipe._units import Units
from reparax.training import Record


@dataclass(frozen=True)
class FittedModel:
    """A trained model with all that is needed to apply it to new data.

    Attributes:
        model: Posterior, prior and likelihood.
        schema: What the data are.
        recipe: How it was made; None for a model built by hand from the user's own parts.
        history: One record per chunk of training.
        status: How training ended.
        companion: What was trained beside the model and is not served: a critic, a classifier; None for nothing.
    """

    model: Model
    schema: Schema
    recipe: Recipe | None = None
    history: list[Record] = field(default_factory=list)
    status: Literal["all epochs done", "stopped early", "interrupted", "diverged"] = "all epochs done"
    companion: PyTree = None

    @property
    def binarize(self) -> Binarize:
        """Whether the data are binarized on their way to the model."""
        return "none" if self.recipe is None else self.recipe.binarize

    @property
    def units(self) -> Units:
        """How the user's values become the model's."""
        return Units.of(self.schema, self.binarize)
