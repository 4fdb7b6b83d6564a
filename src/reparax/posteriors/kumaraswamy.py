"""The Kumaraswamy posterior, for codes between 0 and 1, with a quantile function in closed form."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class Kumaraswamy(AbstractPosterior):
    """q(z | x) = prod_d Kumaraswamy(z_d; a_d(x), b_d(x)), z = (1 - (1 - u)^(1/b))^(1/a).

    Nalisnick & Smyth (2017), section 3.1. The network gives log a and log b, softly bounded.
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
        a, b = jnp.exp(soft_bound(log_a, -3.0, 6.0)), jnp.exp(soft_bound(log_b, -3.0, 6.0))
        return dist.Kumaraswamy(a, b).to_event(1)
