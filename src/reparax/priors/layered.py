"""Priors of several layers of latent variables."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions import Constant, Layers, NormalOf, Slices, layer_slices, layered_normal
from reparax.networks import Network
from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.priors._base import AbstractPrior, MakeNetwork, Prior
from reparax.summary import Summary

REAL = frozenset({"real"})


class TopDown(AbstractPrior):
    """p(z) = N(z_L; 0, I) p(z_(L-1) | z_L) ... p(z_1 | z_2), each a Normal given the layer above; z_L comes first in z.

    Rezende, Mohamed & Wierstra (2014), "Stochastic backpropagation", equations 4 to 8, without the layers' residual
    maps. A posterior with layers says how many there are, and some (`ladder`, `top-down-residual`) share theirs with
    the prior. In a conditional model the layers after the first depend on the context.

    Args:
        num_layers: The number of layers, for a posterior without layers.
        ratio: The dimensions of a layer for each dimension of the layer below, for a posterior without layers.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    num_layers: int = option(2, low=1, high=1000)
    ratio: float = option(0.5, low=0.01, high=100)

    def create(self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array) -> Prior:
        """Networks of the chosen architecture, or none if the posterior has them."""
        if posterior.shares_layers:
            return SharedLayers()
        slices = posterior.layer_slices
        if len(slices) == 1:
            slices = layer_slices(*posterior.latent_shape, self.num_layers, self.ratio)
        sizes = [end - start for start, end in slices]
        keys = jax.random.split(key, len(sizes))
        pairs = zip(sizes, sizes[1:], keys, strict=False)
        return LearnedLayers(tuple(make_network(above, (2, size), key=each) for above, size, each in pairs), slices)


class SharedLayers(Prior):
    """The layers that belong to the posterior as well."""

    latent_spaces: ClassVar[frozenset[str]] = REAL

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        return layered_normal(posterior.top_down, *posterior.latent_shape)


class LearnedLayers(Prior):
    """The weights of `TopDown`.

    Args:
        networks: From each layer to mean and log standard deviation of the next, the latter softly bounded.
        slices: Where the layers are in z.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    networks: tuple[Network, ...]
    slices: Slices = eqx.field(static=True)

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        start, end = self.slices[0]
        first = Constant(jnp.zeros((2, end - start)))
        layers = Layers((first, *map(NormalOf, self.networks)), self.slices)
        return layered_normal(layers, self.slices[-1][1])
