"""Normalizing flows as priors, trained together with the model."""

from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import Coupling, Pushforward, halves
from reparax.distributions import CouplingFlow as CouplingFlowDistribution
from reparax.distributions.maps import Autoregressive, Inverse, Sequential, SplineCoupling, num_spline_parameters
from reparax.networks import Network, beside_context
from reparax.networks.masked import Beside, MaskedPerceptron, Scaled
from reparax.networks.mlp import Perceptron, zero_at_first
from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.priors._base import AbstractPrior, MakeNetwork, Prior
from reparax.pytrees import soft_bound
from reparax.summary import Summary

REAL = frozenset({"real"})
FIRST_GAIN = 0.1


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
        keys = jax.random.split(key, self.num_couplings)
        return _couplings([_network(size, size, self.width, each) for each in keys], size)


class ConditionalFlow(AbstractPrior):
    """p(z | c), a coupling flow whose networks see what is given, c; without c it is `CouplingFlow`.

    It follows the aggregate posterior of each c, where one p(z) for all c cannot; codes then differ between c.
    Winkler et al. (2019), "Learning likelihoods with conditional normalizing flows", equation 8.

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
        of_model = make_network(1, (1,), key=key)

        def network(each: jax.Array) -> Network:
            return beside_context(lambda in_size: _network(in_size, size, self.width, each), size, of_model)

        return _couplings([network(each) for each in jax.random.split(key, self.num_couplings)], size)


def _network(in_size: int, size: int, width: int, key: jax.Array) -> Perceptron:
    """The network of one coupling, at first that of the identity."""
    return zero_at_first(Perceptron(in_size, (width, width), (2 * size,), key=key))


def _couplings(networks: Sequence[Network], size: int) -> "LearnedCouplings":
    return LearnedCouplings(tuple(map(Coupling, networks, halves(size, len(networks)))), size)


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


class SplineFlow(AbstractPrior):
    """p(z) = N(f^-1(z); 0, I) |det df^-1/dz|, f couplings of rational-quadratic splines.

    In a conditional model the splines depend on the context. Durkan et al. (2019), "Neural spline flows", section 3.

    Args:
        num_couplings: The number of couplings.
        num_bins: Bins of each spline.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    num_couplings: int = option(4, low=1, high=1000)
    num_bins: int = option(8, low=2, high=100)

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "LearnedSplines":
        """Close to the identity: the networks' outputs are multiplied by learned numbers that are small at first."""
        (size,) = posterior.latent_shape
        keys, shape = jax.random.split(key, self.num_couplings), (size * num_spline_parameters(self.num_bins),)
        networks = tuple(make_network(size, shape, key=each) for each in keys)
        return LearnedSplines(networks, jnp.full(self.num_couplings, FIRST_GAIN), size)


class LearnedSplines(Prior):
    """The weights of `SplineFlow`.

    Args:
        networks: The networks of the couplings.
        gains: What their outputs are multiplied by.
        latent_dim: The number of latent dimensions.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    networks: tuple[Network, ...]
    gains: Float[Array, " k"]
    latent_dim: int = eqx.field(static=True)

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        masks = halves(self.latent_dim, len(self.networks))
        scaled = map(Scaled, self.networks, self.gains)
        couplings = [SplineCoupling(network, mask) for network, mask in zip(scaled, masks, strict=True)]
        return Pushforward(_standard_normal(self.latent_dim), Sequential(tuple(couplings)))


class AutoregressiveFlow(AbstractPrior):
    """p(z) = prod_i p(z_i | z_1 to z_(i-1)) through several maps, each in the opposite order of the one before.

    Each factor is a Normal at first. The density takes one pass, a draw as many as there are dimensions. In a
    conditional model it depends on the context. Papamakarios, Pavlakou & Murray (2017), "Masked autoregressive flow",
    equations 2 to 4.

    Args:
        num_maps: The number of maps.
        hidden_units: Units of the hidden layer of each map.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    num_maps: int = option(3, low=1, high=1000)
    hidden_units: int = option(64, low=1, high=100_000)

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "LearnedAutoregression":
        """Independent Normals."""
        (size,), width = posterior.latent_shape, self.hidden_units
        for_context, *keys = jax.random.split(key, 1 + self.num_maps)
        networks = tuple(MaskedPerceptron(size, width, context_size=width, key=each) for each in keys)
        return LearnedAutoregression(make_network(1, (width,), key=for_context), networks, size)


class LearnedAutoregression(Prior):
    """The weights of `AutoregressiveFlow`.

    Args:
        of_context: What the maps get to know of the context, from a constant; in a plain model a constant too.
        networks: The networks of the maps.
        latent_dim: The number of latent dimensions.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    of_context: Network
    networks: tuple[MaskedPerceptron, ...]
    latent_dim: int = eqx.field(static=True)

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        context = soft_bound(self.of_context(jnp.ones(1)), -10.0, 10.0)
        maps = tuple(Inverse(Autoregressive(Beside(network, context))) for network in self.networks)
        return Pushforward(_standard_normal(self.latent_dim), Sequential(maps))


def _standard_normal(size: int) -> dist.Distribution:
    return dist.Normal(jnp.zeros(size), jnp.ones(size)).to_event(1)
