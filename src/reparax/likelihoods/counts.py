"""Likelihoods of counts: Poisson and negative binomial, with additional zeros, and with the size of an example."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array, Float

from reparax import distributions as counts
from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder, require
from reparax.networks import Network
from reparax.parts import option
from reparax.pytrees import Frozen, soft_bound
from reparax.summary import Summary

LOG_RATE_BOUNDS = (-15.0, 12.0)
LOG_CONCENTRATION_BOUNDS = (-6.0, 8.0)
GATE_BOUNDS = (-12.0, 12.0)
FIRST_GATE = -2.0
"""The log odds of an additional zero from which training starts."""


def require_counts(summary: Summary, likelihood: str) -> None:
    """Refuses data other than nonnegative whole numbers.

    Raises:
        DataError: The data are not counts.
    """
    require(
        summary.is_whole and float(summary.low.min()) >= 0,
        likelihood=likelihood,
        expected="counts (whole numbers, none negative)",
        summary=summary,
        cure="choose --likelihood normal or student-t for values that are not counts",
    )


def log_mean(summary: Summary) -> Frozen:
    """The logarithm of the data's mean, at least log 0.001, from which rates start."""
    return Frozen(jnp.log(jnp.maximum(jnp.asarray(summary.mean, jnp.float32), 1e-3)))


MakeCounts = Callable[[Array], dist.Distribution]


class Means(eqx.Module):
    """How the means of the counts follow from the outputs of a network, and what is the distribution of an example."""

    @abstractmethod
    def __call__(self, log_means: Float[Array, "*event"], make: MakeCounts) -> dist.Distribution:
        """The distribution of an example.

        Args:
            log_means: The logarithms of the means, up to the size of the example.
            make: The distribution of the counts with given means, element by element; a pytree.
        """


class FreeMeans(Means):
    """The network gives the means."""

    def __call__(self, log_means: Float[Array, "*event"], make: MakeCounts) -> dist.Distribution:
        return make(jnp.exp(log_means)).to_event(log_means.ndim)


class MeansOfSize(Means):
    """The means are the size of the example times softmax(network); the weights are those of the size's distribution.

    Attributes:
        log_total: The logarithm of the mean size.
        log_concentration: That of the concentration of the negative binomial distribution of the size.
        exact: Whether the size is integrated out, for Poisson counts.
    """

    log_total: Float[Array, ""]
    log_concentration: Float[Array, ""]
    exact: bool = eqx.field(static=True)

    def __call__(self, log_means: Float[Array, "*event"], make: MakeCounts) -> dist.Distribution:
        concentration = jnp.exp(soft_bound(self.log_concentration, *LOG_CONCENTRATION_BOUNDS))
        total = counts.NegativeBinomial(jnp.exp(self.log_total), concentration)
        log_shares = log_means - jax.nn.logsumexp(log_means)
        return counts.OfTotal(log_shares, total, make, exact=self.exact)


SIZES = ("none", "observed")
LATENT = "choose one of these; a latent size is integrated out in closed form for Poisson counts only"


def means_of(size: str, summary: Summary) -> Means:
    """The means for a ``library_size``."""
    if size == "none":
        return FreeMeans()
    total = jnp.sum(jnp.broadcast_to(jnp.asarray(summary.mean, jnp.float32), summary.event_shape))
    return MeansOfSize(jnp.log(jnp.maximum(total, 1e-3)), jnp.ones(()), size == "latent")


def log_concentrations(summary: Summary) -> Float[Array, "*event"]:
    """The first logarithms of concentrations: one for each dimension, or one for all pixels."""
    return jnp.zeros(() if summary.is_image else summary.event_shape)


def _log_means(log_mean: Frozen, eta: Float[Array, "*event"]) -> Float[Array, "*event"]:
    return jnp.broadcast_to(log_mean.value, eta.shape) + soft_bound(eta, *LOG_RATE_BOUNDS)


def _concentration(logarithm: Float[Array, "..."], like: Float[Array, "*event"]) -> Float[Array, "*event"]:
    return jnp.broadcast_to(jnp.exp(soft_bound(logarithm, *LOG_CONCENTRATION_BOUNDS)), like.shape)


def _negative_binomial(concentration: Array, mean: Array) -> dist.Distribution:
    return counts.NegativeBinomial(mean, concentration)


def _inflated(logits: Array, make: MakeCounts, mean: Array) -> dist.Distribution:
    return counts.ZeroInflated(make(mean), logits)


def _gates(outputs: Float[Array, "*event"]) -> Float[Array, "*event"]:
    return soft_bound(outputs + FIRST_GATE, *GATE_BOUNDS)


