"""The wrapped Normal prior around the center of the Poincare ball."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions.poincare_normal import PoincareNormal as PoincareNormalDistribution
from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary


class PoincareNormal(AbstractPrior):
    """p(z): exp_0(v) with v ~ N(0, I), Mathieu et al. (2019), section 3.2."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"ball"})
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(posterior.latent_shape)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return PoincareNormalDistribution(jnp.zeros(self.shape), jnp.ones(self.shape))
