"""Distributions on the sphere: normalized, drawn rightly in every dimension, differentiable in all parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from reparax.distributions import HypersphericalUniform, PowerSpherical, VonMisesFisher, kl_divergence
from reparax.reparameterization import is_reparameterizable, rsample

FAMILIES = [VonMisesFisher, PowerSpherical]


def direction(d):
    return jnp.linspace(-0.5, 1.0, d) / jnp.linalg.norm(jnp.linspace(-0.5, 1.0, d))


def log_z(kappa, d):
    return d / 2 * np.log(2 * np.pi) + np.log(special.ive(d / 2 - 1, kappa)) - (d / 2 - 1) * np.log(kappa)


@pytest.mark.parametrize(
    ("d", "kappa"), [(2, 0.1), (2, 300.0), (3, 1.0), (5, 3.0), (10, 1e4), (50, 40.0), (200, 100.0)]
)
def test_von_mises_fisher_normalizer_and_mean_against_bessel_functions(d, kappa):
    q = VonMisesFisher(direction(d), kappa)
    assert np.abs(q.log_normalizer() - log_z(kappa, d)) < 2e-5 * (1 + abs(log_z(kappa, d)))
    exact = special.ive(d / 2, kappa) / special.ive(d / 2 - 1, kappa)
    assert np.abs(q.mean_cosine() - exact) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_density_integrates_to_one_on_the_circle_and_the_sphere(family):
    angle = jnp.linspace(-jnp.pi, jnp.pi, 4001)[:-1]
    circle = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    total = jnp.exp(family(direction(2), 2.5).log_prob(circle)).mean() * 2 * jnp.pi
    assert np.abs(total - 1) < 1e-4
    nodes, weights = np.polynomial.legendre.leggauss(80)
    phi = 2 * np.pi * np.arange(120) / 120
    ring = np.sqrt(1 - nodes**2)[:, None]
    height = nodes[:, None] * np.ones_like(phi)
    points = jnp.asarray(np.stack([ring * np.cos(phi), ring * np.sin(phi), height], -1), jnp.float32)
    density = np.asarray(jnp.exp(family(direction(3), 2.5).log_prob(points)))
    assert np.abs((density.mean(1) * 2 * np.pi * weights).sum() - 1) < 1e-4


def cosine_distribution(family, kappa, d):
    if family is PowerSpherical:
        return stats.beta((d - 1) / 2 + kappa, (d - 1) / 2, loc=-1, scale=2).cdf
    theta = np.linspace(0, np.pi, 200_001)[1:-1]
    logs = kappa * (np.cos(theta) - 1) + (d - 2) * np.log(np.sin(theta))
    mass = np.cumsum(np.exp(logs - logs.max()))
    return lambda w: 1 - np.interp(np.arccos(np.clip(w, -1, 1)), theta, mass / mass[-1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("d", "kappa"), [(2, 1.5), (3, 20.0), (5, 0.0), (50, 30.0), pytest.param(1000, 500.0, marks=pytest.mark.full)]
)
def test_draws_have_the_right_angle_and_unit_length(family, d, kappa):
    q = family(direction(d), kappa)
    x = jax.jit(lambda key: rsample(q, key, (4000,)))(jax.random.key(0))
    assert jnp.max(jnp.abs(jnp.linalg.norm(x, axis=-1) - 1)) < 1e-5
    cosine = np.asarray(x @ q.mean_direction, np.float64)
    assert stats.kstest(cosine, cosine_distribution(family, kappa, d)).pvalue > 1e-4
    across = x - (x @ q.mean_direction)[:, None] * q.mean_direction[None]
    across = across / jnp.linalg.norm(across, axis=-1, keepdims=True)
    # No direction about the mean is preferred: the mean of unit vectors in d - 1 dimensions.
    assert jnp.max(jnp.abs(across.mean(0))) < 5 / np.sqrt(4000 * max(d - 1, 1)) * 1.5


def mean_cosine(family, kappa, d):
    if family is PowerSpherical:
        return kappa / (kappa + d - 1)
    return special.ive(d / 2, kappa) / special.ive(d / 2 - 1, kappa)


QUICK = [(VonMisesFisher, 2, 2.0), (VonMisesFisher, 30, 60.0), (PowerSpherical, 3, 0.5)]
SLOW = [
    (VonMisesFisher, 3, 0.5), (VonMisesFisher, 5, 3.0), (VonMisesFisher, 10, 1000.0), (PowerSpherical, 2, 2.0),
    (PowerSpherical, 30, 60.0),
]  # fmt: skip


def derivatives(family, d, kappa, num_samples):
    """Of w . x in an angle that turns the mean, and in kappa: each sample's, and the exact ones."""
    w = jnp.cos(jnp.arange(d, dtype=jnp.float32))

    @jax.jit
    def per_sample(mean, turn, kappa):
        def values(angle, kappa):
            moved = jnp.cos(angle) * mean + jnp.sin(angle) * turn
            return rsample(family(moved, kappa), jax.random.key(3), (num_samples,)) @ w

        return jnp.stack(jax.jacfwd(values, (0, 1))(jnp.float32(0.0), kappa), axis=-1)

    mean = direction(d)
    turn = jnp.roll(mean, 1) - mean * jnp.dot(mean, jnp.roll(mean, 1))
    turn = turn / jnp.linalg.norm(turn)
    step = 1e-4 * kappa
    slope = (mean_cosine(family, kappa + step, d) - mean_cosine(family, kappa - step, d)) / (2 * step)
    exact = mean_cosine(family, kappa, d) * float(turn @ w), slope * float(mean @ w)
    return per_sample(mean, turn, jnp.float32(kappa)), np.array(exact)


