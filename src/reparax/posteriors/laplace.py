"""The Laplace posterior."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class Laplace(AbstractPosterior):
    """q(z | x) = prod_d Laplace(z_d; mu_d(x), b_d(x)), the network giving mu and log b, the latter softly bounded."""

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return 2 * latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        loc, log_scale = jnp.split(self.network(x), 2)
        return dist.Laplace(loc, jnp.exp(soft_bound(log_scale, -7.0, 4.0))).to_event(1)
