"""The prior of positive codes."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary


class UnitExponential(AbstractPrior):
    """p(z) = prod_d exp(-z_d), the exponential of rate 1 (as the Gamma it is, so that its KL is in closed form)."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"positive"})
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(posterior.latent_shape)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return dist.Gamma(jnp.ones(self.shape), jnp.ones(self.shape)).to_event(len(self.shape))
