"""Posteriors on spheres and on the Poincare ball."""

from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.hyperbolic import PoincareNormal as PoincareNormalDistribution
from reparax.distributions.sphere import PowerSpherical as PowerSphericalDistribution
from reparax.distributions.sphere import VonMisesFisher as VonMisesFisherDistribution
from reparax.posteriors._base import AbstractFamily, LatentSpace
from reparax.pytrees import soft_bound


class VonMisesFisher(AbstractFamily):
    """q(z | x) = vMF(z; mu(x), kappa(x)) on the sphere of ``latent_dim`` dimensions in one dimension more.

    Davidson et al. (2018), "Hyperspherical variational auto-encoders", section 3.
    """

    latent_space: ClassVar[LatentSpace] = "sphere"
    default_prior: ClassVar[str] = "hyperspherical-uniform"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim + 2

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return VonMisesFisherDistribution(*_direction_and_concentration(outputs))


class PowerSpherical(AbstractFamily):
    """q(z | x) = PowerSpherical(z; mu(x), kappa(x)) on the sphere of ``latent_dim`` dimensions in one dimension more.

    De Cao & Aziz (2020), "The power spherical distribution", section 4.2.
    """

    latent_space: ClassVar[LatentSpace] = "sphere"
    default_prior: ClassVar[str] = "hyperspherical-uniform"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim + 2

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return PowerSphericalDistribution(*_direction_and_concentration(outputs))


class PoincareNormal(AbstractFamily):
    """q(z | x): a Normal in the tangent space at 0, carried to the point exp_0(m(x)) of the ball of curvature -1.

    Mathieu et al. (2019), "Continuous hierarchical representations with Poincare variational auto-encoders", section
    3.2.
    """

    latent_space: ClassVar[LatentSpace] = "ball"
    default_prior: ClassVar[str] = "poincare-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        tangent, log_scale = jnp.split(outputs, 2)
        length = jnp.sqrt(jnp.sum(tangent**2) + 1e-12)
        location = tangent * (jnp.tanh(soft_bound(length, -4.0, 4.0)) / length)
        return PoincareNormalDistribution(location, jnp.exp(soft_bound(log_scale, -6.0, 1.5)))


def _direction_and_concentration(
    outputs: Float[Array, " outputs"],
) -> tuple[Float[Array, " outputs-1"], Float[Array, ""]]:
    return outputs[:-1], 1 + jnp.exp(soft_bound(outputs[-1] + 2.0, -4.0, 8.0))
