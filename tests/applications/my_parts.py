"""A user's own parts, written against nothing but the public abstract bases."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.likelihoods import AbstractLikelihood, Likelihood
from reparax.posteriors import AbstractFamily
from reparax.priors import AbstractPrior, Prior
from reparax.summary import Summary


class ShiftedNormal(AbstractPrior):
    """p(z) = N(z; f(1), I): a prior with a network of the recipe's architecture; of a context, where there is one."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"real"})

    def create(self, posterior, summary: Summary, make_network, *, key: jax.Array) -> "Shifted":
        return Shifted(make_network(1, posterior.latent_shape, key=key))


class Shifted(Prior):
    """The weights of `ShiftedNormal`."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"real"})
    network: Callable[[Array], Array]

    def __call__(self, posterior) -> dist.Distribution:
        return dist.Normal(self.network(jnp.ones(1)), 1.0).to_event(1)


class Wave(eqx.Module):
    """A network of two layers with a sine between them."""

    first: Float[Array, "in hidden"]
    second: Float[Array, "hidden out"]
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> None:
        one, two = jax.random.split(key)
        size = 1
        for side in out_shape:
            size *= side
        self.first = 0.3 * jax.random.normal(one, (in_size, 8))
        self.second = 0.3 * jax.random.normal(two, (8, size))
        self.out_shape = out_shape

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return (jnp.sin(jnp.ravel(x).astype(jnp.float32) @ self.first) @ self.second).reshape(self.out_shape)


class LogisticNoise(AbstractFamily):
    """q(z | x): a Logistic around the network's output, a posterior that reparax does not have."""

    latent_space: ClassVar = "real"
    default_prior: ClassVar[str] = "standard-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return dist.Logistic(outputs, jnp.full(latent_dim, 0.2)).to_event(1)


class LaplaceNoise(AbstractLikelihood):
    """p(x | z) = prod_d Laplace(x_d; mu_d(z), b), a likelihood that reparax does not have."""

    def create(self, make_decoder, summary: Summary, *, key: jax.Array) -> "LaplaceDecoder":
        return LaplaceDecoder(make_decoder(1, key=key), jnp.zeros(()))


class LaplaceDecoder(Likelihood):
    """The weights of `LaplaceNoise`."""

    network: Wave
    log_scale: Float[Array, ""]

    def __call__(self, z: Float[Array, "*latent"]) -> dist.Distribution:
        loc = self.network(z)[0]
        return dist.Laplace(loc, jnp.broadcast_to(jnp.exp(self.log_scale), loc.shape)).to_event(1)
