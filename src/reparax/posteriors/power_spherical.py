"""The power spherical posterior, for codes on a sphere."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.power_spherical import PowerSpherical as PowerSphericalDistribution
from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class PowerSpherical(AbstractPosterior):
    """q(z | x) = PowerSpherical(z; mu(x), kappa(x)) on the sphere of ``latent_dim`` dimensions in one dimension more.

    De Cao & Aziz (2020), "The power spherical distribution", section 4.2.
    """

    latent_space: ClassVar[LatentSpace] = "sphere"
    default_prior: ClassVar[str] = "hyperspherical-uniform"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return latent_dim + 2

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim + 1,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        direction, log_concentration = jnp.split(self.network(x), (self.latent_dim + 1,))
        concentration = 1 + jnp.exp(soft_bound(log_concentration[0] + 2.0, -4.0, 8.0))
        return PowerSphericalDistribution(direction, concentration)
