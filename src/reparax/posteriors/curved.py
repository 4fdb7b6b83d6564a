"""Posteriors on the sphere and on the Poincare ball."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.hyperbolic import PoincareNormal as PoincareNormalDistribution
from reparax.distributions.sphere import PowerSpherical as PowerSphericalDistribution
from reparax.distributions.sphere import VonMisesFisher as VonMisesFisherDistribution
from reparax.posteriors._base import AbstractFamily, LatentSpace
from reparax.pytrees import soft_bound


class AbstractSpherical(AbstractFamily):
    """A distribution on the unit sphere in ``latent_dim`` + 1 dimensions, with a direction and a concentration.

    Attributes:
        kind: The distribution, given the two.
    """

    latent_space: ClassVar[LatentSpace] = "sphere"
    default_prior: ClassVar[str] = "hyperspherical-uniform"
    kind: eqx.AbstractClassVar[type[dist.Distribution]]

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim + 2

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return self.kind(outputs[:-1], 1 + jnp.exp(soft_bound(outputs[-1] + 2.0, -4.0, 8.0)))


class VonMisesFisher(AbstractSpherical):
    """q(z | x) = vMF(z; mu(x), kappa(x)) on the unit sphere in ``latent_dim`` + 1 dimensions.

    Davidson et al. (2018), "Hyperspherical variational auto-encoders", section 3.
    """

    kind: ClassVar[type[dist.Distribution]] = VonMisesFisherDistribution


class PowerSpherical(AbstractSpherical):
    """q(z | x) = PowerSpherical(z; mu(x), kappa(x)) on the unit sphere in ``latent_dim`` + 1 dimensions.

    De Cao & Aziz (2020), "The power spherical distribution", section 4.2.
    """

    kind: ClassVar[type[dist.Distribution]] = PowerSphericalDistribution


class PoincareNormal(AbstractFamily):
    """q(z | x): a Normal in the tangent space at 0, transported to the point exp_0(m(x)) of the ball of curvature -1.

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
