"""The diagonal Normal posterior of the original variational autoencoder."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound

LOG_VARIANCE_BOUNDS = (-14.0, 8.0)


class DiagonalNormal(AbstractPosterior):
    """q(z | x) = N(z; mu(x), diag(sigma(x)^2)), the network giving mu and log sigma^2, the latter softly bounded.

    Kingma & Welling (2014), equation 9 and appendix C.2.
    """

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
        mean, log_variance = jnp.split(self.network(x), 2)
        scale = jnp.exp(0.5 * soft_bound(log_variance, *LOG_VARIANCE_BOUNDS))
        return dist.Normal(mean, scale).to_event(1)
