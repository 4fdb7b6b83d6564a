"""Expectations through the kernels and their first and second derivatives against closed forms, in standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from reparax.reparameterization.beta import log_beta_sample, log_dirichlet_sample
from reparax.reparameterization.gamma import log_gamma_sample
from reparax.reparameterization.gamma_rules import log_abs_student_t_sample
from reparax.reparameterization.von_mises import von_mises_sample

SIZES = [40_000, pytest.param(400_000, marks=pytest.mark.full)]


def log_moment(value, slope, curvature):
    """Value and two derivatives of exp(g) from those of g."""
    value = np.exp(value)
    return value, value * slope, value * (slope**2 + curvature)


# Each case: parameters, of which the first is differentiated; functions of a draw; value and two derivatives of E f.


def gamma(key, n, a):
    log_x = log_gamma_sample(key, a, (n, *a.shape))
    rate = 1.0 / jnp.maximum(jax.lax.stop_gradient(a), 1.0)[None]
    return jnp.stack([log_x, jnp.exp(-jnp.exp(log_x) * rate)])


def gamma_exact(a):
    rate = -np.log1p(1.0 / np.maximum(a, 1.0))
    return np.stack([
        [special.polygamma(order, a) for order in (0, 1, 2)],
        log_moment(a * rate, rate, 0.0),
    ])  # fmt: skip


def beta(key, n, a, b):
    log_x, log_1mx = log_beta_sample(key, a, b, (n, *a.shape))
    return jnp.stack([log_x, log_1mx, jnp.exp(2.0 * log_x)])


def beta_exact(a, b):
    psi = [[special.polygamma(order, x) for order in (0, 1, 2)] for x in (a, b, a + b)]
    psi_a, psi_b, psi_n = np.array(psi)
    psi_b[1:] = 0.0
    log_square = np.log(a * (a + 1) / ((a + b) * (a + b + 1)))
    slope = 1 / a + 1 / (a + 1) - 1 / (a + b) - 1 / (a + b + 1)
    curvature = -(a**-2.0) - (a + 1) ** -2.0 + (a + b) ** -2.0 + (a + b + 1) ** -2.0
    return np.stack([psi_a - psi_n, psi_b - psi_n, log_moment(log_square, slope, curvature)])


def beta_in_b(key, n, b, a):
    return beta(key, n, a, b)[:2]


def beta_in_b_exact(b, a):
    return beta_exact(b, a)[1::-1]


def dirichlet(key, n, a, b):
    # Components a, b, b: the first is Beta(a, 2b).
    log_x = log_dirichlet_sample(key, jnp.stack([a, b, b], -1), (n, *a.shape))
    return jnp.stack([log_x[..., 0], log_x[..., 1], jnp.exp(2.0 * log_x[..., 0])])


def dirichlet_exact(a, b):
    exact = beta_exact(a, 2 * b)
    exact[1, 0] += special.digamma(b) - special.digamma(2 * b)
    return exact


def student_t(key, n, df):
    log_abs = log_abs_student_t_sample(key, df, (n, *df.shape))[0]
    return jnp.stack([log_abs, jnp.where(df[None] > 2.0, jnp.exp(jnp.minimum(0.5 * log_abs, 30.0)), 0.0)])


def student_t_exact(df):
    logs = [
        0.5 * (np.log(df) + special.digamma(0.5) - special.digamma(df / 2)),
        0.5 * (1 / df - 0.5 * special.polygamma(1, df / 2)),
        0.5 * (-(df**-2.0) - 0.25 * special.polygamma(2, df / 2)),
    ]
    r, d = 0.5, np.where(df > 2, df, 3.0)
    root = log_moment(
        0.5 * r * np.log(d) + special.gammaln((r + 1) / 2) + special.gammaln((d - r) / 2)
        - 0.5 * np.log(np.pi) - special.gammaln(d / 2),
        0.5 * r / d + 0.5 * (special.digamma((d - r) / 2) - special.digamma(d / 2)),
        -0.5 * r / d**2 + 0.25 * (special.polygamma(1, (d - r) / 2) - special.polygamma(1, d / 2)),
    )  # fmt: skip
    return np.stack([logs, np.where(df > 2, root, 0.0)])


def von_mises(key, n, kappa):
    x = von_mises_sample(key, kappa, (n, *kappa.shape))
    return jnp.stack([2.0 * jnp.sin(0.5 * x) ** 2, jnp.sin(x)])


def von_mises_exact(kappa):
    # Derivatives of I1 / I0 through Bessel functions of orders 0 to 3, which stand at kappa = 0.
    i0, i1, i2, i3 = (special.ive(order, kappa) / special.i0e(kappa) for order in range(4))
    slope = 0.5 * (i0 + i2) - i1**2
    curvature = 0.25 * (3 * i1 + i3) - 0.5 * i1 * (i0 + i2) - 2 * i1 * slope
    return np.stack([[1 - i1, -slope, -curvature], 0.0 * np.stack([i1, i1, i1])])


CASES = {
    "gamma": (gamma, gamma_exact, [[1e-3, 0.01, 0.05, 0.7, 1.0, 2.0, 50.0, 990.0]]),
    "large gamma": (lambda *p: gamma(*p)[:1], lambda *p: gamma_exact(*p)[:1], [[1010.0, 1e4, 1e6, 1e7]]),
    "beta": (beta, beta_exact, [[0.01, 0.5, 2.0, 0.01, 900.0], [0.01, 3.0, 2.0, 1e4, 50.0]]),
    "beta in b": (beta_in_b, beta_in_b_exact, [[0.01, 0.3, 4.0, 1e4, 3e3], [0.01, 2.0, 0.01, 0.1, 5e3]]),
    "dirichlet": (dirichlet, dirichlet_exact, [[0.01, 0.7, 3.0, 100.0], [0.01, 2.0, 0.5, 1e4]]),
    "student_t": (student_t, student_t_exact, [[0.02, 0.5, 3.0, 30.0, 1e4]]),
    "von_mises": (von_mises, von_mises_exact, [[0.0, 0.3, 2.0, 15.0, 25.0]]),
}  # fmt: skip


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_values_and_two_derivatives_are_unbiased(name, n):
    function, exact, columns = CASES[name]

    @jax.jit
    def run(key, first, *rest):
        def values(first):
            return function(key, n, first, *rest)

        def slopes(first):
            return jax.jvp(values, (first,), (jnp.ones_like(first),))[1]

        one, two = jax.jvp(slopes, (first,), (jnp.ones_like(first),))
        return values(first), one, two

    parameters = [jnp.array(column, jnp.float32) for column in columns]
    truth = exact(*(np.asarray(parameter, np.float64) for parameter in parameters))
    for order, draws in enumerate(run(jax.random.key(11), *parameters)):
        draws = np.asarray(draws, np.float64)
        assert np.isfinite(draws).all()
        error = draws.std(1) / np.sqrt(n)
        # A draw that is all zeros, or all one number, must be the exact one.
        z = (draws.mean(1) - truth[:, order]) / np.maximum(error, 1e-6 * np.abs(truth[:, order]) + 1e-12)
        assert np.abs(z).max() <= 5, f"{name}, derivative {order}: {z}"
