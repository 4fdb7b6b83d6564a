"""What a likelihood is: a conditional distribution of one example given the latent variable."""

from abc import abstractmethod
from typing import Protocol

import equinox as eqx
import jax
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import DataError
from reparax.networks import Network
from reparax.parts import Part
from reparax.summary import Summary


class MakeDecoder(Protocol):
    """Gives a network with ``parameters`` numbers for each value of x, or for each place of another shape.

    Every call draws weights from its own key.
    """

    def __call__(self, parameters: int, shape: tuple[int, ...] | None = None, *, key: jax.Array) -> Network: ...


class Likelihood(eqx.Module):
    """p(x | z) for one z: the probabilistic decoder, a normalized density of x in the user's units."""

    @abstractmethod
    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        """The distribution of x given z, with the event shape of one example."""


class AbstractLikelihood(Part):
    """A kind of likelihood, with its options."""

    @abstractmethod
    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> Likelihood:
        """The likelihood with its first weights.

        Args:
            make_decoder: Gives a network with so many parameters for each value of x.
            summary: What the data are.
            key: Draws the weights.

        Raises:
            DataError: The data are not of the kind that the likelihood is a distribution of.
        """


def require(fits: bool, *, likelihood: str, expected: str, summary: Summary, cure: str) -> None:
    """Refuses data that the likelihood gives no density to.

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
