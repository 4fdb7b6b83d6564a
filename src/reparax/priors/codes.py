"""Priors of codes: indices of vectors in a codebook."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.codes import AutoregressiveCodes as AutoregressiveDistribution
from reparax.distributions.codes import independent_codes
from reparax.networks import Network, beside_context
from reparax.networks.masked import MaskedPerceptron
from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.posteriors.codes import CodePosterior
from reparax.priors._base import AbstractPrior, MakeNetwork, Prior
from reparax.pytrees import soft_bound
from reparax.summary import Summary

CODES = frozenset({"codes"})


class UniformCodes(AbstractPrior):
    """p(z) = K^-P: all codes equally probable, van den Oord et al. (2017), section 3.2."""

    latent_spaces: ClassVar[frozenset[str]] = CODES

    def create(self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array) -> Prior:
        """There are no weights."""
        return EqualCodes()


class EqualCodes(Prior):
    """Equally probable codes of the posterior's codebook."""

    latent_spaces: ClassVar[frozenset[str]] = CODES

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        of_codes = _of_codes(posterior)
        return independent_codes(jnp.zeros((of_codes.num_indices, of_codes.num_codes)), of_codes.codebooks)


class IndependentCodes(AbstractPrior):
    """p(z) = prod_p softmax(logits_p)_(k_p), with learned logits: how often each code is used at each position."""

    latent_spaces: ClassVar[frozenset[str]] = CODES

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "CodeFrequencies":
        """Equally probable codes."""
        of_codes = _of_codes(posterior)
        return CodeFrequencies(jnp.zeros((of_codes.num_indices, of_codes.num_codes)))


class CodeFrequencies(Prior):
    """The logits of independent indices, softly bounded.

    Args:
        logits: One for each value of each index.
    """

    latent_spaces: ClassVar[frozenset[str]] = CODES
    logits: Float[Array, "p k"]

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        return independent_codes(soft_bound(self.logits, -30.0, 30.0), _of_codes(posterior).codebooks)


class AutoregressiveCodes(AbstractPrior):
    """p(z) = prod_p p(k_p | k_1..k_(p-1)), the probabilities of each index from a masked network of those before it.

    Such a prior is fitted to the codes after training in van den Oord et al. (2017), section 3.2; the network is that
    of Germain et al. (2015), "MADE", equations 8 and 9. In a conditional model it sees the context too. A draw takes as
    many passes as there are indices. Estimators that relax drawn codes, such as ``straight-through``, are refused.

    Args:
        width: Units of the hidden layer.
    """

    latent_spaces: ClassVar[frozenset[str]] = CODES
    width: int = option(128, low=1, high=100_000)

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "LearnedCodes":
        """Equally probable codes."""
        of_codes, of_model = _of_codes(posterior), make_network(1, (1,), key=key)
        count, values = of_codes.num_indices, of_codes.num_codes

        def network(in_size: int) -> Network:
            beside = in_size - count * values
            return MaskedPerceptron(
                count, self.width, num_blocks=values, input_blocks=values, context_size=beside, key=key
            )

        return LearnedCodes(beside_context(network, count * values, of_model))


class LearnedCodes(Prior):
    """The weights of `AutoregressiveCodes`.

    Args:
        network: From one-hot vectors to logits, softly bounded.
    """

    latent_spaces: ClassVar[frozenset[str]] = CODES
    is_autoregressive: ClassVar[bool] = True
    network: Network

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        of_codes = _of_codes(posterior)
        return AutoregressiveDistribution(self._bounded, of_codes.codebooks, of_codes.num_indices)

    def _bounded(self, one_hot: Float[Array, " i"]) -> Float[Array, " o"]:
        return soft_bound(self.network(one_hot), -30.0, 30.0)


def _of_codes(posterior: Posterior) -> CodePosterior:
    assert isinstance(posterior, CodePosterior)
    return posterior
