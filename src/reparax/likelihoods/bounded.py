"""Likelihoods of values in an interval or a finite set: binary, intensities, integers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import ContinuousBernoulli as ContinuousBernoulliDistribution
from reparax.distributions import DiscretizedLogistic as DiscretizedLogisticDistribution
from reparax.distributions import IntegerCategorical
from reparax.distributions.discrete import Bernoulli as BernoulliDistribution
from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder, require
from reparax.networks import Network
from reparax.pytrees import Frozen, exp_soft_bound, soft_bound
from reparax.summary import Summary


class Bernoulli(AbstractLikelihood):
    """p(x | z) = prod_d Bernoulli(x_d; sigmoid(logit_d(z))), Kingma & Welling (2014), appendix C.1, equation 11."""

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "BernoulliDecoder":
        require(
            summary.kind == "binary",
            likelihood="bernoulli",
            expected="only 0 and 1",
            summary=summary,
            cure="choose --likelihood continuous-bernoulli, which is normalized on an interval, or binarize with "
            "--binarize dynamic",
        )
        return BernoulliDecoder(make_decoder(1, key=key))


class BernoulliDecoder(Likelihood):
    """The weights of `Bernoulli`."""

    network: Network

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        logits = self.network(jnp.ravel(z))[0]
        return BernoulliDistribution(logits).to_event(logits.ndim)


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


MOST_CLASSES = 1024


class Categorical(AbstractLikelihood):
    """p(x | z) = prod_d Categorical(x_d - low; softmax(logits_d(z))), one logit per value and dimension."""

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "CategoricalDecoder":
        low, high = float(summary.low.min()), float(summary.high.max())
        require(
            summary.is_whole and high - low < MOST_CLASSES,
            likelihood="categorical",
            expected=f"whole numbers with at most {MOST_CLASSES} different values",
            summary=summary,
            cure="choose --likelihood negative-binomial for large counts, or normal for values that are not whole",
        )
        return CategoricalDecoder(make_decoder(int(high - low) + 1, key=key), int(low))


class CategoricalDecoder(Likelihood):
    """The weights of `Categorical`."""

    network: Network
    low: int = eqx.field(static=True)

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        logits = jnp.moveaxis(self.network(jnp.ravel(z)), 0, -1)
        return IntegerCategorical(logits, self.low).to_event(logits.ndim - 1)


class DiscretizedLogistic(AbstractLikelihood):
    """p(x | z) = prod_d of a logistic rounded to the whole numbers low..high; the edge bins include the tails.

    Kingma et al. (2016), equation 12; location and log-scale come from the network, in units of half the range.
    These are probabilities, so that bits per dimension are comparable between models.
    """

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "DiscretizedLogisticDecoder":
        require(
            summary.is_whole,
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
        scale = half * exp_soft_bound(log_scale - 2.0, -7.0, 2.0)
        return DiscretizedLogisticDistribution(loc, scale, self.low, self.high).to_event(loc.ndim)
