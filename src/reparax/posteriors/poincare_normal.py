"""The wrapped Normal posterior on the Poincare ball, for codes that branch like a tree."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.poincare_normal import PoincareNormal as PoincareNormalDistribution
from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class PoincareNormal(AbstractPosterior):
    """q(z | x): a Normal in the tangent space at 0, carried to the point exp_0(m(x)) of the ball of curvature -1.

    Mathieu et al. (2019), "Continuous hierarchical representations with Poincare variational auto-encoders", section
    3.2.
    """

    latent_space: ClassVar[LatentSpace] = "ball"
    default_prior: ClassVar[str] = "poincare-normal"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return 2 * latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        tangent, log_scale = jnp.split(self.network(x), 2)
        length = jnp.sqrt(jnp.sum(tangent**2) + 1e-12)
        location = tangent * (jnp.tanh(soft_bound(length, -4.0, 4.0)) / length)
        return PoincareNormalDistribution(location, jnp.exp(soft_bound(log_scale, -6.0, 1.5)))
