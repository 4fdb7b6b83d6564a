"""Invertible maps: inverses and volumes beside the Jacobian matrix of JAX, at random and at extreme weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.distributions import halves
from reparax.distributions.maps import (
    Autoregressive,
    Inverse,
    Planar,
    Reflection,
    Sequential,
    SplineCoupling,
    num_spline_parameters,
)
from reparax.networks.masked import Beside, MaskedPerceptron
from reparax.networks.mlp import Perceptron
from reparax.pytrees import combine, partition

DIMENSIONS = (1, 2, 5)


@pytest.fixture(autouse=True)
def user_climate():
    """The promotion rules that users have."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def moved(tree, size: float, seed: int):
    rng = np.random.default_rng(seed)
    learned, rest = partition(tree)
    return combine(
        jax.tree.map(lambda leaf: leaf + size * jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), learned), rest
    )


def spline(size: int, seed: int, spread: float):
    network = Perceptron(size, (16,), (size * num_spline_parameters(6),), key=jax.random.key(seed))
    return SplineCoupling(moved(network, spread, seed), halves(size, 2)[seed % 2])


def masked(size: int, seed: int, spread: float):
    network = moved(MaskedPerceptron(size, 12, context_size=3, key=jax.random.key(seed)), spread, seed)
    return Autoregressive(Beside(network, jnp.asarray([0.5, -1.0, 2.0])))


def planar(size: int, seed: int, spread: float):
    rng = np.random.default_rng(seed)
    return Planar(*(spread * jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((size,), (size,), ())))


def reflection(size: int, seed: int, spread: float):
    return Reflection(spread * jnp.asarray(np.random.default_rng(seed).normal(size=size), jnp.float32))


def several(size: int, seed: int, spread: float):
    kinds = (planar, reflection, masked, spline)
    return Sequential(tuple(kind(size, seed + place, spread) for place, kind in enumerate(kinds)))


def inverted(size: int, seed: int, spread: float):
    return Inverse(masked(size, seed, spread))


MAPS = [planar, reflection, masked, spline, several, inverted]


@pytest.mark.parametrize("size", DIMENSIONS)
@pytest.mark.parametrize("make", MAPS, ids=lambda make: make.__name__)
def test_a_map_has_its_inverse_and_the_volume_of_its_jacobian(make, size):
    points = 2.0 * jax.random.normal(jax.random.key(0), (40, size))

    @jax.jit
    def check(transform, e):
        z, log_det = jax.vmap(transform.forward_and_log_det)(e)
        back, other = jax.vmap(transform.inverse_and_log_det)(z)
        jacobian = jax.vmap(jax.jacfwd(lambda one: transform.forward_and_log_det(one)[0]))(e)
        return back, log_det, other, jnp.linalg.slogdet(jacobian)[1]

    for seed in range(4):
        back, log_det, other, exact = check(make(size, seed, 0.3 if make is several else 0.7), points)
        np.testing.assert_allclose(back, points, atol=2e-3)
        np.testing.assert_allclose(log_det, exact, atol=2e-3)
        np.testing.assert_allclose(other, -log_det, atol=5e-3)


@pytest.mark.parametrize("make", MAPS, ids=lambda make: make.__name__)
def test_a_map_stays_finite_at_any_weights_and_far_points(make):
    points = jnp.asarray([[0.0, 0.0], [1e3, -1e3], [5.0, -5.0], [1e-8, 1.0]])

    @jax.jit
    def through(transform, e):
        def total(e):
            z, log_det = transform.forward_and_log_det(e)
            return jnp.sum(z) + log_det

        return jax.vmap(jax.value_and_grad(total))(e)

    for spread in (0.0, 1e-6, 30.0):
        for seed in range(3):
            values, slopes = through(make(2, seed, spread), points)
            assert np.isfinite(values).all(), (spread, seed)
            assert np.isfinite(slopes).all(), (spread, seed)


def test_the_inverse_of_a_planar_map_has_the_derivatives_of_the_inverse_function():
    """Newton's step after the halving: with respect to the weights too, beside finite differences."""
    z = jnp.asarray([0.3, -1.2])

    def back(weights):
        return jnp.sum(Planar(weights[:2], weights[2:4], weights[4]).inverse_and_log_det(z)[0] ** 2)

    weights = jnp.asarray([0.7, -0.4, 1.1, 0.6, 0.2])
    slope = jax.jit(jax.grad(back))(weights)
    step = 1e-2
    both = jax.jit(jax.vmap(back))(jnp.concatenate([weights + step * jnp.eye(5), weights - step * jnp.eye(5)]))
    np.testing.assert_allclose(slope, (both[:5] - both[5:]) / (2 * step), atol=2e-3)


def test_an_output_of_a_masked_network_sees_only_earlier_inputs_and_the_context():
    network = moved(MaskedPerceptron(4, 16, context_size=2, key=jax.random.key(0)), 0.5, 0)
    slopes = jax.jacfwd(network)(jnp.asarray([0.1, 0.2, 0.3, 0.4, 1.0, 2.0]))
    for block in (slopes[:4], slopes[4:]):
        earlier = np.tril(np.ones((4, 4), bool), -1)
        assert (np.asarray(block[:, :4])[~earlier] == 0).all()
        assert (np.abs(np.asarray(block[:, :4])[earlier]) > 0).all()
        assert (np.abs(np.asarray(block[:, 4:])) > 0).all()
