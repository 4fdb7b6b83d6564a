"""Likelihoods of counts: Poisson, and negative binomial for counts that vary more."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder, require
from reparax.networks import Network
from reparax.pytrees import Frozen, soft_bound
from reparax.summary import Summary

LOG_RATE_BOUNDS = (-15.0, 12.0)


def require_counts(summary: Summary, likelihood: str) -> None:
    """Refuses data other than nonnegative whole numbers.

    Raises:
        DataError: The data are not counts.
    """
    require(
        summary.kind != "real" and float(summary.low.min()) >= 0,
        likelihood=likelihood,
        expected="counts (whole numbers, none negative)",
        summary=summary,
        cure="choose --likelihood normal or student-t for values that are not counts",
    )


def log_mean(summary: Summary) -> Frozen:
    """The logarithm of the data's mean, at least log 0.001, from which rates start."""
    return Frozen(jnp.log(jnp.maximum(jnp.asarray(summary.mean, jnp.float32), 1e-3)))


class Poisson(AbstractLikelihood):
    """p(x | z) = prod_d Poisson(x_d; m_d exp(eta_d(z))), m the data's mean, eta softly bounded.

    Gopalan et al. (2013) and Liang et al. (2018) use it for count matrices; here the rate is a network's output.
    """

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "PoissonDecoder":
        require_counts(summary, "poisson")
        return PoissonDecoder(make_decoder(1, key=key), log_mean(summary))


class PoissonDecoder(Likelihood):
    """The weights of `Poisson`."""

    network: Network
    log_mean: Frozen

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        eta = self.network(jnp.ravel(z))[0]
        rate = jnp.exp(jnp.broadcast_to(self.log_mean.value, eta.shape) + soft_bound(eta, *LOG_RATE_BOUNDS))
        return dist.Poisson(rate).to_event(eta.ndim)


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
