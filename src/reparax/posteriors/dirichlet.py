"""The Dirichlet posterior, for codes that are proportions."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class Dirichlet(AbstractPosterior):
    """q(z | x) = Dirichlet(z; alpha(x)) on the simplex of ``latent_dim`` proportions, log alpha softly bounded.

    The derivative is implicit: Figurnov et al. (2018), section 4 (there with latent Dirichlet allocation).
    """

    latent_space: ClassVar[LatentSpace] = "simplex"
    default_prior: ClassVar[str] = "uniform-dirichlet"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        return dist.Dirichlet(jnp.exp(soft_bound(self.network(x), -4.0, 8.0)))
