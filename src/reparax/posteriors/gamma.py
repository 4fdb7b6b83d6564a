"""The Gamma posterior, for positive codes."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class Gamma(AbstractPosterior):
    """q(z | x) = prod_d Gamma(z_d; alpha_d(x), beta_d(x)), the network giving log alpha and log beta, softly bounded.

    The derivative in alpha is implicit: Figurnov et al. (2018), section 4.
    """

    latent_space: ClassVar[LatentSpace] = "positive"
    default_prior: ClassVar[str] = "unit-exponential"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return 2 * latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        log_concentration, log_rate = jnp.split(self.network(x), 2)
        # Below a concentration of about 0.2, draws underflow to 0 in float32, where the density is infinite.
        concentration = jnp.exp(soft_bound(log_concentration, -1.5, 8.0))
        return dist.Gamma(concentration, jnp.exp(soft_bound(log_rate, -8.0, 8.0))).to_event(1)
