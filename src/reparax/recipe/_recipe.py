"""The recipe's fields and their ranges."""

import operator
from typing import Any, Literal, NamedTuple

import msgspec

from reparax import registry
from reparax.errors import RecipeError

Binarize = Literal["none", "dynamic", "threshold"]

LARGEST = 1_000_000_000


class Range(NamedTuple):
    """The type and the bounds of a setting."""

    kind: type[int] | type[float]
    low: float
    high: float


RANGES = (
    dict.fromkeys(
        ("latent_dim", "num_components", "num_samples", "epochs", "batch_size", "patience"), Range(int, 1, LARGEST)
    )
    | dict.fromkeys(("width", "depth", "warmup_epochs", "seed"), Range(int, 0, LARGEST))
    | dict.fromkeys(("beta", "free_bits"), Range(float, 0, 1e6))
    | {"learning_rate": Range(float, 1e-8, 10), "weight_decay": Range(float, 0, 10), "valid": Range(float, 0, 0.9)}
    | {"hide": Range(float, 0, 0.95), "trim": Range(float, 0, 0.5)}
)


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is chosen about a model and its training; `suggest` fills what the user leaves open.

    Attributes:
        posterior: The posterior's name.
        prior: The prior's name.
        likelihood: The likelihood's name.
        objective: The objective's name.
        network: The architecture's name.
        latent_dim: The number of latent dimensions.
        width: Units of a hidden layer, or channels of the first convolution.
        depth: The number of hidden layers or convolutions.
        num_components: Components of a mixture prior, or pseudo-inputs of the VampPrior.
        beta: Weight of the KL; 1 is the evidence lower bound.
        warmup_epochs: Epochs over which the weight rises from 0.
        free_bits: Nats per latent dimension below which the KL is not pressed.
        num_samples: Samples of z per example and step.
        estimator: The gradient estimator, or ``"auto"``.
        binarize: Whether intensities become bits: not, drawn anew whenever they are seen, or cut at the middle.
        epochs: How many times the data are seen, at most.
        batch_size: Examples per step.
        learning_rate: Adam's highest rate.
        weight_decay: The share of each weight matrix that a step takes off, times the rate.
        patience: Epochs without a better held-out bound after which training stops.
        valid: The fraction of the data held out.
        hide: In every fourth step the encoder, and it alone, is trained once more with up to this share of a row's
            cells hidden from it, so that it learns to do without them.
        trim: The share of a table's rows, the oddest by each column alone, that training leaves out: for scores of
            anomalies that are among the data. What is left out is not modeled, so that samples lack it.
        seed: The seed of everything random.

    Raises:
        RecipeError: A setting out of its range.
    """

    posterior: str
    prior: str
    likelihood: str
    objective: str
    network: str
    latent_dim: int
    width: int
    depth: int
    num_components: int = 50
    beta: float = 1.0
    warmup_epochs: int = 0
    free_bits: float = 0.0
    num_samples: int = 1
    estimator: str = "auto"
    binarize: Binarize = "none"
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    patience: int
    valid: float = 0.1
    hide: float = 0.0
    trim: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in RANGES:
            msgspec.structs.force_setattr(self, name, checked(name, getattr(self, name)))
        for room, name in self.parts().items():
            if name not in registry.names(room):
                registry.load(room, name)
        if self.estimator != "auto" and self.estimator not in registry.names("estimators"):
            registry.load("estimators", self.estimator)
        if self.binarize not in ("none", "dynamic", "threshold"):
            raise RecipeError(
                expected="binarize to be none, dynamic or threshold", got=repr(self.binarize), cure="choose one of them"
            )

    def parts(self) -> dict[str, str]:
        """The chosen part of each room."""
        return {
            "posteriors": self.posterior,
            "priors": self.prior,
            "likelihoods": self.likelihood,
            "objectives": self.objective,
            "networks": self.network,
        }


def checked(name: str, value: Any) -> Any:
    """A setting as Python's own int or float; a field that is no number, as it is.

    Raises:
        RecipeError: A number out of its range, or none at all.
    """
    if name not in RANGES:
        return value
    kind, low, high = RANGES[name]
    number = _number(value, kind)
    if number is None or not low <= number <= high:
        whole = "a whole number " if kind is int else ""
        raise RecipeError(
            expected=f"{name} {whole}between {low:g} and {high:g}",
            got=repr(value) if number is None else f"{number:g}",
            cure=f"choose another --{flag(name)}",
        )
    return number


def _number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    if isinstance(value, str):
        return None
    try:
        return int(operator.index(value)) if kind is int else float(value)
    except (TypeError, ValueError):
        return None


def flag(name: str) -> str:
    """A field's name as an option of the command line."""
    return name.replace("_", "-")
