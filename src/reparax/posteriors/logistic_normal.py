"""The logistic-Normal posterior, for codes that are proportions."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.logistic_normal import LogisticNormal as LogisticNormalDistribution
from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class LogisticNormal(AbstractPosterior):
    """q(z | x) = softmax((y, 0)) with y ~ N(mu(x), diag(sigma(x)^2)): ``latent_dim`` numbers, one proportion more.

    Srivastava & Sutton (2017), section 3.2, in the basis of log ratios.
    """

    latent_space: ClassVar[LatentSpace] = "simplex"
    default_prior: ClassVar[str] = "standard-logistic-normal"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return 2 * latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim + 1,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        loc, log_scale = jnp.split(self.network(x), 2)
        return LogisticNormalDistribution(loc, jnp.exp(soft_bound(log_scale, -5.0, 2.0)))
