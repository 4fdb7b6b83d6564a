"""The prior of fair coins."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions.bernoulli import Bernoulli as BernoulliDistribution
from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary


class UniformBernoulli(AbstractPrior):
    """p(z) = 2^-d over the vectors of d bits."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"binary"})
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(posterior.latent_shape)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return BernoulliDistribution(jnp.zeros(self.shape)).to_event(len(self.shape))
