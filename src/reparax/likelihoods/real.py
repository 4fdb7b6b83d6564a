"""Likelihoods of real numbers: Normal, and Student-t for data with outliers."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.likelihoods._base import AbstractLikelihood, Likelihood, MakeDecoder
from reparax.networks import Network
from reparax.pytrees import Frozen, soft_bound
from reparax.summary import Summary

LOG_SCALE_BOUNDS = (-7.0, 3.0)


class Normal(AbstractLikelihood):
    """p(x | z) = prod_d N(x_d; m_d + s_d mu_d(z), (s_d sigma_d)^2) with one learned noise scale per dimension.

    m and s are the data's mean and standard deviation: the network works in standard units, but the density is in the
    user's units (Tipping & Bishop 1999, equation 3, for a linear mu and one sigma). A ``log_scale`` of shape () is one
    scale for all dimensions.
    """

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "NormalDecoder":
        scale_shape = () if summary.is_image else summary.event_shape
        mean, std = jnp.asarray(summary.mean, jnp.float32), jnp.asarray(summary.std, jnp.float32)
        return NormalDecoder(make_decoder(1, key=key), jnp.full(scale_shape, -0.5), Frozen(mean), Frozen(std))


class NormalDecoder(Likelihood):
    """The weights of `Normal`."""

    network: Network
    log_scale: Float[Array, "*event"]
    mean: Frozen
    std: Frozen

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        loc = self.network(jnp.ravel(z))[0]
        mean, std = jnp.broadcast_to(self.mean.value, loc.shape), jnp.broadcast_to(self.std.value, loc.shape)
        scale = jnp.broadcast_to(jnp.exp(soft_bound(self.log_scale, *LOG_SCALE_BOUNDS)), loc.shape)
        return dist.Normal(mean + std * loc, std * scale).to_event(loc.ndim)


class StudentT(AbstractLikelihood):
    """p(x | z) = prod_d StudentT(x_d; nu_d, m_d + s_d mu_d(z), s_d sigma_d), scale and nu > 1 learned per dimension.

    m and s are the data's mean and standard deviation, the density is in the user's units. Takahashi et al. (2018),
    "Student-t variational autoencoder for robust density estimation", equation 7, with scale and nu independent of z.
    """

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "StudentTDecoder":
        shape = () if summary.is_image else summary.event_shape
        mean, std = jnp.asarray(summary.mean, jnp.float32), jnp.asarray(summary.std, jnp.float32)
        return StudentTDecoder(
            make_decoder(1, key=key), jnp.full(shape, -0.5), jnp.full(shape, 1.5), Frozen(mean), Frozen(std)
        )


class StudentTDecoder(Likelihood):
    """The weights of `StudentT`."""

    network: Network
    log_scale: Float[Array, "*event"]
    log_df: Float[Array, "*event"]
    mean: Frozen
    std: Frozen

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        loc = self.network(jnp.ravel(z))[0]
        mean, std = jnp.broadcast_to(self.mean.value, loc.shape), jnp.broadcast_to(self.std.value, loc.shape)
        scale = jnp.broadcast_to(jnp.exp(soft_bound(self.log_scale, *LOG_SCALE_BOUNDS)), loc.shape)
        df = jnp.broadcast_to(1 + jnp.exp(soft_bound(self.log_df, -4.0, 7.0)), loc.shape)
        return dist.StudentT(df, mean + std * loc, std * scale).to_event(loc.ndim)
