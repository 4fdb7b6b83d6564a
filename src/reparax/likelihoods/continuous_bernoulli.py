"""The continuous Bernoulli likelihood, for intensities in an interval."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import ContinuousBernoulli as ContinuousBernoulliDistribution
from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder
from reparax.networks import Network
from reparax.pytrees import Frozen, soft_bound
from reparax.summary import Summary


class ContinuousBernoulli(AbstractLikelihood):
    """p(x | z) = prod_d CB(x_d; logit_d(z)) on [low, high], with its exact normalizer.

    Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders", equation 5.
    The bounds are those of the data: 0 and 255 for 8-bit images; values outside have density zero.
    """

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "ContinuousBernoulliDecoder":
        low = jnp.asarray(summary.low, jnp.float32)
        high = jnp.asarray(summary.high, jnp.float32)
        return ContinuousBernoulliDecoder(
            make_decoder(1, key=key), Frozen(low), Frozen(jnp.where(high > low, high, low + 1))
        )


class ContinuousBernoulliDecoder(Likelihood):
    """The weights of `ContinuousBernoulli`."""

    network: Network
    low: Frozen
    high: Frozen

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        logits = soft_bound(self.network(jnp.ravel(z))[0], -200.0, 200.0)
        low = jnp.broadcast_to(self.low.value, logits.shape)
        high = jnp.broadcast_to(self.high.value, logits.shape)
        return ContinuousBernoulliDistribution(logits, low, high).to_event(logits.ndim)
