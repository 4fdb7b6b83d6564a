"""The Student-t posterior, with heavier tails than the Normal."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class StudentT(AbstractPosterior):
    """q(z | x) = prod_d StudentT(z_d; nu_d(x), mu_d(x), s_d(x)), nu above 2 so that the variance is finite.

    The derivative in nu is implicit: Figurnov et al. (2018), section 4.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return 3 * latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        loc, log_scale, log_excess = jnp.split(self.network(x), 3)
        df = 2.05 + jnp.exp(soft_bound(log_excess + 2.0, -3.0, 7.0))
        return dist.StudentT(df, loc, jnp.exp(soft_bound(log_scale, -7.0, 4.0))).to_event(1)
