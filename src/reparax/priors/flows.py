"""A normalizing flow as prior, trained together with the model."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions import Coupling, halves
from reparax.distributions import CouplingFlow as CouplingFlowDistribution
from reparax.networks.mlp import Perceptron
from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.priors._base import AbstractPrior, MakeNetwork, Prior
from reparax.summary import Summary

REAL = frozenset({"real"})


class CouplingFlow(AbstractPrior):
    """p(z) = N(f^-1(z); 0, I) |det df^-1/dz|, f affine couplings, at first the identity.

    A prior that matches the aggregate posterior has no regions from which unrealistic rows are sampled: Chen et al.
    (2017), "Variational lossy autoencoder", section 3.2; the flow of Dinh et al. (2017), equations 7 and 8.

    Args:
        num_couplings: The number of couplings.
        width: Units of the two hidden layers of each coupling's network.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    num_couplings: int = option(6, low=1, high=1000)
    width: int = option(64, low=1, high=100_000)

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "LearnedCouplings":
        """The identity."""
        (size,) = posterior.latent_shape
        keys, masks = jax.random.split(key, self.num_couplings), halves(size, self.num_couplings)
        networks = (_zero_at_first(size, self.width, network_key) for network_key in keys)
        return LearnedCouplings(tuple(map(Coupling, networks, masks)), size)


class LearnedCouplings(Prior):
    """The weights of a coupling flow.

    Args:
        layers: The couplings.
        latent_dim: The number of latent dimensions.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    layers: tuple[Coupling, ...]
    latent_dim: int = eqx.field(static=True)

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        return CouplingFlowDistribution(self.layers, self.latent_dim)


def _zero_at_first(latent_dim: int, width: int, key: jax.Array) -> Perceptron:
    """A network whose last layer is zero, so that its coupling is the identity."""
    network = Perceptron(latent_dim, (width, width), (2 * latent_dim,), key=key)
    last = network.layers[-1]
    return eqx.tree_at(lambda made: made.layers[-1].weight, network, jnp.zeros_like(last.weight))
