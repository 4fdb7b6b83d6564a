"""A normalizing flow as prior, trained together with the model."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions import Coupling, halves
from reparax.distributions import CouplingFlow as CouplingFlowDistribution
from reparax.networks.mlp import Perceptron
from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary

WIDTH = 64
DEPTH = 6


class CouplingFlow(AbstractPrior):
    """p(z) = N(f^-1(z); 0, I) |det df^-1/dz|, f six affine couplings, at first the identity.

    A prior that follows the aggregate posterior leaves no holes from which odd rows are sampled: Chen et al. (2017),
    "Variational lossy autoencoder", section 3.2; the flow of Dinh et al. (2017), equations 7 and 8.
    """

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"real"})
    layers: tuple[Coupling, ...]
    latent_dim: int = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        size = posterior.latent_dim
        keys, masks = jax.random.split(key, DEPTH), halves(size, DEPTH)
        layers = (Coupling(_zero_at_first(size, own), mask) for own, mask in zip(keys, masks, strict=True))
        return cls(tuple(layers), size)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        return CouplingFlowDistribution(self.layers, self.latent_dim)


def _zero_at_first(latent_dim: int, key: jax.Array) -> Perceptron:
    """A network whose last layer is zero, so that its coupling is the identity."""
    network = Perceptron(latent_dim, (WIDTH, WIDTH), (2 * latent_dim,), key=key)
    last = network.layers[-1]
    return eqx.tree_at(lambda made: made.layers[-1].weight, network, jnp.zeros_like(last.weight))
