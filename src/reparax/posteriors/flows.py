"""Posteriors that a network's Normal reaches by invertible maps: normalizing flows."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import Pushforward, halves
from reparax.distributions.maps import (
    Autoregressive,
    Planar,
    Reflection,
    Sequential,
    SplineCoupling,
    num_spline_parameters,
)
from reparax.networks import Network
from reparax.networks.masked import Beside, MaskedPerceptron
from reparax.networks.mlp import Perceptron, zero_at_first
from reparax.parts import option
from reparax.posteriors._base import AbstractFamily, AbstractPosterior, LatentSpace, MakeEncoder, Posterior
from reparax.posteriors.real import diagonal_normal
from reparax.pytrees import soft_bound

MOST_MAPS = 1000
LARGEST = 10.0
"""Outputs that are no parameters of a Normal are softly bounded to this size."""


class PlanarFlow(AbstractFamily):
    """q(z | x): a diagonal Normal through maps z + u tanh(w'z + b), the network giving u, w and b of each.

    Rezende & Mohamed (2015), "Variational inference with normalizing flows", equation 10.

    Args:
        num_maps: The number of maps.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    num_maps: int = option(8, low=1, high=MOST_MAPS)

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim + self.num_maps * (2 * latent_dim + 1)

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        base, rest = jnp.split(outputs, (2 * latent_dim,))
        rows = soft_bound(rest, -LARGEST, LARGEST).reshape(self.num_maps, 2 * latent_dim + 1)
        maps = [Planar(row[:latent_dim], row[latent_dim:-1], row[-1]) for row in rows]
        return Pushforward(diagonal_normal(base), Sequential(tuple(maps)))


class HouseholderFlow(AbstractFamily):
    """q(z | x): a diagonal Normal through reflections, a Normal with correlations; the network gives their normals.

    With as many maps as dimensions any orthogonal matrix is reached.
    Tomczak & Welling (2016), "Improving variational auto-encoders using Householder flow", equation 10.

    Args:
        num_maps: The number of reflections.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    num_maps: int = option(4, low=1, high=MOST_MAPS)

    def num_outputs(self, latent_dim: int) -> int:
        return (2 + self.num_maps) * latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        base, rest = jnp.split(outputs, (2 * latent_dim,))
        normals = soft_bound(rest, -LARGEST, LARGEST).reshape(self.num_maps, latent_dim)
        return Pushforward(diagonal_normal(base), Sequential(tuple(map(Reflection, normals))))


class AbstractFlow(AbstractPosterior):
    """A diagonal Normal through maps with weights, which see what the encoder says of the example.

    Attributes:
        num_maps: The number of maps.
        hidden_units: Units of the hidden layer of each map; also the numbers that the encoder gives to all of them.
    """

    has_density: ClassVar[bool] = True
    num_maps: eqx.AbstractVar[int]
    hidden_units: eqx.AbstractVar[int]

    @abstractmethod
    def network(self, latent_dim: int, *, key: jax.Array) -> Network:
        """The network of one map, from z and ``hidden_units`` numbers beside it."""

    @abstractmethod
    def transform(self, networks: Sequence[Network], latent_dim: int) -> Sequential:
        """The maps with these networks of z."""

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "FlowEncoder":
        """The posterior with an encoder of the right size, and the networks of the maps."""
        first, *keys = jax.random.split(key, 1 + self.num_maps)
        networks = tuple(self.network(latent_dim, key=each) for each in keys)
        encoder = make_encoder(2 * latent_dim + self.hidden_units, key=first)
        return FlowEncoder(part=self, network=encoder, networks=networks, latent_shape=(latent_dim,))


class FlowEncoder(Posterior):
    """The weights of an `AbstractFlow`.

    Args:
        part: The kind of flow.
        network: The encoder: mean and log variance of the base, and what the maps get to know of the example.
        networks: The networks of the maps.
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    networks: tuple[Network, ...]
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        assert isinstance(self.part, AbstractFlow)
        (latent_dim,) = self.latent_shape
        base, rest = jnp.split(self.network(x), (2 * latent_dim,))
        context = soft_bound(rest, -LARGEST, LARGEST)
        networks = [Beside(network, context) for network in self.networks]
        return Pushforward(diagonal_normal(base), self.part.transform(networks, latent_dim))


class InverseAutoregressiveFlow(AbstractFlow):
    """q(z | x): a diagonal Normal through maps z_i = s_i e_i + (1 - s_i) m_i, with s_i and m_i of e_1 to e_(i-1) and x.

    A draw and its density take one pass. Kingma et al. (2016), "Improved variational inference with inverse
    autoregressive flow", equations 13 and 14.

    Args:
        num_maps: The number of maps, each in the opposite order of the one before.
        hidden_units: Units of the hidden layer of each map; also the numbers that the encoder gives to all of them.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    num_maps: int = option(2, low=1, high=MOST_MAPS)
    hidden_units: int = option(64, low=1, high=100_000)

    def network(self, latent_dim: int, *, key: jax.Array) -> Network:
        return MaskedPerceptron(latent_dim, self.hidden_units, context_size=self.hidden_units, key=key)

    def transform(self, networks: Sequence[Network], latent_dim: int) -> Sequential:
        return Sequential(tuple(map(Autoregressive, networks)))


class SplineFlow(AbstractFlow):
    """q(z | x): a diagonal Normal through couplings of monotone rational-quadratic splines.

    Durkan et al. (2019), "Neural spline flows", section 3.

    Args:
        num_maps: The number of couplings.
        num_bins: Bins of each spline.
        hidden_units: Units of the hidden layer of each map; also the numbers that the encoder gives to all of them.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "standard-normal"
    num_maps: int = option(2, low=1, high=MOST_MAPS)
    num_bins: int = option(8, low=2, high=100)
    hidden_units: int = option(64, low=1, high=100_000)

    def network(self, latent_dim: int, *, key: jax.Array) -> Network:
        outputs = latent_dim * num_spline_parameters(self.num_bins)
        return zero_at_first(Perceptron(latent_dim + self.hidden_units, (self.hidden_units,), (outputs,), key=key))

    def transform(self, networks: Sequence[Network], latent_dim: int) -> Sequential:
        pairs = zip(networks, halves(latent_dim, self.num_maps), strict=True)
        return Sequential(tuple(SplineCoupling(network, mask) for network, mask in pairs))
