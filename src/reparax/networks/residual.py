"""Residual encoder and decoder for images: convolutions between sizes, and blocks that add to what they see."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.networks._base import AbstractArchitecture, Affine, lecun_normal
from reparax.networks.convolution import enlarge, halve, same
from reparax.networks.convolutional import VECTOR_UNITS, initialize, stages
from reparax.networks.mlp import Perceptron


class Block(eqx.Module):
    """x + W2 * gelu(W1 * gelu(x)), 3x3 convolutions; at first the identity: He et al. (2016), "Identity mappings"."""

    first: Float[Array, "3 3 c c"]
    first_bias: Float[Array, " c"]
    second: Float[Array, "3 3 c c"]

    @classmethod
    def create(cls, channels: int, *, key: jax.Array) -> "Block":
        """A block of so many channels."""
        weight = lecun_normal(key, (3, 3, channels, channels), 9 * channels)
        return cls(weight, jnp.zeros(channels), jnp.zeros_like(weight))

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        hidden = same(jax.nn.gelu(x), self.first) + self.first_bias[None, None]
        return x + same(jax.nn.gelu(hidden), self.second)


class ResidualEncoder(eqx.Module):
    """4x4 convolutions of stride 2, a block after each, then one affine layer."""

    kernels: tuple[Float[Array, "4 4 c o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    blocks: tuple[Block, ...]
    head: Affine

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, " out"]:
        for kernel, bias, block in zip(self.kernels, self.biases, self.blocks, strict=True):
            x = block(halve(x, kernel) + bias[None, None])
        return self.head(jax.nn.gelu(jnp.ravel(x)))

    def last_layer(self) -> Affine:
        return self.head


class ResidualDecoder(eqx.Module):
    """One affine layer, then blocks, each before an enlargement by two, cropped to the image's size."""

    stem: Affine
    blocks: tuple[Block, ...]
    kernels: tuple[Float[Array, "3 3 c o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    sizes: tuple[tuple[int, int], ...] = eqx.field(static=True)
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, z: Float[Array, " in"]) -> Float[Array, "parameters h w c"]:
        x = self.stem(z).reshape(*self.sizes[0], -1)
        parts = zip(self.blocks, self.kernels, self.biases, self.sizes[1:], strict=True)
        for block, kernel, bias, (height, width) in parts:
            x = enlarge(jax.nn.gelu(block(x)), kernel)[:height, :width] + bias[None, None]
        parameters, height, width, channels = self.out_shape
        return x.reshape(height, width, parameters, channels).transpose(2, 0, 1, 3)

    def last_layer(self) -> tuple[Array, Array]:
        return self.kernels[-1], self.biases[-1]


class Residual(AbstractArchitecture):
    """Like the convolutional network, with a residual block at each size.

    Images are halved ``depth`` times (small ones less often), with ``width`` channels that double each time.

    Raises:
        RecipeError: One example is not an image (height, width, channels).
    """

    width: int = 32
    depth: int = 3

    def encoder(self, event_shape: tuple[int, ...], out_size: int, *, key: jax.Array) -> ResidualEncoder:
        sizes, channels = stages(event_shape, self.width, self.depth)
        for_head, for_kernels, for_blocks = jax.random.split(key, 3)
        keys = jax.random.split(for_kernels, len(channels) - 1)
        kernels = tuple(initialize(k, a, b) for k, a, b in zip(keys, channels[:-1], channels[1:], strict=True))
        keys = jax.random.split(for_blocks, len(channels) - 1)
        blocks = tuple(Block.create(count, key=k) for k, count in zip(keys, channels[1:], strict=True))
        height, width = sizes[-1]
        head = Affine(height * width * channels[-1], out_size, key=for_head)
        return ResidualEncoder(kernels, tuple(jnp.zeros(count) for count in channels[1:]), blocks, head)

    def decoder(self, in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> ResidualDecoder | Perceptron:
        if len(out_shape) < 3:  # the network of a prior, say: there is no image in what it makes
            return Perceptron(in_size, (VECTOR_UNITS,) * self.depth, out_shape, key=key)
        sizes, channels = stages(out_shape[1:], self.width, self.depth)
        sizes, channels = sizes[::-1], [*channels[:0:-1], out_shape[0] * out_shape[-1]]
        for_stem, for_kernels, for_blocks = jax.random.split(key, 3)
        keys = jax.random.split(for_kernels, len(channels) - 1)
        pairs = zip(keys, channels[:-1], channels[1:], strict=True)
        kernels = tuple(lecun_normal(k, (3, 3, a, b), 9 * a) for k, a, b in pairs)
        keys = jax.random.split(for_blocks, len(channels) - 1)
        blocks = tuple(Block.create(count, key=k) for k, count in zip(keys, channels[:-1], strict=True))
        stem = Affine(in_size, sizes[0][0] * sizes[0][1] * channels[0], key=for_stem)
        biases = tuple(jnp.zeros(count) for count in channels[1:])
        return ResidualDecoder(stem, blocks, kernels, biases, tuple(sizes), out_shape)
