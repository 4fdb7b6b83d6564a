"""What a likelihood is: a conditional distribution of one example given the latent variable."""

from abc import abstractmethod
from typing import Protocol, Self

import equinox as eqx
import jax
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import DataError
from reparax.networks import Network
from reparax.summary import Summary


class MakeDecoder(Protocol):
    """Gives a network with ``parameters`` numbers for each value of x, or an output of a shape of one's own."""

    def __call__(self, parameters: int, shape: tuple[int, ...] | None = None) -> Network: ...


class AbstractLikelihood(eqx.Module):
    """p(x | z) for one z: the probabilistic decoder, a normalized density of x in the user's units.

    To add one, write one file with one class; it then appears on the command line, in the contract tests and in the
    documentation.

    Attributes:
        network: Maps one flattened z to an array ``(parameters, *event_shape)``.
    """

    network: eqx.AbstractVar[Network]

    @classmethod
    @abstractmethod
    def create(cls, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> Self:
        """Builds the likelihood; ``make_decoder(n)`` gives a network with n parameters for each value of x.

        Raises:
            DataError: The data are not of the kind that the likelihood is a distribution of.
        """

    @abstractmethod
    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        """The distribution of x given z, with the event shape of one example."""


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
