"""Convolutional encoder and decoder for images of any size; on a CPU each convolution is one matrix product."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from reparax.errors import RecipeError
from reparax.networks._base import AbstractArchitecture, Affine, lecun_normal
from reparax.networks.mlp import Perceptron

VECTOR_UNITS = 128
LAYOUT = ("NHWC", "HWIO", "NHWC")


def halve(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """A 4x4 convolution of stride 2: (h, w, c) to (ceil(h / 2), ceil(w / 2), o)."""
    height, width, _ = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    x = jnp.pad(x, ((1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0)))
    return lax.platform_dependent(x, weight, cpu=halve_by_product, default=halve_natively)


def halve_by_product(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """The padded image's convolution as patches times a matrix."""
    height, width, channels = x.shape
    blocks = x.reshape(height // 2, 2, width // 2, 2, channels).transpose(0, 2, 1, 3, 4)
    blocks = blocks.reshape(height // 2, width // 2, 4 * channels)
    kernel = weight.reshape(2, 2, 2, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    return _patches(blocks) @ kernel.reshape(16 * channels, -1)


def halve_natively(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """The padded image's convolution by XLA."""
    return lax.conv_general_dilated(x[None], weight, (2, 2), "VALID", dimension_numbers=LAYOUT)[0]


def double(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """The 4x4 transposed convolution of stride 2: (h, w, c) to (2 h, 2 w, o)."""
    return lax.platform_dependent(x, weight, cpu=double_by_product, default=double_natively)


def double_by_product(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """The transposed convolution as patches times a matrix, its rows spread over space."""
    height, width, channels = x.shape
    out = weight.shape[-1]
    patches = _patches(jnp.pad(x, ((1, 1), (1, 1), (0, 0))))
    kernel = weight.reshape(2, 2, 2, 2, channels, out)[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    spread = (patches @ kernel.reshape(4 * channels, 4 * out)).reshape(height + 1, width + 1, 2, 2, out)
    image = spread.transpose(0, 2, 1, 3, 4).reshape(2 * height + 2, 2 * width + 2, out)
    return image[1:-1, 1:-1]


def double_natively(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """The transposed convolution by XLA."""
    padding = ((2, 2), (2, 2))
    flipped = weight[::-1, ::-1]
    return lax.conv_general_dilated(x[None], flipped, (1, 1), padding, lhs_dilation=(2, 2), dimension_numbers=LAYOUT)[0]


def initialize(key: jax.Array, in_channels: int, out_channels: int) -> Float[Array, "4 4 c o"]:
    """LeCun-normal weights of a 4x4 kernel."""
    return lecun_normal(key, (4, 4, in_channels, out_channels), 16 * in_channels)


def _patches(x: Float[Array, "h w c"]) -> Float[Array, "h1 w1 c4"]:
    corners = (x[:-1, :-1], x[:-1, 1:], x[1:, :-1], x[1:, 1:])
    return jnp.concatenate(corners, axis=-1)


class ConvolutionalEncoder(eqx.Module):
    """4x4 convolutions of stride 2 with GELU, then one affine layer."""

    kernels: tuple[Float[Array, "4 4 c o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    head: Affine

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, " out"]:
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = jax.nn.gelu(halve(x, kernel) + bias[None, None])
        return self.head(jnp.ravel(x))


class ConvolutionalDecoder(eqx.Module):
    """One affine layer, then 4x4 transposed convolutions of stride 2 with GELU, cropped to the image's size."""

    stem: Affine
    kernels: tuple[Float[Array, "4 4 c o"], ...]
    biases: tuple[Float[Array, " o"], ...]
    sizes: tuple[tuple[int, int], ...] = eqx.field(static=True)
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, z: Float[Array, " in"]) -> Float[Array, "parameters h w c"]:
        x = jax.nn.gelu(self.stem(z)).reshape(*self.sizes[0], -1)
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if index:
                x = jax.nn.gelu(x)
            height, width = self.sizes[index + 1]
            x = double(x, kernel)[:height, :width] + bias[None, None]
        parameters, height, width, channels = self.out_shape
        return x.reshape(height, width, parameters, channels).transpose(2, 0, 1, 3)


class Convolutional(AbstractArchitecture):
    """Convolutions that halve the image ``depth`` times, with ``width`` channels that double each time.

    Small images are halved less often.

    Raises:
        RecipeError: One example is not an image (height, width, channels).
    """

    width: int = 32
    depth: int = 2

    def encoder(self, event_shape: tuple[int, ...], out_size: int, *, key: jax.Array) -> ConvolutionalEncoder:
        sizes, channels = self._plan(event_shape)
        keys = jax.random.split(key, len(channels))
        pairs = zip(keys[1:], channels[:-1], channels[1:], strict=True)
        kernels = tuple(initialize(k, a, b) for k, a, b in pairs)
        biases = tuple(jnp.zeros(count) for count in channels[1:])
        height, width = sizes[-1]
        return ConvolutionalEncoder(kernels, biases, Affine(height * width * channels[-1], out_size, key=keys[0]))

    def decoder(self, in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> ConvolutionalDecoder | Perceptron:
        if len(out_shape) < 3:  # the network of a prior, say: there is no image in what it makes
            return Perceptron(in_size, (VECTOR_UNITS,) * self.depth, out_shape, key=key)
        sizes, channels = self._plan(out_shape[1:])
        sizes, channels = sizes[::-1], [*channels[:0:-1], out_shape[0] * out_shape[-1]]
        keys = jax.random.split(key, len(channels))
        pairs = zip(keys[1:], channels[:-1], channels[1:], strict=True)
        kernels = tuple(initialize(k, a, b) for k, a, b in pairs)
        biases = tuple(jnp.zeros(count) for count in channels[1:])
        height, width = sizes[0]
        stem = Affine(in_size, height * width * channels[0], key=keys[0])
        return ConvolutionalDecoder(stem, kernels, biases, tuple(sizes), out_shape)

    def _plan(self, event_shape: tuple[int, ...]) -> tuple[list[tuple[int, int]], list[int]]:
        """The image's sizes and channels before and after each halving."""
        if len(event_shape) != 3:
            raise RecipeError(
                expected="images of shape (height, width, channels) for the convolutional network",
                got=f"examples of shape {event_shape}",
                cure="choose --network mlp",
            )
        height, width, channels = event_shape
        sizes, counts = [(height, width)], [channels]
        for stage in range(self.depth):
            if min(height, width) < 2 and stage:
                break
            height, width = -(-height // 2), -(-width // 2)
            sizes.append((height, width))
            counts.append(self.width * 2**stage)
        return sizes, counts
