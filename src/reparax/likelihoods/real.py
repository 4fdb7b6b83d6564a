"""Likelihoods of real numbers: Normal, and Student-t for data with outliers."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder
from reparax.networks import Network
from reparax.parts import option
from reparax.pytrees import Frozen, soft_bound
from reparax.summary import Summary

LOG_SCALE_BOUNDS = (-7.0, 3.0)
NUM_PARAMETERS = {"constant": 1, "decoder": 2}
"""For each kind of scale, how many outputs the network has for each value of x."""


def first_log_scale(summary: Summary) -> Float[Array, "..."]:
    """One logarithm of a scale for all values of an image, or one for each value of other data."""
    return jnp.full(() if summary.is_image else summary.event_shape, -0.5)


def bounded_scale(log_scale: Float[Array, "..."], outputs: Float[Array, "parameters *event"]) -> Float[Array, "*event"]:
    """The scale in standard units, of the second outputs of the network if it has them."""
    if len(outputs) > 1:
        log_scale = log_scale + outputs[1]
    return jnp.broadcast_to(jnp.exp(soft_bound(log_scale, *LOG_SCALE_BOUNDS)), outputs.shape[1:])


class Normal(AbstractLikelihood):
    """p(x | z) = prod_d N(x_d; m_d + s_d mu_d(z), (s_d sigma_d)^2), sigma learned per dimension or a function of z.

    m and s are the data's mean and standard deviation: the network works in standard units, but the density is in the
    user's units (Tipping & Bishop 1999, equation 3, for a linear mu and one sigma). A ``log_scale`` of shape () is one
    scale for all dimensions.

    Attributes:
        scale: ``"constant"``: sigma_d is learned and the same for all z (and for all values of an image);
            ``"decoder"``: sigma_d(z) is an output of the decoder (Kingma & Welling 2014, appendix C.2, equation 12).
    """

    scale: str = option("constant", choices=tuple(NUM_PARAMETERS))

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "NormalDecoder":
        network = make_decoder(NUM_PARAMETERS[self.scale], key=key)
        mean, std = jnp.asarray(summary.mean, jnp.float32), jnp.asarray(summary.std, jnp.float32)
        return NormalDecoder(network, first_log_scale(summary), Frozen(mean), Frozen(std))


class NormalDecoder(Likelihood):
    """The weights of `Normal`."""

    network: Network
    log_scale: Float[Array, "*event"]
    mean: Frozen
    std: Frozen

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        outputs = self.network(jnp.ravel(z))
        loc, scale = outputs[0], bounded_scale(self.log_scale, outputs)
        mean, std = jnp.broadcast_to(self.mean.value, loc.shape), jnp.broadcast_to(self.std.value, loc.shape)
        return dist.Normal(mean + std * loc, std * scale).to_event(loc.ndim)


class StudentT(AbstractLikelihood):
    """p(x | z) = prod_d StudentT(x_d; nu_d, m_d + s_d mu_d(z), s_d sigma_d), nu > 1 learned per dimension.

    m and s are the data's mean and standard deviation, the density is in the user's units. Takahashi et al. (2018),
    "Student-t variational autoencoder for robust density estimation", equation 7, with nu independent of z.

    Attributes:
        scale: ``"constant"``: sigma_d is learned and the same for all z; ``"decoder"``: it is an output of the decoder,
            as in the source.
    """

    scale: str = option("constant", choices=tuple(NUM_PARAMETERS))

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "StudentTDecoder":
        network = make_decoder(NUM_PARAMETERS[self.scale], key=key)
        mean, std = jnp.asarray(summary.mean, jnp.float32), jnp.asarray(summary.std, jnp.float32)
        first = first_log_scale(summary)
        return StudentTDecoder(network, first, jnp.full(first.shape, 1.5), Frozen(mean), Frozen(std))


class StudentTDecoder(Likelihood):
    """The weights of `StudentT`."""

    network: Network
    log_scale: Float[Array, "*event"]
    log_df: Float[Array, "*event"]
    mean: Frozen
    std: Frozen

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        outputs = self.network(jnp.ravel(z))
        loc, scale = outputs[0], bounded_scale(self.log_scale, outputs)
        mean, std = jnp.broadcast_to(self.mean.value, loc.shape), jnp.broadcast_to(self.std.value, loc.shape)
        df = jnp.broadcast_to(1 + jnp.exp(soft_bound(self.log_df, -4.0, 7.0)), loc.shape)
        return dist.StudentT(df, mean + std * loc, std * scale).to_event(loc.ndim)
