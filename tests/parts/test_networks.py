"""Networks: the matrix-product convolutions are the native ones, and every architecture fits every image size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax import registry
from reparax.errors import RecipeError
from reparax.networks import Affine, Standardized
from reparax.networks.convolution import (
    convolve,
    convolve_by_product,
    convolve_natively,
    double_by_product,
    double_natively,
    enlarge,
    halve,
    halve_by_product,
    halve_natively,
    same,
)

SIZES = [(1, 1), (2, 3), (7, 5)]


def arrays(*shapes: tuple[int, ...]) -> list[jax.Array]:
    rng = np.random.default_rng(sum(map(sum, shapes)))
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def convolve_by_hand(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A 4x4 convolution of stride 2 in loops: one pixel of padding before, as much as is needed after."""
    height, width, _ = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    padded = np.zeros((2 * rows + 2, 2 * columns + 2, x.shape[2]))
    padded[1 : height + 1, 1 : width + 1] = x
    out = np.zeros((rows, columns, weight.shape[3]))
    for row in range(rows):
        for column in range(columns):
            patch = padded[2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
            out[row, column] = np.einsum("ijc,ijco->o", patch, weight)
    return out


@pytest.mark.parametrize("channels", [(3, 5)])
@pytest.mark.parametrize("size", SIZES)
def test_halving_is_the_convolution_done_by_hand(size, channels):
    x, weight = arrays((*size, channels[0]), (4, 4, *channels))
    expected = convolve_by_hand(np.asarray(x, np.float64), np.asarray(weight, np.float64))
    np.testing.assert_allclose(jax.jit(halve)(x, weight), expected, atol=2e-5)


@pytest.mark.parametrize("channels", [(3, 2), (9, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_doubling_is_the_adjoint_of_halving(size, channels):
    """<halve(u), x> = <u, doubled x> for every u, with the kernel's channels exchanged."""
    (height, width), (inner, outer) = size, channels
    x, weight, u = arrays((height, width, inner), (4, 4, inner, outer), (2 * height, 2 * width, outer))
    halved = convolve_by_hand(np.asarray(u, np.float64), np.asarray(weight, np.float64).transpose(0, 1, 3, 2))
    doubled = jax.jit(double_by_product)(jnp.pad(x, ((1, 1), (1, 1), (0, 0))), weight)
    assert doubled.shape == (2 * height, 2 * width, outer)
    expected = float(np.sum(halved * np.asarray(x, np.float64)))
    assert abs(float(jnp.vdot(u, doubled)) - expected) < 1e-4 * (1 + np.sqrt(u.size))


@pytest.mark.parametrize("pair", [(halve_by_product, halve_natively, 2), (double_by_product, double_natively, 2)])
@pytest.mark.parametrize("size", [(2, 2), (4, 6)])
@pytest.mark.parametrize("channels", [(3, 2), (9, 2)], ids=["few channels", "much in and little out"])
def test_matrix_products_and_native_convolutions_agree_with_their_gradients(pair, size, channels):
    by_product, natively, padding = pair
    x, weight = arrays((size[0] + padding, size[1] + padding, channels[0]), (4, 4, *channels))

    def value_and_slopes(convolution, x: jax.Array, weight: jax.Array) -> tuple[jax.Array, ...]:
        out, back = jax.vjp(convolution, x, weight)
        return out, *back(jnp.cos(out))

    ours, theirs = jax.jit(lambda *args: [value_and_slopes(f, *args) for f in (by_product, natively)])(x, weight)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-5)


@pytest.mark.parametrize("event_shape", [(1, 1, 1), (7, 5, 1), (33, 17, 3)])
@pytest.mark.parametrize("name", registry.names("networks"))
def test_shapes_of_encoder_and_decoder(name, event_shape):
    architecture = registry.load("networks", name)(4, 3)
    encoder_key, decoder_key = jax.random.split(jax.random.key(0))
    encoder = eqx.filter_jit(architecture.encoder)(event_shape, 6, key=encoder_key)
    decoder = eqx.filter_jit(architecture.decoder)(2, (3, *event_shape), key=decoder_key)
    x, z, direction = arrays(event_shape, (2,), (2,))

    @jax.jit
    def run(x: jax.Array, z: jax.Array) -> tuple[jax.Array, ...]:
        code, back = jax.vjp(encoder, x)
        out, moved = jax.jvp(decoder, (z,), (direction,))
        return code, back(code)[0], out, moved

    code, slope, out, moved = run(x, z)
    assert code.shape == (6,)
    assert out.shape == (3, *event_shape)
    assert np.isfinite(out).all()
    # Every pixel matters to the code, and z to every parameter of every pixel.
    assert np.all(np.asarray(slope) != 0)
    assert np.all(np.asarray(moved) != 0)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_flat_architectures_take_any_shape(name):
    architecture = registry.load("networks", name)(5, 1)
    (x,) = arrays((3, 2, 2, 2))
    assert architecture.encoder((3, 2, 2, 2), 4, key=jax.random.key(0))(x).shape == (4,)


def test_convolutions_are_refused_for_tables():
    architecture = registry.load("networks", "convolutional")(4, 2)
    with pytest.raises(RecipeError, match="--network mlp"):
        architecture.encoder((12,), 4, key=jax.random.key(0))


def test_perceptron_without_hidden_layers_is_one_affine_map():
    network = registry.load("networks", "mlp")(16, 0).encoder((3,), 2, key=jax.random.key(1))
    (layer,) = network.layers
    (x,) = arrays((3,))
    expected = np.asarray(x) @ np.asarray(layer.weight) + np.asarray(layer.bias)
    np.testing.assert_allclose(network(x), expected, rtol=1e-6)


def test_affine_starts_with_unit_gain():
    layer = Affine(2000, 50, key=jax.random.key(2))
    assert abs(float(jnp.std(layer.weight)) * np.sqrt(2000) - 1) < 0.02
    assert not layer.bias.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_standardization_of_any_dtype(dtype):
    network = Standardized(lambda x: x, np.array([2.0, 10.0]), np.array([0.5, 4.0]))
    np.testing.assert_array_equal(network(jnp.asarray([3, 2], dtype)), [2.0, -2.0])


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"),
    [((5, 4), (3, 3), 1, 1), ((7, 9), (3, 2), 2, 1), ((8, 7), (2, 3), 1, 2), ((9, 9), (1, 4), 3, 2)],
)
def test_any_convolution_by_a_product_is_the_native_one_with_its_gradients(size, kernel, stride, dilation):
    x, weight = arrays((*size, 3), (*kernel, 3, 2))

    def value_and_slopes(convolution, x: jax.Array, weight: jax.Array) -> tuple[jax.Array, ...]:
        out, back = jax.vjp(lambda x, weight: convolution(x, weight, stride=stride, dilation=dilation), x, weight)
        return out, *back(jnp.cos(out))

    functions = (convolve_by_product, convolve_natively, convolve)
    ours, theirs, chosen = jax.jit(lambda *args: [value_and_slopes(f, *args) for f in functions])(x, weight)
    for one, other, third in zip(ours, theirs, chosen, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(third, other, atol=1e-5)


def test_enlarging_is_a_convolution_of_the_image_in_blocks():
    x, weight = arrays((3, 4, 2), (3, 3, 2, 5))
    blocks = jnp.repeat(jnp.repeat(x, 2, axis=0), 2, axis=1)
    np.testing.assert_allclose(jax.jit(enlarge)(x, weight), same(blocks, weight), atol=1e-5)


@pytest.mark.parametrize("name", ["residual", "convolutional"])
def test_even_areas_are_drawn_without_grid_and_border(name):
    """An image of equal pixels inside stays one, at whatever weights."""
    decoder = registry.load("networks", name)(4, 3).decoder(2, (1, 13, 16, 2), key=jax.random.key(0))
    stem, last = decoder.stem, decoder.kernels[0].shape[2]
    same_everywhere = jnp.tile(jnp.arange(1.0, 1.0 + last), stem.bias.size // last)
    parts = (jnp.zeros_like(stem.weight), same_everywhere)
    flat = eqx.tree_at(lambda made: (made.stem.weight, made.stem.bias), decoder, parts)
    if name == "residual":  # whose blocks are the identity at first
        blocks = [eqx.tree_at(lambda b: b.second, block, block.first) for block in flat.blocks]
        flat = eqx.tree_at(lambda made: list(made.blocks), flat, blocks)
    drawn = np.asarray(flat(jnp.zeros(2)))[0]
    assert drawn.shape == (13, 16, 2)
    assert np.ptp(drawn, axis=(0, 1)).max() < 1e-4 < np.abs(drawn).max()
