"""The Poisson posterior, for codes that are counts."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class Poisson(AbstractPosterior):
    """q(z | x) = prod_d Poisson(z_d; lambda_d(x)), the network giving log lambda, softly bounded.

    Not reparameterizable: its gradients come from a score-function or a measure-valued estimator.
    """

    latent_space: ClassVar[LatentSpace] = "count"
    default_prior: ClassVar[str] = "unit-poisson"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        return dist.Poisson(jnp.exp(soft_bound(self.network(x), -8.0, 5.0))).to_event(1)
