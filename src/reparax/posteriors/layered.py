"""Posteriors of several layers of latent variables, the deepest first in z."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import (
    Constant,
    Layers,
    NormalOf,
    Residual,
    Slices,
    bounded_scale,
    equal_slices,
    layer_slices,
    layered_normal,
)
from reparax.networks import Network, beside_context
from reparax.networks.mlp import Perceptron, zero_at_first
from reparax.parts import option
from reparax.posteriors._base import AbstractPosterior, LatentSpace, MakeEncoder, Posterior
from reparax.pytrees import soft_bound

MOST_LAYERS = 1000
LARGEST = 10.0
"""What the encoder says of an example is softly bounded to this size."""


class Corrected(eqx.Module):
    """The product of a layer of the generative chain and of what the example says of it, as a Normal.

    Sonderby et al. (2016), section 2: precisions add up, and means are weighted by them.

    Attributes:
        generative: The layer of the prior.
        seen: Mean and log standard deviation from the example, shape ``(2, size)``.
    """

    generative: NormalOf
    seen: Float[Array, "2 size"]

    def __call__(self, before: Float[Array, " k"]) -> Float[Array, "2 size"]:
        (m, s), (m_seen, s_seen) = self.generative(before), self.seen
        # As logits of the weight, so that no precision overflows.
        weight = jax.nn.sigmoid(2 * (s - s_seen))
        log_scale = -0.5 * jnp.logaddexp(-2 * s, -2 * s_seen)
        return jnp.stack([weight * m_seen + (1 - weight) * m, log_scale])


class BottomUp(AbstractPosterior):
    """q(z | x) = q(z_1 | x) q(z_2 | z_1) ...: each layer is a Normal given the layer below, the likelihood sees z_1.

    Burda et al. (2016), "Importance weighted autoencoders", equation 3. The layers run against those of the prior, so
    that the KL is estimated.

    Args:
        num_layers: The number of layers, which share the latent dimensions.
        ratio: The dimensions of a layer for each dimension of the layer below.
        hidden_units: Units of the hidden layer of each network, and the numbers that the encoder gives.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "top-down"
    has_density: ClassVar[bool] = True
    num_layers: int = option(2, low=1, high=MOST_LAYERS)
    ratio: float = option(0.5, low=0.01, high=100)
    hidden_units: int = option(64, low=1, high=100_000)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "BottomUpEncoder":
        slices, width = layer_slices(latent_dim, self.num_layers, self.ratio), self.hidden_units
        sizes = [end - start for start, end in reversed(slices)]
        first, *keys = jax.random.split(key, len(sizes))
        encoder = make_encoder(2 * sizes[0], key=first)
        pairs = zip(sizes, sizes[1:], keys, strict=False)
        networks = tuple(Perceptron(below, (width,), (2, size), key=each) for below, size, each in pairs)
        return BottomUpEncoder(
            part=self, network=encoder, above=tuple(map(NormalOf, networks)), slices=slices, latent_shape=(latent_dim,)
        )


