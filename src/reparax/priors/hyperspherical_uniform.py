"""The uniform prior of codes on a sphere."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import numpyro.distributions as dist

from reparax.distributions.hyperspherical_uniform import HypersphericalUniform as HypersphericalUniformDistribution
from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary


class HypersphericalUniform(AbstractPrior):
    """p(z) = 1 / area of the sphere, Davidson et al. (2018), section 3.1."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"sphere"})
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(posterior.latent_shape)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return HypersphericalUniformDistribution(self.shape[0])
