"""The prior of fair dice."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions import OneHotCategorical
from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary


class UniformCategorical(AbstractPrior):
    """p(z) = c^-d over d one-hot vectors of c classes."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"one-hot"})
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(posterior.latent_shape)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return OneHotCategorical(jnp.zeros(self.shape)).to_event(len(self.shape) - 1)