class Poisson(AbstractLikelihood):
    """p(x | z) = prod_d Poisson(x_d; m_d exp(eta_d(z))), m the data's mean, eta softly bounded.

    Gopalan et al. (2013) and Liang et al. (2018) use it for count matrices; here the rate is a network's output. With a
    library size l the means are l softmax_d(log m + eta(z)).

    Args:
        library_size: ``"none"``; ``"latent"`` for l ~ Gamma, integrated out exactly, so that the total of x has a
            negative binomial distribution and x given it a multinomial one; or ``"observed"`` as of `NegativeBinomial`.
    """

    library_size: str = option("none", choices=(*SIZES, "latent"))
    of_counts: ClassVar[bool] = True

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "PoissonDecoder":
        require_counts(summary, "poisson")
        means = means_of(self.library_size, summary)
        return PoissonDecoder(make_decoder(1, key=key), log_mean(summary), means)


class PoissonDecoder(Likelihood):
    """The weights of `Poisson`."""

    network: Network
    log_mean: Frozen
    means: Means

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        eta = self.network(jnp.ravel(z))[0]
        return self.means(_log_means(self.log_mean, eta), Partial(counts.Poisson))


class NegativeBinomial(AbstractLikelihood):
    """p(x | z) = prod_d NB(x_d; mean m_d exp(eta_d(z)), concentration r_d), variance mean + mean^2 / r, r learned.

    Lopez et al. (2018), "Deep generative modeling for single-cell transcriptomics", equation 5 (without dropout). With
    a library size l the means are l softmax_d(log m + eta(z)), as there.

    Args:
        library_size: ``"none"``, or ``"observed"``: l is a latent whole number with a negative binomial distribution
            that is learned, and its posterior is the total of x. Then log p(x | z) stands for its lower bound
            log p(l) + log p(x | z, l) at l = sum_d x_d.
    """

    library_size: str = option("none", choices=SIZES, cure=LATENT)
    of_counts: ClassVar[bool] = True

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "NegativeBinomialDecoder":
        require_counts(summary, "negative-binomial")
        means = means_of(self.library_size, summary)
        return NegativeBinomialDecoder(
            make_decoder(1, key=key), log_concentrations(summary), log_mean(summary), means
        )  # fmt: skip


class NegativeBinomialDecoder(Likelihood):
    """The weights of `NegativeBinomial`."""

    network: Network
    log_concentration: Float[Array, "*event"]
    log_mean: Frozen
    means: Means

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        eta = self.network(jnp.ravel(z))[0]
        make = Partial(_negative_binomial, _concentration(self.log_concentration, eta))
        return self.means(_log_means(self.log_mean, eta), make)


class ZeroInflatedPoisson(AbstractLikelihood):
    """p(x | z) = prod_d [g_d(z) 1(x_d = 0) + (1 - g_d(z)) Poisson(x_d; m_d exp(eta_d(z)))].

    Lambert (1992), "Zero-inflated Poisson regression, with an application to defects in manufacturing", equation 1. Its
    mean is (1 - g) times that of the Poisson distribution.

    Args:
        library_size: As for `NegativeBinomial`.
    """

    library_size: str = option("none", choices=SIZES, cure=LATENT)
    of_counts: ClassVar[bool] = True

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "ZeroInflatedPoissonDecoder":
        require_counts(summary, "zero-inflated-poisson")
        means = means_of(self.library_size, summary)
        return ZeroInflatedPoissonDecoder(make_decoder(2, key=key), log_mean(summary), means)


class ZeroInflatedPoissonDecoder(Likelihood):
    """The weights of `ZeroInflatedPoisson`."""

    network: Network
    log_mean: Frozen
    means: Means

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        eta, gates = self.network(jnp.ravel(z))
        return self.means(_log_means(self.log_mean, eta), Partial(_inflated, _gates(gates), Partial(counts.Poisson)))


class ZeroInflatedNegativeBinomial(AbstractLikelihood):
    """p(x | z) = prod_d [g_d(z) 1(x_d = 0) + (1 - g_d(z)) NB(x_d; mean m_d exp(eta_d(z)), concentration r_d)].

    Lopez et al. (2018), equations 5 and 6: the gates g are outputs of the network, one r for each dimension is learned.
    The mean is (1 - g) times that of the negative binomial distribution.

    Args:
        library_size: As for `NegativeBinomial`.
    """

    library_size: str = option("none", choices=SIZES, cure=LATENT)
    of_counts: ClassVar[bool] = True

    def create(
        self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array
    ) -> "ZeroInflatedNegativeBinomialDecoder":
        require_counts(summary, "zero-inflated-negative-binomial")
        means = means_of(self.library_size, summary)
        return ZeroInflatedNegativeBinomialDecoder(
            make_decoder(2, key=key), log_concentrations(summary), log_mean(summary), means
        )


class ZeroInflatedNegativeBinomialDecoder(Likelihood):
    """The weights of `ZeroInflatedNegativeBinomial`."""

    network: Network
    log_concentration: Float[Array, "*event"]
    log_mean: Frozen
    means: Means

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        eta, gates = self.network(jnp.ravel(z))
        make = Partial(_negative_binomial, _concentration(self.log_concentration, eta))
        return self.means(_log_means(self.log_mean, eta), Partial(_inflated, _gates(gates), make))
