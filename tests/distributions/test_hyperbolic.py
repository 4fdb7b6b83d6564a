"""The wrapped normal on the Poincare ball and on the hyperboloid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.distributions import HyperboloidNormal, PoincareNormal
from reparax.distributions.hyperbolic import ball_to_hyperboloid, hyperboloid_to_ball
from reparax.reparameterization import rsample

LOCATION = jnp.array([0.3, -0.4])


@pytest.mark.parametrize("c", [1.0, 0.5])
def test_density_integrates_to_one_over_hyperbolic_volume(c):
    q = PoincareNormal(LOCATION, jnp.array([0.5, 0.8]), c)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    # Geodesic polar coordinates about the origin: area sinh(sqrt(c) r) / sqrt(c) dr dphi.
    r = 6 * (nodes + 1)
    phi = 2 * np.pi * np.arange(400) / 400
    radius = np.tanh(np.sqrt(c) * r / 2) / np.sqrt(c)
    points = radius[:, None, None] * np.stack([np.cos(phi), np.sin(phi)], -1)
    inside = r < 9.0 / np.sqrt(c)
    density = np.exp(np.asarray(q.log_prob(jnp.asarray(points[inside], jnp.float32)), np.float64))
    area = 6 * weights * np.sinh(np.sqrt(c) * r) / np.sqrt(c)
    assert abs((density.mean(1) * 2 * np.pi * area[inside]).sum() - 1) < 1e-3


def test_hyperboloid_and_ball_are_the_same_distribution():
    scale = jnp.array([0.5, 0.8])
    q = PoincareNormal(LOCATION, scale)
    p = HyperboloidNormal(ball_to_hyperboloid(LOCATION), scale)
    x = p.sample(jax.random.key(0), (7,))
    assert x.shape == (7, 3)
    assert jnp.allclose(-(x[:, 0] ** 2) + (x[:, 1:] ** 2).sum(-1), -1, atol=1e-3)
    assert jnp.allclose(hyperboloid_to_ball(x), q.sample(jax.random.key(0), (7,)), atol=1e-5)
    assert jnp.allclose(p.log_prob(x), q.log_prob(hyperboloid_to_ball(x)), atol=1e-4)


def test_log_prob_at_the_location_is_finite_with_its_derivative():
    q = PoincareNormal(LOCATION, jnp.array([0.5, 0.8]))
    assert jnp.allclose(q.log_prob(LOCATION), -jnp.log(2 * jnp.pi * 0.4), atol=1e-5)
    assert jnp.allclose(jax.grad(q.log_prob)(LOCATION), 0, atol=1e-3)


THETA = jnp.array([0.3, -0.4, 0.5, 0.8])
"""A location on the ball and two scales."""


def derivatives(num_samples):
    """Of the first coordinate and of the square of the second: each sample's, and by quadrature on the tangent space.

    Shapes (2, samples, 4) and (2, 4).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    grid = jnp.asarray(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2), jnp.float32)
    mass = jnp.asarray(np.outer(weights, weights).ravel() / (2 * np.pi), jnp.float32)

    def moebius(x, y):
        # In complex numbers: (x + y) / (1 + conj(x) y), an independent form of the translation.
        a, b = jax.lax.complex(x[0], x[1]), jax.lax.complex(y[:, 0], y[:, 1])
        z = (a + b) / (1 + jnp.conj(a) * b)
        return jnp.stack([z.real, z.imag], -1)

    def exact(theta):
        v = grid * theta[2:][None]
        r = jnp.linalg.norm(v, axis=-1, keepdims=True)
        z = moebius(theta[:2], jnp.tanh(r / 2) * v / r)
        return jnp.stack([mass @ z[:, 0], mass @ (z[:, 1] ** 2)])

    @jax.jit
    def per_sample(theta):
        def values(theta):
            z = rsample(PoincareNormal(theta[:2], theta[2:]), jax.random.key(1), (num_samples,))
            return jnp.stack([z[:, 0], z[:, 1] ** 2])

        return jax.jacfwd(values)(theta)

    return per_sample(THETA), jax.jacfwd(exact)(THETA)


@pytest.mark.parametrize("num_samples", [40_000, pytest.param(400_000, marks=pytest.mark.full)])
def test_derivatives_are_unbiased(num_samples):
    slopes, exact = derivatives(num_samples)
    scores = (slopes.mean(1) - exact) / (slopes.std(1) / np.sqrt(num_samples) + 1e-6)
    assert jnp.max(jnp.abs(scores)) <= 5
