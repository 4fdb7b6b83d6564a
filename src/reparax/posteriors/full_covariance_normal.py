"""The Normal posterior with a full covariance matrix."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.posteriors.diagonal_normal import LOG_VARIANCE_BOUNDS
from reparax.pytrees import soft_bound


class FullCovarianceNormal(AbstractPosterior):
    """q(z | x) = N(z; mu(x), L(x) L(x)^T), L lower triangular, the network giving mu, log diag(L)^2 and the rest of L.

    z = mu + L eps: Kingma & Welling (2019), section 2.5.1, equations 2.30 to 2.33.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return 2 * latent_dim + latent_dim * (latent_dim - 1) // 2

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        size = self.latent_dim
        parameters = self.network(x)
        mean, log_variance, below = jnp.split(parameters, (size, 2 * size))
        diagonal = jnp.exp(0.5 * soft_bound(log_variance, *LOG_VARIANCE_BOUNDS))
        rows, columns = jnp.tril_indices(size, -1)
        scale_tril = jnp.diag(diagonal).at[rows, columns].set(below * diagonal[rows])
        return dist.MultivariateNormal(mean, scale_tril=scale_tril)
