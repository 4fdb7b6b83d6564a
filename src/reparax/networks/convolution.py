"""Convolutions of one image: on a CPU each of them is one matrix product, elsewhere XLA's own.

XLA on a CPU takes 10 to 25 times as long as it should for its convolutions inside a loop.
"""

from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from reparax.networks._precision import in_dtype_of

LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Float[Array, "h w c"], weight: Float[Array, "k l c o"], *, stride: int = 1, dilation: int = 1
) -> Float[Array, "rows columns o"]:
    """A convolution (without flipping) of any kernel, stride and dilation, of an image that is padded already.

    Args:
        x: The image.
        weight: The kernel.
        stride: The distance of the places at which it is applied.
        dilation: The distance of the pixels that it sees.
    """

    def by_product(x: Array, weight: Array) -> Array:
        return convolve_by_product(x, weight, stride=stride, dilation=dilation)

    def natively(x: Array, weight: Array) -> Array:
        return convolve_natively(x, weight, stride=stride, dilation=dilation)

    return lax.platform_dependent(in_dtype_of(weight, x), weight, cpu=by_product, default=natively)


def convolve_by_product(
    x: Float[Array, "h w c"], weight: Float[Array, "k l c o"], *, stride: int = 1, dilation: int = 1
) -> Float[Array, "rows columns o"]:
    """The convolution as patches times a matrix."""
    height, width, channels = x.shape
    *kernel, _, out = weight.shape
    rows, columns = (
        (size - dilation * (side - 1) - 1) // stride + 1 for size, side in zip((height, width), kernel, strict=True)
    )

    def seen(row: int, column: int) -> Array:
        first = (row * dilation, column * dilation, 0)
        last = (first[0] + stride * (rows - 1) + 1, first[1] + stride * (columns - 1) + 1, channels)
        return lax.slice(x, first, last, (stride, stride, 1))

    patches = jnp.concatenate([seen(i, j) for i in range(kernel[0]) for j in range(kernel[1])], axis=-1)
    return patches @ weight.reshape(-1, out)


def convolve_natively(
    x: Float[Array, "h w c"], weight: Float[Array, "k l c o"], *, stride: int = 1, dilation: int = 1
) -> Float[Array, "rows columns o"]:
    """The convolution by XLA."""
    steps, apart = (stride, stride), (dilation, dilation)
    return lax.conv_general_dilated(x[None], weight, steps, "VALID", rhs_dilation=apart, dimension_numbers=LAYOUT)[0]


def same(x: Float[Array, "h w c"], weight: Float[Array, "3 3 c o"]) -> Float[Array, "h w o"]:
    """A 3x3 convolution that keeps the size; beyond its border the image goes on as it ends, so that none is seen."""
    return convolve(_continued(x), weight)


def enlarge(x: Float[Array, "h w c"], weight: Float[Array, "3 3 c o"]) -> Float[Array, "h2 w2 o"]:
    """The image at twice its size, each pixel a block of four, and a 3x3 convolution of that: no grid on even areas.

    It is a transposed convolution by the kernel that has been convolved with a block, of an image that goes on beyond
    its border as it ends. Odena et al. (2016), "Deconvolution and checkerboard artifacts".
    """
    wide = jnp.pad(weight, ((1, 1), (1, 1), (0, 0), (0, 0)))
    kernel = wide[:-1, :-1] + wide[1:, :-1] + wide[:-1, 1:] + wide[1:, 1:]
    seen = _continued(in_dtype_of(weight, x))
    return lax.platform_dependent(seen, kernel[::-1, ::-1], cpu=double_by_product, default=double_natively)


def halve(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """A 4x4 convolution of stride 2: (h, w, c) to (ceil(h / 2), ceil(w / 2), o)."""
    height, width, _ = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    x = jnp.pad(in_dtype_of(weight, x), ((1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0)))
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


def double_by_product(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """The padded image's transposed convolution of stride 2 as patches times a matrix, its rows spread over space."""
    height, width, channels = x.shape
    out = weight.shape[-1]
    kernel = weight.reshape(2, 2, 2, 2, channels, out)[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    if 4 * out <= channels:  # where little comes out, writing the patches takes longer than all else
        pairs = zip(_corners(x), kernel.reshape(4, channels, 4 * out), strict=True)
        spread = reduce(jnp.add, [corner @ part for corner, part in pairs])
    else:
        spread = _patches(x) @ kernel.reshape(4 * channels, 4 * out)
    spread = spread.reshape(height - 1, width - 1, 2, 2, out).transpose(0, 2, 1, 3, 4)
    return spread.reshape(2 * height - 2, 2 * width - 2, out)[1:-1, 1:-1]


def double_natively(x: Float[Array, "h w c"], weight: Float[Array, "4 4 c o"]) -> Float[Array, "h2 w2 o"]:
    """The padded image's transposed convolution by XLA: (h, w, c) to (2 h - 4, 2 w - 4, o)."""
    flipped, none = weight[::-1, ::-1], ((0, 0), (0, 0))
    return lax.conv_general_dilated(x[None], flipped, (1, 1), none, lhs_dilation=(2, 2), dimension_numbers=LAYOUT)[0]


def _continued(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """The image with each pixel of its border once more outside of it."""
    x = jnp.concatenate([x[:1], x, x[-1:]], axis=0)
    return jnp.concatenate([x[:, :1], x, x[:, -1:]], axis=1)


def _patches(x: Float[Array, "h w c"]) -> Float[Array, "h1 w1 c4"]:
    return jnp.concatenate(_corners(x), axis=-1)


def _corners(x: Float[Array, "h w c"]) -> tuple[Float[Array, "h1 w1 c"], ...]:
    return x[:-1, :-1], x[:-1, 1:], x[1:, :-1], x[1:, 1:]
