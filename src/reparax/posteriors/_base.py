"""What a posterior is: a conditional distribution of the latent variable given one example."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, Self

import equinox as eqx
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network

LatentSpace = Literal[
    "real", "binary", "one-hot", "point", "positive", "unit interval", "simplex", "sphere", "ball", "count"
]
MakeEncoder = Callable[[int], Network]


class AbstractPosterior(eqx.Module):
    """q(z | x) for one example x: the probabilistic encoder.

    To add one, write one file with one class: its network's output size, its parameterization and its latent space; it
    then appears on the command line, in the contract tests and in the documentation.

    Attributes:
        latent_space: The set z lives in; a prior must live there too.
        default_prior: The name of the prior that goes with it when none is chosen.
        network: Maps one example to the vector of the distribution's parameters.
        latent_dim: The number of latent dimensions.
    """

    latent_space: ClassVar[LatentSpace]
    default_prior: ClassVar[str]
    network: eqx.AbstractVar[Network]
    latent_dim: eqx.AbstractVar[int]

    @staticmethod
    @abstractmethod
    def num_outputs(latent_dim: int) -> int:
        """How many numbers the network gives for ``latent_dim`` latent dimensions."""

    @classmethod
    def create(cls, make_encoder: MakeEncoder, latent_dim: int) -> Self:
        """The posterior with a network of the right size; ``make_encoder(n)`` gives one with n outputs."""
        return cls(make_encoder(cls.num_outputs(latent_dim)), latent_dim)

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one z."""

    @abstractmethod
    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        """The distribution of z given x, with event shape ``latent_shape``."""
