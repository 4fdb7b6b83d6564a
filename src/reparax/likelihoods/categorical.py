"""The categorical likelihood, for whole numbers whose order does not matter."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import IntegerCategorical
from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder, require
from reparax.networks import Network
from reparax.summary import Summary

MOST_CLASSES = 1024


class Categorical(AbstractLikelihood):
    """p(x | z) = prod_d Categorical(x_d - low; softmax(logits_d(z))), one logit per value and dimension."""

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "CategoricalDecoder":
        low, high = float(summary.low.min()), float(summary.high.max())
        require(
            summary.kind != "real" and high - low < MOST_CLASSES,
            likelihood="categorical",
            expected=f"whole numbers of at most {MOST_CLASSES} values",
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