class BottomUpEncoder(Posterior):
    """The weights of `BottomUp`.

    Args:
        part: The posterior's options.
        network: The encoder: mean and log standard deviation of z_1.
        above: The layers above it, upwards.
        slices: Where the layers are in z, the deepest first.
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    above: tuple[NormalOf, ...]
    slices: Slices = eqx.field(static=True)
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def layer_slices(self) -> Slices:
        """Where the layers are in z."""
        return self.slices

    @property
    def num_decoded(self) -> int:
        """The dimensions of z_1."""
        return self.slices[-1][1] - self.slices[-1][0]

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        first = Constant(bounded_scale(self.network(x).reshape(2, -1)))
        return layered_normal(Layers((first, *self.above), self.slices[::-1]), *self.latent_shape)


class Ladder(AbstractPosterior):
    """q(z | x) = q(z_L | x) q(z_(L-1) | z_L, x) ...: each layer is that of the prior, corrected by the example.

    Sonderby et al. (2016), "Ladder variational autoencoders", section 2: the example's mean and precision of each
    layer, from a deterministic pass upwards, are combined with those of p(z_l | z_(l+1)). The networks of the latter
    belong to both; the likelihood sees z_1. The KL has a closed form for each layer given the layers before it.

    Args:
        num_layers: The number of layers, which share the latent dimensions.
        ratio: The dimensions of a layer for each dimension of the layer below.
        hidden_units: Units of the hidden layer of each network, and the numbers that the encoder gives.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "top-down"
    has_density: ClassVar[bool] = True
    num_layers: int = option(2, low=1, high=MOST_LAYERS)
    ratio: float = option(0.5, low=0.01, high=100)
    hidden_units: int = option(64, low=1, high=100_000)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "LadderEncoder":
        slices, width = layer_slices(latent_dim, self.num_layers, self.ratio), self.hidden_units
        sizes = [end - start for start, end in slices]
        first, *keys = jax.random.split(key, 3 * len(sizes))
        encoder = make_encoder(width, key=first)
        upward = tuple(Perceptron(width, (width,), (width,), key=each) for each in keys[: len(sizes) - 1])
        keys = keys[len(upward) :]
        seen = tuple(Perceptron(width, (), (2, size), key=each) for size, each in zip(sizes, keys, strict=False))
        keys = keys[len(sizes) :]

        def downward(above: int, size: int, key: jax.Array) -> NormalOf:
            made = beside_context(lambda n: Perceptron(n, (width,), (2, size), key=key), above, encoder)
            return NormalOf(made)

        generative = tuple(map(downward, sizes, sizes[1:], keys))
        return LadderEncoder(
            part=self, network=encoder, upward=upward, seen=seen, generative=generative, slices=slices,
            latent_shape=(latent_dim,),
        )  # fmt: skip


class LadderEncoder(Posterior):
    """The weights of `Ladder`.

    Args:
        part: The posterior's options.
        network: The encoder, to what all layers get to know of the example.
        upward: The deterministic pass, from the last layer to the deepest.
        seen: What each layer gets to know of the example, the deepest first.
        generative: The layers of the prior after the deepest.
        slices: Where the layers are in z, the deepest first.
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    upward: tuple[Network, ...]
    seen: tuple[Network, ...]
    generative: tuple[NormalOf, ...]
    slices: Slices = eqx.field(static=True)
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def layer_slices(self) -> Slices:
        """Where the layers are in z."""
        return self.slices

    @property
    def num_decoded(self) -> int:
        """The dimensions of z_1."""
        return self.slices[-1][1] - self.slices[-1][0]

    @property
    def shares_layers(self) -> bool:
        """They are networks of both."""
        return True

    @property
    def top_down(self) -> Layers:
        """The prior's layers: N(0, I), and each layer given the one before."""
        start, end = self.slices[0]
        return Layers((Constant(jnp.zeros((2, end - start))), *self.generative), self.slices)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        state, states = soft_bound(self.network(x), -LARGEST, LARGEST), []
        for network in (*self.upward, None):
            states.append(state)
            state = state if network is None else soft_bound(network(state), -LARGEST, LARGEST)
        deepest, *seen = (bounded_scale(head(state)) for head, state in zip(self.seen, reversed(states), strict=True))
        corrected = map(Corrected, self.generative, seen)
        return layered_normal(Layers((Constant(deepest), *corrected), self.slices), *self.latent_shape)


