"""Strided convolutions of one image as one matrix product on a CPU, natively elsewhere.

XLA's CPU convolution is 10 to 25 times slower inside ``lax.scan``; space-to-depth turns a 4x4 convolution of stride 2
into a 2x2 one of stride 1, whose patches times a matrix are a single product.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from reparax.networks._initial import lecun_normal

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
