"""A prior of coins whose biases are learned."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.bernoulli import Bernoulli as BernoulliDistribution
from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.pytrees import soft_bound
from reparax.summary import Summary


class LearnedBernoulli(AbstractPrior):
    """p(z) = prod_d Bernoulli(z_d; sigmoid(logit_d)), the logits trained with the rest.

    Mnih & Gregor (2014), section 3.
    """

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"binary"})
    logits: Float[Array, "*latent"]

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(jnp.zeros(posterior.latent_shape))

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return BernoulliDistribution(soft_bound(self.logits, -15.0, 15.0)).to_event(self.logits.ndim)
