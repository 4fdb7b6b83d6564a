"""The recipe's fields and their ranges."""

from typing import Literal

import msgspec

from reparax import registry
from reparax.errors import RecipeError

Binarize = Literal["none", "dynamic", "threshold"]

LARGEST = 1_000_000_000


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
        patience: Epochs without a better held-out bound after which training stops.
        valid: The fraction of the data held out.
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
    patience: int
    valid: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("latent_dim", "num_components", "num_samples", "epochs", "batch_size", "patience"):
            _require(name, getattr(self, name), 1, LARGEST)
        for name in ("width", "depth", "warmup_epochs", "seed"):
            _require(name, getattr(self, name), 0, LARGEST)
        _require("beta", self.beta, 0, 1e6)
        _require("free_bits", self.free_bits, 0, 1e6)
        _require("learning_rate", self.learning_rate, 1e-8, 10)
        _require("valid", self.valid, 0, 0.9)
        for room, name in self.parts().items():
            if name not in registry.names(room):
                registry.load(room, name)
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


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise RecipeError(
            expected=f"{name} between {low:g} and {high:g}", got=f"{value:g}", cure=f"choose another --{flag(name)}"
        )


def flag(name: str) -> str:
    """A field's name as an option of the command line."""
    return name.replace("_", "-")
