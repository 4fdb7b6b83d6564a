"""What a likelihood is: a conditional distribution of one example given the latent variable."""

from abc import abstractmethod
from typing import ClassVar, Protocol

import equinox as eqx
import jax
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import DataError
from reparax.networks import Network
from reparax.parts import Part
from reparax.summary import Summary


class MakeDecoder(Protocol):
    """Makes a network with ``parameters`` outputs for each value of x, or for each element of another shape.

    Every call draws its weights from the key.
    """

    def __call__(self, parameters: int, shape: tuple[int, ...] | None = None, *, key: jax.Array) -> Network: ...


class Likelihood(eqx.Module):
    """p(x | z) for one z: the probabilistic decoder, a normalized density of x in the user's units."""

    @abstractmethod
    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        """The distribution of x given z, with the event shape of one example."""


class AbstractLikelihood(Part):
    """A kind of likelihood, with its options.

    Attributes:
        of_counts: Whether it is one of counts, whose logarithms an encoder sees.
    """

    of_counts: ClassVar[bool] = False

    @abstractmethod
    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> Likelihood:
        """The likelihood with its first weights.

        Args:
            make_decoder: Makes a network with a given number of parameters for each value of x.
            summary: A summary of the data.
            key: Draws the weights.

        Raises:
            DataError: The likelihood is not a distribution of such data.
        """


def require(fits: bool, *, likelihood: str, expected: str, summary: Summary, cure: str) -> None:
    """Refuses data for which the likelihood has no density.

    Raises:
        DataError: ``fits`` is false.
    """
    if not fits:
        low, high = float(summary.low.min()), float(summary.high.max())
        raise DataError(
            expected=f"{expected} for the {likelihood} likelihood",
            got=f"{summary.kind} values between {low:g} and {high:g}",
            cure=cure,
        )
