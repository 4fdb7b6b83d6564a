"""What a prior is: the distribution of the latent variable before any data are seen."""

from abc import abstractmethod
from typing import ClassVar, Protocol, Self

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.parts import Part
from reparax.posteriors import Posterior
from reparax.summary import Summary


class MakeNetwork(Protocol):
    """Makes a network from a vector to an array; every call draws its weights from the key."""

    def __call__(self, in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> Network: ...


class Prior(eqx.Module):
    """p(z), which may be learned and may depend on the posterior.

    Attributes:
        latent_spaces: The latent spaces on which it is a distribution.
        fitted_afterwards: Whether it is fitted to the codes after training; only for posteriors without a density,
            because the bound of any other would be that of a model that was not trained.
        is_autoregressive: Whether its discrete variables depend on each other, so that no KL to it is closed.
    """

    latent_spaces: eqx.AbstractClassVar[frozenset[str]]
    fitted_afterwards: ClassVar[bool] = False
    is_autoregressive: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, posterior: Posterior) -> dist.Distribution:
        """The distribution of z, with event shape ``posterior.latent_shape``."""


class RegressedPrior(Prior):
    """A prior that is fitted to codes by another objective than their log density, one that is easier to compute."""

    @abstractmethod
    def started_at(self, codes: Float[np.ndarray, "n *latent"]) -> Self:
        """The prior from which the fit to codes starts."""

    @abstractmethod
    def regression(self, z: Float[Array, "*latent"], *, key: jax.Array) -> Float[Array, ""]:
        """What is maximized in place of log p(z), an estimate by one draw; higher is better."""


class AbstractPrior(Part):
    """A kind of prior, with its options.

    Attributes:
        latent_spaces: The latent spaces on which it is a distribution.
        fitted_afterwards: Whether it is fitted to the codes after training; only for posteriors without a density,
            because the bound of any other would be that of a model that was not trained.
        has_pseudo_examples: Whether it learns pseudo-examples, whose values may lie between those of the data.
    """

    latent_spaces: eqx.AbstractClassVar[frozenset[str]]
    fitted_afterwards: ClassVar[bool] = False
    has_pseudo_examples: ClassVar[bool] = False

    @abstractmethod
    def create(self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array) -> Prior:
        """The prior of a posterior's latent variable, with its first weights.

        Args:
            posterior: The posterior that it is used with.
            summary: A summary of the data.
            make_network: Makes a network of the chosen architecture; in a conditional model, it sees the context too.
            key: Draws the weights.
        """


class AbstractFixedPrior(AbstractPrior, Prior):
    """A prior without weights, determined by the shape of the latent variable: the part is also the `Prior`."""

    @abstractmethod
    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        """The distribution of z of a shape."""

    def create(self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array) -> Self:
        """The prior itself."""
        return self

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        """The distribution of z of the posterior's shape."""
        return self.distribution(posterior.latent_shape)
