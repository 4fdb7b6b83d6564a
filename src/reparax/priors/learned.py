"""Priors with weights: trained with the model, or fitted to its codes after training."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.discrete import Bernoulli as BernoulliDistribution
from reparax.networks import Network
from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.priors._base import AbstractPrior, MakeNetwork, Prior
from reparax.pytrees import Frozen, soft_bound
from reparax.summary import Summary

MOST_COMPONENTS = 100_000
REAL = frozenset({"real"})


class NormalMixture(AbstractPrior):
    """p(z) = sum_k pi_k N(z; m_k, diag(s_k^2)), all learned; Tomczak & Welling (2018), section 3.1 ("MoG").

    Args:
        num_components: The number of components.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    num_components: int = option(50, low=1, high=MOST_COMPONENTS)

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "LearnedMixture":
        """Unit Normals of equal weight around draws from a standard Normal."""
        shape = (self.num_components, *posterior.latent_shape)
        return LearnedMixture(jnp.zeros(self.num_components), jax.random.normal(key, shape), jnp.zeros(shape))


class LearnedMixture(Prior):
    """The weights of a mixture of Normals.

    Args:
        logits: The logits of the components' weights.
        loc: The components' means.
        log_scale: The logarithms of their standard deviations, softly bounded.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    logits: Float[Array, " k"]
    loc: Float[Array, "k d"]
    log_scale: Float[Array, "k d"]

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        scale = jnp.exp(soft_bound(self.log_scale, -6.0, 4.0))
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), dist.Normal(self.loc, scale).to_event(1))


class ConditionalNormal(AbstractPrior):
    """p(z | c) = N(z; m(c), diag(s(c)^2)), m and log s a network of what is given, c; without c, one learned Normal.

    Sohn, Lee & Yan (2015), "Learning structured output representation using deep conditional generative models",
    equation 4. Codes then depend on c; with a prior that is the same for all c, they do not.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "NormalOfContext":
        """A network of the chosen architecture; a constant is its input beside the context."""
        return NormalOfContext(make_network(1, (2, *posterior.latent_shape), key=key))


class NormalOfContext(Prior):
    """The weights of a Normal that depends on the context.

    Args:
        network: Gives the mean, and the logarithm of the standard deviation, softly bounded.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    network: Network

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        loc, log_scale = self.network(jnp.ones(1))
        return dist.Normal(loc, jnp.exp(soft_bound(log_scale, -6.0, 4.0))).to_event(1)


class LearnedBernoulli(AbstractPrior):
    """p(z) = prod_d Bernoulli(z_d; sigmoid(logit_d)) with learned logits.

    Mnih & Gregor (2014), section 3.
    """

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"binary"})

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "LearnedLogits":
        """Fair coins."""
        return LearnedLogits(jnp.zeros(posterior.latent_shape))


class LearnedLogits(Prior):
    """The logits of independent bits, softly bounded.

    Args:
        logits: One for each bit.
    """

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"binary"})
    logits: Float[Array, "*latent"]

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        return BernoulliDistribution(soft_bound(self.logits, -15.0, 15.0)).to_event(self.logits.ndim)


class FittedNormal(AbstractPrior):
    """p(z) = N(z; m, L L^T), the moments of the training data's codes, Ghosh et al. (2020), section 4.

    It is not trained: it is the standard Normal until training has ended. Only for posteriors without a density.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    fitted_afterwards: ClassVar[bool] = True

    def create(self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array) -> "Moments":
        """The standard Normal."""
        (size,) = posterior.latent_shape
        return Moments(Frozen(jnp.zeros(size)), Frozen(jnp.eye(size)))


class Moments(Prior):
    """The Normal with the moments of codes.

    Args:
        loc: The mean.
        scale_tril: The Cholesky factor of the covariance.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    fitted_afterwards: ClassVar[bool] = True
    loc: Frozen
    scale_tril: Frozen

    def fitted_to(self, codes: np.ndarray) -> "Moments":
        """The Normal with the mean and covariance of codes, shape (n, d)."""
        codes = np.asarray(codes, np.float64)
        covariance = np.atleast_2d(np.cov(codes, rowvar=False, bias=True))
        floor = 1e-6 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
        factor = np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))
        loc, scale_tril = jnp.asarray(codes.mean(axis=0), jnp.float32), jnp.asarray(factor, jnp.float32)
        return Moments(Frozen(loc), Frozen(scale_tril))

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        return dist.MultivariateNormal(self.loc.value, scale_tril=self.scale_tril.value)
