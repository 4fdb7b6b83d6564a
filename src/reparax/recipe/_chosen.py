"""What may be chosen of a recipe, as a type checker reads it."""

from collections.abc import Mapping
from typing import Any, TypedDict

from reparax.recipe._recipe import Binarize

ChosenPart = str | Mapping[str, Any] | Any
"""A part: its name, its name and options (``{"name": "normal-mixture", "num_components": 6}``), or the part itself."""


class Settings(TypedDict, total=False):
    """Fields of a recipe but its objective, and options of parts that are given without their part's name.

    None leaves a choice open, to the rules of `reparax.recipe.suggest`. `reparax.fit` takes an objective by a parameter
    of its own, hence the two classes.
    """

    posterior: ChosenPart | None
    prior: ChosenPart | None
    likelihood: ChosenPart | None
    network: ChosenPart | None
    latent_dim: int | None
    width: int | None
    depth: int | None
    warmup_epochs: int | None
    binarize: Binarize | None
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    weight_decay: float | None
    patience: int | None
    valid: float | None
    hide: float | None
    trim: float | None
    seed: int | None

    beta: float | None
    free_bits: float | None
    num_samples: int | None
    estimator: str | None
    num_components: int | None
    num_classes: int | None
    num_couplings: int | None


class Chosen(Settings, total=False):
    """Every field of a recipe, and options of parts that are given without their part's name; see `Settings`."""

    objective: ChosenPart | None
