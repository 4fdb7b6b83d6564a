"""Steps of a differential equation as a map: beside closed forms, finite differences and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from reparax.distributions import Pushforward
from reparax.distributions.integrated import Integrated, largest_slope, spectral_bound
from reparax.networks.mlp import Perceptron
from reparax.priors.matching import LearnedVelocity
from reparax.pytrees import Frozen

NORMAL = dist.Normal(jnp.zeros(2), jnp.ones(2)).to_event(1)


def to_normal(scale: np.ndarray):
    """The velocity of the straight paths from N(0, I) to N(0, diag(scale^2)), whose marginals are Normals."""

    def velocity(z: jax.Array, t: jax.Array) -> jax.Array:
        squares = jnp.asarray(scale**2, z.dtype)
        return (t * squares - (1 - t)) / ((1 - t) ** 2 + t**2 * squares) * z

    return velocity


def learned(size: float, num_steps: int = 6) -> LearnedVelocity:
    """A velocity with large weights, of codes that are not standardized."""
    network = Perceptron(2 + 6, (8, 8), (2,), key=jax.random.key(4))
    network = jax.tree.map(lambda leaf: size * leaf, network)
    return LearnedVelocity(network, Frozen(jnp.array([1.0, -2.0])), Frozen(jnp.array([3.0, 0.1])), num_steps)


class Posterior:
    latent_shape = (2,)


@pytest.fixture(autouse=True)
def numpyro_climate():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_velocity_of_a_normal_gives_its_density_and_its_draws():
    scale = np.array([0.3, 1.7])
    law = Pushforward(NORMAL, Integrated(to_normal(scale), 32))
    points = np.random.default_rng(0).normal(size=(50, 2)) * scale
    found = jax.vmap(law.log_prob)(jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(found, stats.norm.logpdf(points, 0, scale).sum(axis=1), atol=0.02)
    draws = np.asarray(law.sample(jax.random.key(1), (4000,)))
    for column, width in zip(draws.T, scale, strict=True):
        assert stats.kstest(column / width, "norm").pvalue > 1e-3


def test_the_volume_is_that_of_finite_differences_and_the_inverse_is_exact():
    law = learned(3.0)(Posterior())
    z = np.array([2.0, -2.1])
    (e, log_det) = law.pull(jnp.asarray(z, jnp.float32))
    back, log_det_back = law.push(e)
    np.testing.assert_allclose(back, z, atol=2e-5)
    assert float(log_det) == pytest.approx(-float(log_det_back), abs=1e-4)
    steps = np.array([3e-2, 1e-3])  # in proportion to the scales
    columns = [
        np.asarray(law.pull(jnp.asarray(z + h, jnp.float32))[0])
        - np.asarray(law.pull(jnp.asarray(z - h, jnp.float32))[0])
        for h in np.diag(steps)
    ]
    numeric = np.log(abs(np.linalg.det(np.array(columns, np.float64).T / (2 * steps))))
    assert float(log_det) == pytest.approx(numeric, abs=5e-3)


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_weights_of_any_size_leave_the_steps_invertible_and_the_density_normalized(size):
    law = learned(size)(Posterior())
    axis = np.linspace(-9, 9, 301)
    grid = np.stack(np.meshgrid(1.0 + 3.0 * axis, -2.0 + 0.1 * axis, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(np.asarray(jax.jit(jax.vmap(law.log_prob))(jnp.asarray(grid, jnp.float32)), np.float64))
    assert density.sum() * 0.3 * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)
    e = jax.random.normal(jax.random.key(0), (200, 2))
    np.testing.assert_allclose(law.pull(law.push(e)[0])[0], e, atol=2e-4)


def test_a_steep_velocity_is_flattened_to_the_slope_that_the_steps_allow():
    prior = learned(30.0)
    field = prior.velocity
    points = jax.random.normal(jax.random.key(0), (300, 2))
    slopes = jax.vmap(jax.jacfwd(field), (0, None))(points, jnp.float32(0.3))
    steepest = np.linalg.norm(np.asarray(slopes), 2, axis=(1, 2)).max()
    assert 0.02 * largest_slope(6) < steepest < largest_slope(6)
    assert float(learned(0.3).velocity.factor) == 1.0


@pytest.mark.parametrize("shape", [(3, 3), (5, 40), (40, 5)])
def test_the_spectral_bound_is_just_above_the_largest_singular_value(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    largest = np.linalg.norm(matrix, 2)
    assert largest * (1 - 1e-5) <= float(spectral_bound(jnp.asarray(matrix, jnp.float32))) <= 1.15 * largest
    value, slope = jax.value_and_grad(spectral_bound)(jnp.zeros(shape))
    assert value < 1e-5
    assert np.isfinite(slope).all()


def test_draws_are_differentiated_as_the_implicit_function():
    """In the noise and in the weights, forwards and backwards, beside finite differences."""
    e = jnp.array([0.5, -0.8])

    def first(scale: jax.Array, e: jax.Array) -> jax.Array:
        prior = learned(1.0)
        field = prior.velocity
        return jnp.sum(
            Integrated(lambda z, t: scale * field(z, t), 6).forward_and_log_det(e)[0] * jnp.array([1.0, 2.0])
        )

    h = 1e-2
    in_weights = (first(jnp.float32(0.5 + h), e) - first(jnp.float32(0.5 - h), e)) / (2 * h)
    in_noise = (first(jnp.float32(0.5), e.at[0].add(h)) - first(jnp.float32(0.5), e.at[0].add(-h))) / (2 * h)
    back = jax.grad(first, (0, 1))(jnp.float32(0.5), e)
    np.testing.assert_allclose([back[0], back[1][0]], [in_weights, in_noise], rtol=5e-3)
    forward = jax.jacfwd(first, (0, 1))(jnp.float32(0.5), e)
    np.testing.assert_allclose(back[1], forward[1], rtol=1e-4)
    assert float(back[0]) == pytest.approx(float(forward[0]), rel=1e-4)


def test_the_regression_of_no_velocity_is_the_distance_of_codes_from_noise():
    """E|z - e|^2 of standardized codes is |z|^2 + 2."""
    prior = LearnedVelocity(
        jax.tree.map(jnp.zeros_like, Perceptron(8, (4,), (2,), key=jax.random.key(0))),
        Frozen(jnp.zeros(2)), Frozen(jnp.ones(2)), 4,
    ).started_at(np.array([[0.0, 0.0], [2.0, 4.0]]))  # fmt: skip
    z = jnp.array([3.0, 2.0])
    keys = jax.random.split(jax.random.key(1), 4000)
    values = np.asarray(jax.vmap(lambda key: prior.regression(z, key=key))(keys))
    assert abs(values.mean() + 4.0 + 2.0) < 5 * values.std() / np.sqrt(4000)
