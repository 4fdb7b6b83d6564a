"""The tabulated quantile function of the von Mises distribution against quadrature in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from reparax.reparameterization.von_mises import draw_by_table, von_mises_sample

MANY, SOME = 1 << 16, 1 << 12


def upper_probability(x, kappa, pieces=200):
    """P(|X| > x) in double precision, by Gauss-Legendre in an angle whose scale is that of the density."""
    q = np.hypot(1, 2 * kappa) + 2 * kappa
    nodes, weights = np.polynomial.legendre.leggauss(20)

    def integral(low):
        width = (np.pi / 2 - low)[:, None] / pieces
        total = np.zeros_like(low)
        for piece in range(pieces):
            angle = low[:, None] + width * (piece + 0.5 + 0.5 * nodes)
            square = np.sin(angle) ** 2
            c = 0.5 * (1 + 1 / q) + 2 * kappa * square / (q * np.cos(angle) ** 2 + square)
            total += (0.5 * width * c * np.exp(1 - c)) @ weights
        return total

    return integral(np.arctan2(np.sqrt(q) * np.sin(x / 2), np.cos(x / 2))) / integral(np.zeros(1))


@pytest.mark.parametrize("kappa", [0.0, 1e-4, 0.3, 1.0, 2.0, 5.0, 12.0, 40.0, 300.0, 1e5, 1e9])
def test_the_quantiles_are_those_of_the_distribution(kappa):
    key = jax.random.key(3)
    x = np.asarray(draw_by_table(key, jnp.float32(kappa), (MANY,))[:SOME], np.float64)
    bits = np.asarray(jax.random.bits(key, (MANY,)))[:SOME]
    # The same bits, in double precision: the lowest is the sign, the others the probability of a larger |x|.
    y = ((bits >> 1) + 0.5) * 2.0**-31
    np.testing.assert_array_equal(x > 0, bits & 1 == 1)
    size = np.minimum(np.abs(x), np.pi)
    np.testing.assert_allclose(upper_probability(size, float(np.float32(kappa))), y, atol=3e-7, rtol=1e-5)


def test_every_concentration_has_its_own_table():
    kappa = jnp.array([0.1, 3.0, 50.0])
    x = von_mises_sample(jax.random.key(0), kappa[:, None], (3, MANY))
    mean = special.ive(1, kappa) / special.i0e(kappa)
    second = special.ive(2, kappa) / special.i0e(kappa)
    error = np.sqrt(((1 + second) / 2 - mean**2) / MANY)
    assert (np.abs(jnp.cos(x).mean(1) - mean) / error < 4.5).all()


def test_the_edges_of_the_concentration():
    draws = von_mises_sample(jax.random.key(0), jnp.array([jnp.inf, 3e38, 0.0, jnp.nan]), (MANY, 4))
    np.testing.assert_allclose(draws[:, :2], 0.0, atol=1e-15)
    assert jnp.isfinite(draws[:, 2]).all()
    assert draws[:, 2].std() > 1.8
    assert jnp.isnan(draws[:, 3]).all()


def test_draws_are_the_same_mapped_over_concentrations_and_differentiable():
    kappa = jnp.array([0.5, 8.0])
    keys = jax.random.split(jax.random.key(1), 2)

    def second_moment(kappa, key):
        return jnp.mean(von_mises_sample(key, kappa, (MANY,)) ** 2)

    mapped = jax.vmap(jax.value_and_grad(second_moment))(kappa, keys)
    alone = [jax.value_and_grad(second_moment)(k, key) for k, key in zip(kappa, keys, strict=True)]
    np.testing.assert_allclose(mapped[0], [value for value, _ in alone], rtol=1e-5)
    np.testing.assert_allclose(mapped[1], [slope for _, slope in alone], rtol=1e-4)
