"""Likelihoods of color images, whose channels depend on each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import DiscretizedLogisticMixture as Distribution
from reparax.errors import DataError
from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder, require
from reparax.networks import Network
from reparax.parts import option
from reparax.pytrees import exp_soft_bound
from reparax.summary import Summary

SPREAD = 0.5
"""The distance of the outermost components from the middle of the range at first, in half ranges."""


class DiscretizedLogisticMixture(AbstractLikelihood):
    """p(x | z) = prod over pixels of a mixture of discretized logistics, each channel linear in those before it.

    Salimans et al. (2017), "PixelCNN++", equations 1 to 3. What is left of a pixel once z is known is much the same in
    all channels, which a product over channels cannot say. All parameters are functions of z; locations and log-scales
    are in units of half the range. These are probabilities, so that bits per dimension are comparable between models.

    Args:
        num_components: The number of components of the mixture of each pixel.
    """

    num_components: int = option(5, low=1, high=1000)

    def create(
        self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array
    ) -> "DiscretizedLogisticMixtureDecoder":
        require(
            summary.is_whole,
            likelihood="discretized-logistic-mixture",
            expected="whole numbers",
            summary=summary,
            cure="choose --likelihood normal, student-t or continuous-bernoulli for values that are not whole",
        )
        if len(summary.event_shape) != 3:
            raise DataError(
                expected="images of shape (height, width, channels) for the discretized-logistic-mixture likelihood",
                got=f"examples of shape {summary.event_shape}",
                cure="choose --likelihood discretized-logistic, which takes values one by one",
            )
        low, high = int(summary.low.min()), int(summary.high.max())
        *pixels, channels = summary.event_shape
        size = self.num_components * (1 + 2 * channels + channels * (channels - 1) // 2)
        network = make_decoder(1, (*pixels, size), key=key)
        return DiscretizedLogisticMixtureDecoder(network, self.num_components, channels, low, max(high, low + 1))


class DiscretizedLogisticMixtureDecoder(Likelihood):
    """The weights of `DiscretizedLogisticMixture`."""

    network: Network
    num_components: int = eqx.field(static=True)
    num_channels: int = eqx.field(static=True)
    low: int = eqx.field(static=True)
    high: int = eqx.field(static=True)

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        (outputs,) = self.network(jnp.ravel(z))
        count, half = self.num_channels, 0.5 * (self.high - self.low)
        # Components come first and all rows are split at once, so that neighbors in memory are pixels, of which there
        # are many, and derivatives are put together in one piece.
        first = jnp.moveaxis(outputs, -1, 0)
        logits, *rows = jnp.split(first, len(first) // self.num_components)
        places = jnp.linspace(-SPREAD, SPREAD, self.num_components) if self.num_components > 1 else jnp.zeros(1)
        middles = 1.0 + places.reshape(-1, *(1,) * (outputs.ndim - 1))
        return Distribution(
            jnp.moveaxis(logits, 0, -1),
            _stacked([self.low + half * (middles + row) for row in rows[:count]], logits),
            _stacked([half * exp_soft_bound(row - 2.0, -7.0, 2.0) for row in rows[count : 2 * count]], logits),
            _stacked([jnp.tanh(row) for row in rows[2 * count :]], logits),
            self.low,
            self.high,
        ).to_event(outputs.ndim - 1)


def _stacked(rows: list[Float[Array, "k *batch"]], like: Float[Array, "k *batch"]) -> Float[Array, "*batch r k"]:
    """The rows of the pixels, none of them if there is a single channel."""
    if not rows:
        return jnp.zeros((*like.shape[1:], 0, like.shape[0]), like.dtype)
    return jnp.stack([jnp.moveaxis(row, 0, -1) for row in rows], axis=-2)
