"""The Beta posterior, for codes between 0 and 1."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class Beta(AbstractPosterior):
    """q(z | x) = prod_d Beta(z_d; a_d(x), b_d(x)), the network giving log a and log b, softly bounded.

    The derivatives are implicit: Figurnov et al. (2018), section 4.
    """

    latent_space: ClassVar[LatentSpace] = "unit interval"
    default_prior: ClassVar[str] = "uniform"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return 2 * latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        log_a, log_b = jnp.split(self.network(x), 2)
        return dist.Beta(jnp.exp(soft_bound(log_a, -4.0, 8.0)), jnp.exp(soft_bound(log_b, -4.0, 8.0))).to_event(1)
