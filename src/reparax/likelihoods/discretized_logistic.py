"""The discretized logistic likelihood, for integer pixels."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import DiscretizedLogistic as DiscretizedLogisticDistribution
from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder, require
from reparax.networks import Network
from reparax.pytrees import soft_bound
from reparax.summary import Summary


class DiscretizedLogistic(AbstractLikelihood):
    """p(x | z) = prod_d of a logistic rounded to the whole numbers low..high, edge bins taking the tails.

    Kingma et al. (2016), equation 12; location and log-scale come from the network, in units of half the range.
    Probabilities, so bits per dimension are comparable between models.
    """

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "DiscretizedLogisticDecoder":
        require(
            summary.kind != "real",
            likelihood="discretized-logistic",
            expected="whole numbers",
            summary=summary,
            cure="choose --likelihood normal, student-t or continuous-bernoulli for values that are not whole",
        )
        return DiscretizedLogisticDecoder(
            make_decoder(2, key=key), int(summary.low.min()), max(int(summary.high.max()), int(summary.low.min()) + 1)
        )


class DiscretizedLogisticDecoder(Likelihood):
    """The weights of `DiscretizedLogistic`."""

    network: Network
    low: int = eqx.field(static=True)
    high: int = eqx.field(static=True)

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        location, log_scale = self.network(jnp.ravel(z))
        half = 0.5 * (self.high - self.low)
        loc = self.low + half + half * location
        scale = half * jnp.exp(soft_bound(log_scale - 2.0, -7.0, 2.0))
        return DiscretizedLogisticDistribution(loc, scale, self.low, self.high).to_event(loc.ndim)
