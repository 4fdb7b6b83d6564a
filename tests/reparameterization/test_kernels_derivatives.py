"""Implicit derivatives against tables computed at 40 digits, and against quadrature in double precision."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from reparax.reparameterization.beta import (
    log_beta_sample,
    log_dirichlet_sample,
    logit_beta_derivatives,
    logit_beta_path,
)
from reparax.reparameterization.gamma import log_gamma_derivative, log_gamma_path, log_gamma_sample
from reparax.reparameterization.gamma_rules import log_abs_student_t_sample, student_t_sample
from reparax.reparameterization.numerics import digamma_1p, digamma_difference, log_over_difference
from reparax.reparameterization.von_mises import one_minus_bessel_ratio, von_mises_derivative, von_mises_sample

HERE = Path(__file__).parent
PRECISIONS = [("float32", 6e-5), ("float64", 6e-5)]


def table(name, dtype):
    columns = np.loadtxt(HERE / f"kernel_oracle_{name}.csv", delimiter=",", skiprows=1, unpack=True)
    return [jnp.asarray(column, dtype) for column in columns], columns


def relative(value, exact):
    return np.abs(np.asarray(value, np.float64) / exact - 1.0).max()


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_gamma_derivative_from_shape_1e_minus_3_to_1e7(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        (a, log_x, _), exact = table("gamma", dtype)
        assert relative(log_gamma_derivative(log_x, a), exact[2]) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_beta_derivatives_from_shape_1e_minus_2_to_1e6(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        (a, b, logit, _, _), exact = table("beta", dtype)
        in_a, in_b = logit_beta_derivatives(logit, a, b)
        assert relative(in_a, exact[3]) < tolerance
        assert relative(in_b, exact[4]) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 6e-6), ("float64", 3e-6)])
@pytest.mark.parametrize(
    "kappa",
    [0.0, 0.5, 10.0, 19.9, 20.1, 1e4, *(pytest.param(kappa, marks=pytest.mark.full) for kappa in (1e-3, 2.0, 1e3))],
)
def test_von_mises_derivative(kappa, dtype, tolerance):
    nodes, weights = np.polynomial.legendre.leggauss(300)

    def exact(x):
        end = min(np.pi, x + 14.0 / np.sqrt(kappa + 0.01))
        t, w = 0.5 * (end + x + (end - x) * nodes), 0.5 * (end - x) * weights
        ratio = special.i1e(kappa) / special.i0e(kappa)
        return np.sum(w * (np.cos(t) - ratio) * np.exp(kappa * (np.cos(t) - np.cos(x))))

    width = min(1.0, 1.0 / np.sqrt(kappa + 1e-9))
    x = np.array([0.01, 0.3, 0.9, 1.1, 2.0, 3.0]) * width
    with jax.enable_x64(dtype == "float64"):
        both_signs = [
            sign * von_mises_derivative(jnp.asarray(sign * x, dtype), jnp.full(x.shape, kappa, dtype))
            for sign in (1.0, -1.0)
        ]
    for value in both_signs:
        assert relative(value, [exact(point) for point in x]) < tolerance


def test_second_derivatives_of_an_exponential_draw_at_fixed_quantile():
    a, log_x = jnp.float32(1.0), jnp.log(jnp.array([0.05, 0.7, 3.0], jnp.float32))

    def slope(a):
        return jax.jvp(lambda a: log_gamma_path(log_x, jnp.broadcast_to(a, log_x.shape)), (a,), (jnp.float32(1.0),))[1]

    levels = special.gammainc(1.0, np.exp(np.asarray(log_x, np.float64)))
    h = 2e-3
    quantiles = [np.log(special.gammaincinv(1.0 + k * h, levels)) for k in (-2, -1, 0, 1, 2)]
    first = (quantiles[0] - 8 * quantiles[1] + 8 * quantiles[3] - quantiles[4]) / (12 * h)
    second = (-quantiles[0] + 16 * quantiles[1] - 30 * quantiles[2] + 16 * quantiles[3] - quantiles[4]) / (12 * h * h)
    np.testing.assert_allclose(jax.jit(slope)(a), first, rtol=3e-5)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(slope))(a), second, rtol=1e-3)
    np.testing.assert_allclose(jax.jit(jax.jacrev(slope))(a), second, rtol=1e-3)


def test_second_derivatives_of_beta_at_fixed_quantile():
    a, b, x = 0.7, 2.5, np.array([0.02, 0.3, 0.8])
    logit = jnp.asarray(special.logit(x), jnp.float32)
    levels = special.betainc(a, b, x)
    h = 2e-3

    def quantile(da, db):
        return special.logit(special.betaincinv(a + da * h, b + db * h, levels))

    mixed = (quantile(1, 1) - quantile(1, -1) - quantile(-1, 1) + quantile(-1, -1)) / (4 * h * h)

    def path(a, b):
        return logit_beta_path(logit, jnp.broadcast_to(a, logit.shape), jnp.broadcast_to(b, logit.shape))

    at = jnp.float32(a), jnp.float32(b)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(jax.jacfwd(path, 0), 1))(*at), mixed, rtol=2e-3)
    np.testing.assert_allclose(jax.jit(jax.jacrev(jax.jacrev(path, 1), 0))(*at), mixed, rtol=2e-3)


SHAPES = jnp.array([1e-3, 0.01, 0.3, 1.0, 2.0, 999.0, 1001.0, 1e6, 1e7], jnp.float32)
SAMPLERS = {
    "gamma": lambda key, p: log_gamma_sample(key, p, (2000, 9)),
    "beta": lambda key, p: jnp.stack(log_beta_sample(key, p, p[::-1], (2000, 9))),
    "dirichlet": lambda key, p: log_dirichlet_sample(key, p, (2000,)),
    "student_t": lambda key, p: student_t_sample(key, p, (2000, 9)),
    "von_mises": lambda key, p: von_mises_sample(key, jnp.minimum(p, 1e5), (2000, 9)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_and_derivatives_are_finite_and_repeatable(name):
    def run(key, p):
        return jax.jvp(lambda p: SAMPLERS[name](key, p), (p,), (jnp.ones_like(p),))

    key = jax.random.key(0)
    draws, slopes = jax.jit(run)(key, SHAPES)
    assert draws.dtype == slopes.dtype == jnp.float32
    assert np.isfinite(draws).all()
    assert np.isfinite(slopes).all()
    assert np.unique(np.asarray(draws)[..., 3]).size > 1000
    np.testing.assert_array_equal(draws, jax.jit(run)(key, SHAPES)[0])
    assert (np.asarray(draws) != np.asarray(jax.jit(run)(jax.random.key(1), SHAPES)[0])).any()


def test_vmap_over_keys_and_parameters_is_the_loop():
    keys = jax.random.split(jax.random.key(0), 3)
    a = jnp.array([0.1, 2.0, 5000.0], jnp.float32)
    one = jax.jit(jax.value_and_grad(lambda a, key: log_gamma_sample(key, a, (5,)).sum()))
    together = jax.jit(jax.vmap(one))(a, keys)
    alone = [one(a[i], keys[i]) for i in range(3)]
    np.testing.assert_allclose(together[0], [value for value, _ in alone], rtol=1e-6)
    np.testing.assert_allclose(together[1], [slope for _, slope in alone], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("a", [0.05, 0.9, 1.0, 1.7, 12.0, 3e4])
def test_gamma_draws_follow_the_gamma_distribution(a, dtype):
    n = 50_000
    with jax.enable_x64(dtype == "float64"):
        log_x = np.asarray(log_gamma_sample(jax.random.key(7), jnp.asarray(a, dtype), (n,)), np.float64)
    levels = np.sort(special.gammainc(a, np.exp(log_x)))
    distance = np.abs(levels - (np.arange(n) + 0.5) / n).max()
    # Kolmogorov: P(sqrt(n) D > 2.2) = 1.3e-4.
    assert distance * np.sqrt(n) < 2.2


def test_the_quantile_function_is_the_exact_one_to_float32():
    # The same key gives the same normal draws, so that the draw can be compared quantile by quantile.
    from reparax.reparameterization.gamma import _by_quantile

    for a in (1.0, 1.3, 4.0, 90.0):
        key = jax.random.key(3)
        w = np.asarray(jax.random.normal(key, (20_000,), jnp.float32), np.float64)
        value = np.asarray(_by_quantile(key, jnp.full((20_000,), a, jnp.float32)), np.float64)
        tail = special.ndtr(-np.abs(w))
        exact = np.log(np.where(w < 0, special.gammaincinv(a, tail), special.gammainccinv(a, tail)))
        assert (np.abs(value - exact) * np.sqrt(a)).max() < 2e-5


def test_nan_and_negative_concentrations_show():
    bad = jnp.array([jnp.nan, -1.0], jnp.float32)
    assert np.isnan(log_gamma_sample(jax.random.key(0), bad[0], (3,))).all()
    assert np.isnan(log_gamma_sample(jax.random.key(0), bad[1], (3,))).all()
    with jax.enable_x64(True):
        assert np.isnan(log_gamma_sample(jax.random.key(0), jnp.float64(jnp.nan), (3,))).all()


def test_empty_shapes():
    assert log_gamma_sample(jax.random.key(0), jnp.float32(1.0), (0, 2)).shape == (0, 2)


def test_log_abs_student_t_has_no_end():
    log_abs, sign = log_abs_student_t_sample(jax.random.key(0), jnp.float32(0.01), (1000,))
    assert np.asarray(log_abs).max() > 300.0
    assert set(np.asarray(sign).tolist()) == {-1.0, 1.0}


def test_special_functions():
    a = np.array([0.0, 1e-3, 0.4, 3.0, 50.0, 1e6])
    assert relative(digamma_1p(jnp.asarray(a, jnp.float32)), special.digamma(1 + a)) < 2e-6
    low, d = np.array([0.01, 1.0, 5.0, 1e6, 1e6, 2.0]), np.array([0.5, 1e-3, 4.0, 0.3, 1e5, 1e5])
    with jax.enable_x64(True):
        exact = special.digamma(low + d) - special.digamma(low)
        value = digamma_difference(jnp.asarray(low), jnp.asarray(low + d), jnp.asarray(d))
        np.testing.assert_allclose(value, exact, rtol=1e-7)
    ell = np.array([-30.0, -0.6, -0.4, -1e-6, 1e-6, 0.4, 0.6, 20.0])
    assert relative(log_over_difference(jnp.asarray(ell, jnp.float32)), ell / np.expm1(ell)) < 1e-6
    kappa = np.array([0.0, 1e-3, 1.0, 19.0, 21.0, 300.0])
    ratio = 1.0 - special.i1e(kappa) / special.i0e(kappa)
    assert relative(one_minus_bessel_ratio(jnp.asarray(kappa, jnp.float32)), ratio) < 2e-6
