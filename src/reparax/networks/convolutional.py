"""Convolutional encoder and decoder for images of any size."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.errors import RecipeError
from reparax.networks._base import AbstractArchitecture, Affine, lecun_normal
from reparax.networks.convolution import enlarge, halve
from reparax.networks.mlp import Perceptron

VECTOR_UNITS = 128


def initialize(key: jax.Array, in_channels: int, out_channels: int) -> Float[Array, "4 4 c o"]:
    """LeCun-normal weights of a 4x4 kernel."""
    return lecun_normal(key, (4, 4, in_channels, out_channels), 16 * in_channels)


class ConvolutionalEncoder(eqx.Module):
    """4x4 convolutions of stride 2 with GELU, then one affine layer."""

    kernels: tuple[Float[Array, "4 4 c o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    head: Affine

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, " out"]:
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = jax.nn.gelu(halve(x, kernel) + bias[None, None])
        return self.head(jnp.ravel(x))

    def last_layer(self) -> Affine:
        return self.head


class ConvolutionalDecoder(eqx.Module):
    """One affine layer, then 3x3 convolutions of images enlarged by two, with GELU, cropped to the image's size."""

    stem: Affine
    kernels: tuple[Float[Array, "3 3 c o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    sizes: tuple[tuple[int, int], ...] = eqx.field(static=True)
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, z: Float[Array, " in"]) -> Float[Array, "parameters h w c"]:
        x = jax.nn.gelu(self.stem(z)).reshape(*self.sizes[0], -1)
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if index:
                x = jax.nn.gelu(x)
            height, width = self.sizes[index + 1]
            x = enlarge(x, kernel)[:height, :width] + bias[None, None]
        parameters, height, width, channels = self.out_shape
        return x.reshape(height, width, parameters, channels).transpose(2, 0, 1, 3)

    def last_layer(self) -> tuple[Array, Array]:
        return self.kernels[-1], self.biases[-1]


class Convolutional(AbstractArchitecture):
    """Convolutions that halve the image ``depth`` times, with ``width`` channels that double each time.

    Small images are halved less often. The decoder draws no border, and no grid on even areas.

    Raises:
        RecipeError: One example is not an image (height, width, channels).
    """

    width: int = 32
    depth: int = 2

    def encoder(self, event_shape: tuple[int, ...], out_size: int, *, key: jax.Array) -> ConvolutionalEncoder:
        sizes, channels = stages(event_shape, self.width, self.depth)
        keys = jax.random.split(key, len(channels))
        pairs = zip(keys[1:], channels[:-1], channels[1:], strict=True)
        kernels = tuple(initialize(k, a, b) for k, a, b in pairs)
        biases = tuple(jnp.zeros(count) for count in channels[1:])
        height, width = sizes[-1]
        return ConvolutionalEncoder(kernels, biases, Affine(height * width * channels[-1], out_size, key=keys[0]))

    def decoder(self, in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> ConvolutionalDecoder | Perceptron:
        if len(out_shape) < 3:  # the network of a prior, say: there is no image in what it makes
            return Perceptron(in_size, (VECTOR_UNITS,) * self.depth, out_shape, key=key)
        sizes, channels = stages(out_shape[1:], self.width, self.depth)
        sizes, channels = sizes[::-1], [*channels[:0:-1], out_shape[0] * out_shape[-1]]
        keys = jax.random.split(key, len(channels))
        pairs = zip(keys[1:], channels[:-1], channels[1:], strict=True)
        kernels = tuple(lecun_normal(k, (3, 3, a, b), 9 * a) for k, a, b in pairs)
        biases = tuple(jnp.zeros(count) for count in channels[1:])
        height, width = sizes[0]
        stem = Affine(in_size, height * width * channels[0], key=keys[0])
        return ConvolutionalDecoder(stem, kernels, biases, tuple(sizes), out_shape)


def stages(event_shape: tuple[int, ...], width: int, depth: int) -> tuple[list[tuple[int, int]], list[int]]:
    """An image's sizes and channels before and after each halving.

    Args:
        event_shape: The shape of the image.
        width: The channels after the first halving, which double with each of the others.
        depth: How many halvings; fewer where the image is small.

    Raises:
        RecipeError: It is not an image (height, width, channels).
    """
    if len(event_shape) != 3:
        raise RecipeError(
            expected="images of shape (height, width, channels) for convolutions",
            got=f"examples of shape {event_shape}",
            cure="choose --network mlp",
        )
    rows, columns, channels = event_shape
    sizes, counts = [(rows, columns)], [channels]
    for stage in range(depth):
        if min(rows, columns) < 2 and stage:
            break
        rows, columns = -(-rows // 2), -(-columns // 2)
        sizes.append((rows, columns))
        counts.append(width * 2**stage)
    return sizes, counts