@pytest.mark.parametrize("num_samples", [40_000, pytest.param(400_000, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("family", "d", "kappa"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.full) for case in SLOW)]
)
def test_derivatives_are_unbiased(family, d, kappa, num_samples):
    slopes, exact = derivatives(family, d, kappa, num_samples)
    assert (np.abs(slopes.mean(0) - exact) <= 5 * (slopes.std(0) / np.sqrt(num_samples) + 1e-6)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_divergence_from_the_uniform_is_its_monte_carlo_mean(family):
    q, p = family(direction(4), 3.0), HypersphericalUniform(4)
    x = q.sample(jax.random.key(0), (40_000,))
    terms = q.log_prob(x) - p.log_prob(x)
    assert jnp.abs(kl_divergence(q, p) - terms.mean()) <= 5 * terms.std() / 200
    assert jnp.abs(kl_divergence(family(direction(4), 0.0), p)) < 1e-5


def test_uniform_draws_and_entropy():
    q = HypersphericalUniform(3, batch_shape=(2,))
    assert is_reparameterizable(q)
    x = q.sample(jax.random.key(0), (5,))
    assert x.shape == (5, 2, 3)
    assert jnp.allclose(jnp.linalg.norm(x, axis=-1), 1, atol=1e-6)
    assert jnp.allclose(q.entropy(), np.log(4 * np.pi), atol=1e-6)
    assert jnp.allclose(q.log_prob(x), -np.log(4 * np.pi), atol=1e-6)
    assert jnp.array_equal(q.mean, jnp.zeros((2, 3)))


def test_second_derivatives_and_batches():
    def loss(kappa):
        q = VonMisesFisher(jnp.stack([direction(4), -direction(4)]), kappa)
        return jnp.mean(rsample(q, jax.random.key(0), (2000,)) @ jnp.arange(4.0))

    kappa = jnp.array([1.0, 4.0])
    second = jax.jit(lambda k: jax.jvp(jax.grad(loss), (k,), (jnp.array([1.0, 0.0]),))[1])(kappa)
    step = 0.05
    values = [special.ive(2, k) / special.ive(1, k) for k in (1 - step, 1.0, 1 + step)]
    exact = (values[0] - 2 * values[1] + values[2]) / step**2 * float(direction(4) @ jnp.arange(4.0)) / 2
    # Per-sample spread of the second derivative is below one here.
    assert jnp.abs(second[0] - exact) < 5 / np.sqrt(2000)
    assert second[1] == 0


def test_a_circle_is_a_sphere_in_a_compiled_program_too():
    """The smallest sphere has a normalizer of its own: 2 pi I_0(kappa)."""
    kappa, mean = 3.0, jnp.array([0.6, 0.8])

    @jax.jit
    def of(kappa):
        q = VonMisesFisher(mean, kappa)
        return q.log_prob(mean), rsample(q, jax.random.key(0), (2000,)) @ mean

    density, cosines = of(kappa)
    assert density == pytest.approx(kappa - np.log(2 * np.pi * special.i0(kappa)), abs=1e-5)
    expected = special.i1(kappa) / special.i0(kappa)
    assert abs(float(cosines.mean()) - expected) < 5 * float(cosines.std()) / np.sqrt(2000)
