"""The uniform prior of codes between 0 and 1."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary


class Uniform(AbstractPrior):
    """p(z) = 1 on the unit cube."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"unit interval"})
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(posterior.latent_shape)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return dist.Uniform(jnp.zeros(self.shape), jnp.ones(self.shape)).to_event(len(self.shape))
