"""The options of ``reparax fit``: the fields of a recipe, and the parts by the names of their files."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

from reparax import registry

if TYPE_CHECKING:
    Posterior = Prior = Likelihood = Objective = Network = Estimator = str
else:
    Posterior, Prior, Likelihood, Objective, Network = (
        Literal[registry.names(room)] for room in ("posteriors", "priors", "likelihoods", "objectives", "networks")
    )
    Estimator = Literal[("auto", *registry.names("estimators"))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What is decided about a model and its training; what is left out is suggested from the data.

    Attributes:
        latent_dim: The number of latent dimensions.
        epochs: How many times the data are seen, at most.
        batch_size: Examples per training step.
        learning_rate: Adam's highest rate.
        weight_decay: The share of each weight matrix that a step takes off, times the rate.
        seed: The seed of everything random (default: 0).
        valid: The fraction of the data held out (default: a tenth, at most 1000 examples; 0: nothing).
        hide: The share of a table row's cells, at most, that the encoder learns to do without.
        trim: The share of a table's rows, the oddest, that training leaves out: for scores of anomalies among the data.
        patience: Epochs without a better held-out bound after which training stops.
        network: The architecture of encoder and decoder.
        width: Units of a hidden layer, or channels of the first convolution.
        depth: The number of hidden layers or convolutions.
        posterior: The distribution of the latent variable given an example.
        prior: The distribution of the latent variable.
        likelihood: The distribution of an example given the latent variable.
        objective: What training maximizes.
        num_components: Components of a mixture prior, or pseudo-inputs of the VampPrior.
        beta: Weight of the KL; 1 is the evidence lower bound.
        warmup_epochs: Epochs over which the weight of the KL rises from 0.
        free_bits: Nats per latent dimension below which the KL is not pressed.
        num_samples: Samples of the latent variable per example and step (K of the iwae objective).
        estimator: The gradient estimator (default: auto).
        binarize: Draw each pixel anew from its intensity whenever it is seen, or cut at the middle.
    """

    latent_dim: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    seed: int | None = None
    valid: float | None = None
    hide: float | None = None
    trim: float | None = None
    patience: int | None = None
    network: Network | None = None
    width: int | None = None
    depth: int | None = None
    posterior: Posterior | None = None
    prior: Prior | None = None
    likelihood: Likelihood | None = None
    objective: Objective | None = None
    num_components: int | None = None
    beta: float | None = None
    warmup_epochs: int | None = None
    free_bits: float | None = None
    num_samples: int | None = None
    estimator: Estimator | None = None
    binarize: Literal["dynamic", "threshold"] | None = None

    def chosen(self) -> dict[str, Any]:
        """The fields that were given."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}
