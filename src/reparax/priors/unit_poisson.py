"""The prior of counts."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary


class UnitPoisson(AbstractPrior):
    """p(z) = prod_d Poisson(z_d; 1)."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"count"})
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(posterior.latent_shape)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return dist.Poisson(jnp.ones(self.shape)).to_event(len(self.shape))