class TopDownResidual(AbstractPosterior):
    """q(z | x) of equal layers that share a state: h_(l+1) = h_l + f_l(h_l) + W_l z_l; q(z_l | h_l, x), p(z_l | h_l).

    Child (2021), "Very deep VAEs", section 2.2 and figure 3; q is relative to p as in Vahdat & Kautz (2020), "NVAE",
    section 3.2: means m + s dm, standard deviations s ds. The layers are computed in one scan, so that deep models
    compile quickly. The likelihood sees all of z. The KL has a closed form for each layer given the layers before it.

    Args:
        num_layers: The number of layers; the latent dimensions are rounded up to a multiple of it.
        hidden_units: The size of the state, and the numbers that the encoder gives.
    """

    latent_space: ClassVar[LatentSpace] = "real"
    default_prior: ClassVar[str] = "top-down"
    has_density: ClassVar[bool] = True
    num_layers: int = option(2, low=1, high=MOST_LAYERS)
    hidden_units: int = option(64, low=1, high=100_000)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "ResidualEncoder":
        width, size = self.hidden_units, -(-latent_dim // self.num_layers)
        for_encoder, for_start, for_blocks, for_corrections = jax.random.split(key, 4)
        encoder = make_encoder(width, key=for_encoder)
        start = beside_context(lambda n: Perceptron(n, (), (width,), key=for_start), 1, encoder)
        gain = self.num_layers**-0.5

        def block(key: jax.Array) -> "GenerativeBlock":
            one, two = jax.random.split(key)
            network = zero_at_first(Perceptron(width, (width,), (2 * size + width,), key=one))
            return GenerativeBlock(network, Perceptron(size, (), (width,), key=two), jnp.full((), gain))

        def correction(key: jax.Array) -> Perceptron:
            return Perceptron(2 * width, (width,), (2, size), key=key)

        blocks = _stacked([block(each) for each in jax.random.split(for_blocks, self.num_layers)])
        corrections = _stacked([correction(each) for each in jax.random.split(for_corrections, self.num_layers)])
        return ResidualEncoder(
            part=self, network=encoder, start=start, blocks=blocks, corrections=corrections,
            num_layers=self.num_layers, latent_shape=(self.num_layers * size,),
        )  # fmt: skip


class GenerativeBlock(eqx.Module):
    """One layer of the prior of `TopDownResidual`.

    Attributes:
        network: From the state to mean and log standard deviation of z, and what is added to the state.
        inject: From z to what is added to the state.
        gain: What both are multiplied by.
    """

    network: Perceptron
    inject: Perceptron
    gain: Float[Array, ""]

    def moments(self, state: Float[Array, " h"]) -> tuple[Array, Array]:
        """Mean and log standard deviation of z."""
        size = self.inject.layers[0].weight.shape[-2]
        m, s = bounded_scale(self.network(state)[: 2 * size].reshape(2, size))
        return m, s

    def next(self, state: Float[Array, " h"], z: Float[Array, " k"]) -> Float[Array, " h"]:
        """The state of the next layer."""
        added = self.network(state)[-len(state) :] + self.inject(z)
        return soft_bound(state + self.gain * added, -LARGEST, LARGEST)


class CorrectedBlock(eqx.Module):
    """One layer of the posterior: that of the prior, moved by what the example says.

    Attributes:
        generative: The layer of the prior.
        correction: From the state and the example to the differences.
        seen: What the encoder says of the example.
    """

    generative: GenerativeBlock
    correction: Perceptron
    seen: Float[Array, " h"]

    def moments(self, state: Float[Array, " h"]) -> tuple[Array, Array]:
        """Mean and log standard deviation of z."""
        m, s = self.generative.moments(state)
        dm, ds = bounded_scale(self.correction(jnp.concatenate([state, self.seen])))
        return m + jnp.exp(s) * dm, s + ds

    def next(self, state: Float[Array, " h"], z: Float[Array, " k"]) -> Float[Array, " h"]:
        """The state of the next layer."""
        return self.generative.next(state, z)


class ResidualEncoder(Posterior):
    """The weights of `TopDownResidual`.

    Args:
        part: The posterior's options.
        network: The encoder, to what all layers get to know of the example.
        start: The state of the first layer, from a constant (and the context of a conditional model).
        blocks: The layers of the prior, stacked.
        corrections: Those of the posterior, stacked.
        num_layers: The number of layers.
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    start: Network
    blocks: GenerativeBlock
    corrections: Perceptron
    num_layers: int = eqx.field(static=True)
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def layer_slices(self) -> Slices:
        """Where the layers are in z."""
        return equal_slices(self.latent_shape[0], self.num_layers)

    @property
    def shares_layers(self) -> bool:
        """They are networks of both."""
        return True

    @property
    def top_down(self) -> Residual:
        """The prior's layers."""
        start = soft_bound(self.start(jnp.ones(1)), -LARGEST, LARGEST)
        return Residual(self.blocks, start, self.num_layers, self.latent_shape[0] // self.num_layers)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        prior = self.top_down
        seen = soft_bound(self.network(x), -LARGEST, LARGEST)
        blocks = CorrectedBlock(prior.blocks, self.corrections, jnp.tile(seen, (self.num_layers, 1)))
        layers = Residual(blocks, prior.start, prior.num_layers, prior.size)
        return layered_normal(layers, *self.latent_shape)


def _stacked(modules: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *modules)
