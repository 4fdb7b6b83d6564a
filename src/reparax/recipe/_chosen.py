"""What may be chosen of a recipe, as a type checker reads it."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict  # its dictionaries can be closed: a key of another name is an error

from reparax.parts import Part
from reparax.recipe._recipe import Binarize

ChosenPart = str | Mapping[str, Any] | Part | type[Part]
"""A part: its name, its name and options (``{"name": "normal-mixture", "num_components": 6}``), or the part itself."""


class _Settings(TypedDict, total=False):
    """Fields of a recipe but its objective, and options of parts that are given without their part's name.

    None leaves a choice open, to the rules of `reparax.recipe.suggest`.
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
    context_dim: int | None
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


class Settings(_Settings, total=False, closed=True):
    """What `reparax.fit` takes by name beside its own parameters, of which the objective is one."""


class Chosen(_Settings, total=False, closed=True):
    """Every field of a recipe, and options of parts that are given without their part's name."""

    objective: ChosenPart | None
