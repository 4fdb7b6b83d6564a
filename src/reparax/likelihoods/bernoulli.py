"""The Bernoulli likelihood, for binary data."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.bernoulli import Bernoulli as BernoulliDistribution
from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder, require
from reparax.networks import Network
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
