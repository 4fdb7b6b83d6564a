"""A mixture of diagonal Normals as posterior."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound

COMPONENTS = 4


class NormalMixture(AbstractPosterior):
    """q(z | x) = sum_k pi_k(x) N(z; mu_k(x), diag(s_k(x)^2)) with ``num_components`` modes.

    Its weights are differentiated implicitly: Graves (2016), "Stochastic backpropagation through mixture density
    distributions", equation 9.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    network: Network
    latent_dim: int = eqx.field(static=True)
    num_components: int = eqx.field(static=True, default=COMPONENTS)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return COMPONENTS * (1 + 2 * latent_dim)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        parameters = self.network(x).reshape(self.num_components, 1 + 2 * self.latent_dim)
        logits = soft_bound(parameters[:, 0], -10.0, 10.0)
        loc, log_variance = jnp.split(parameters[:, 1:], 2, axis=1)
        scale = jnp.exp(0.5 * soft_bound(log_variance, -14.0, 8.0))
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(loc, scale).to_event(1))
