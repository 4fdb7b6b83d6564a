"""The negative binomial likelihood, for counts that vary more than Poisson."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder
from reparax.likelihoods.poisson import LOG_RATE_BOUNDS, log_mean, require_counts
from reparax.networks import Network
from reparax.pytrees import Frozen, soft_bound
from reparax.summary import Summary


class NegativeBinomial(AbstractLikelihood):
    """p(x | z) = prod_d NB(x_d; mean m_d exp(eta_d(z)), concentration r_d), variance mean + mean^2 / r, r learned.

    Lopez et al. (2018), "Deep generative modeling for single-cell transcriptomics", equation 5 (without dropout).
    """

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "NegativeBinomialDecoder":
        require_counts(summary, "negative-binomial")
        shape = () if summary.is_image else summary.event_shape
        return NegativeBinomialDecoder(make_decoder(1, key=key), jnp.zeros(shape), log_mean(summary))


class NegativeBinomialDecoder(Likelihood):
    """The weights of `NegativeBinomial`."""

    network: Network
    log_concentration: Float[Array, "*event"]
    log_mean: Frozen

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        eta = self.network(jnp.ravel(z))[0]
        mean = jnp.exp(jnp.broadcast_to(self.log_mean.value, eta.shape) + soft_bound(eta, *LOG_RATE_BOUNDS))
        concentration = jnp.exp(soft_bound(self.log_concentration, -6.0, 8.0))
        return dist.NegativeBinomial2(mean, jnp.broadcast_to(concentration, eta.shape)).to_event(eta.ndim)
