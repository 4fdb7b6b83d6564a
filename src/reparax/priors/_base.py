"""What a prior is: the distribution of the latent variable before any data are seen."""

from abc import abstractmethod
from typing import ClassVar, Self

import equinox as eqx
import jax
import numpyro.distributions as dist

from reparax.posteriors import AbstractPosterior
from reparax.summary import Summary


class AbstractPrior(eqx.Module):
    """p(z), which may be learned and may look at the posterior.

    Attributes:
        latent_spaces: The latent spaces it is a density on.
    """

    latent_spaces: ClassVar[frozenset[str]]

    @classmethod
    @abstractmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        """Builds the prior for a posterior; ``num_components`` matters to mixtures only."""

    @abstractmethod
    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        """The distribution of z, with event shape ``posterior.latent_shape``."""
