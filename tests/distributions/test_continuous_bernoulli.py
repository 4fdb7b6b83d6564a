"""The continuous Bernoulli against quadrature in float64 and against the paper's own formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from reparax.distributions import ContinuousBernoulli

LOGITS = (-200.0, -40.0, -3.0, -0.61, -0.59, -1e-2, -1e-6, 0.0, 1e-3, 0.2, 0.6, 5.0, 90.0)


def exact_log_normalizer(logit: float) -> float:
    """log of the integral of exp(logit (y - 1/2)) over [0, 1], by adaptive quadrature from the larger end."""
    size = abs(logit)
    points = [1 / size] if size > 1 else None
    value, _ = integrate.quad(lambda y: np.exp(-size * y), 0, 1, points=points, epsabs=0, epsrel=1e-13, limit=200)
    return float(np.log(value) + size / 2)


def exact_mean(logit: float) -> float:
    """The mean of the density exp(logit y) on [0, 1], by quadrature."""
    size = abs(logit)
    points = [1 / size] if size > 1 else None
    norm, _ = integrate.quad(lambda y: np.exp(-size * y), 0, 1, points=points, epsabs=0, epsrel=1e-12, limit=200)
    total, _ = integrate.quad(lambda y: y * np.exp(-size * y), 0, 1, points=points, epsabs=0, epsrel=1e-12, limit=200)
    return total / norm if logit <= 0 else 1 - total / norm


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("y", [0.0, 0.3, 1.0])
def test_density_is_the_quadrature_one(logit, y):
    found = ContinuousBernoulli(jnp.float32(logit)).log_prob(jnp.float32(y))
    expected = logit * (y - 0.5) - exact_log_normalizer(logit)
    assert abs(float(found) - expected) <= 2e-6 * max(1.0, abs(logit))


@pytest.mark.parametrize("low_high", [(0.0, 255.0), (-3.5, -1.25), (1000.0, 1004.0)])
@pytest.mark.parametrize("logit", [-7.0, 0.01, 2.0])
def test_units_cost_exactly_the_jacobian(low_high, logit):
    low, high = low_high
    y = jnp.linspace(0.0, 1.0, 9)
    unit = ContinuousBernoulli(jnp.float32(logit)).log_prob(y)
    scaled = ContinuousBernoulli(jnp.float32(logit), low, high).log_prob(low + (high - low) * y)
    np.testing.assert_allclose(scaled, unit - np.log(high - low), atol=1e-3 if low == 1000.0 else 2e-5)


def test_nothing_lies_outside_the_interval():
    log_prob = jax.jit(jax.vmap(lambda x: ContinuousBernoulli(jnp.array([3.0, -3.0]), 2.0, 5.0).log_prob(x)))
    outside = jnp.array([[1.999, 1.999], [5.001, 5.001], [-40.0, 300.0]])
    assert np.all(np.asarray(log_prob(outside)) == -np.inf)
    assert np.isfinite(log_prob(jnp.array([[2.0, 2.0], [5.0, 5.0]]))).all()


@pytest.mark.parametrize("logit", LOGITS)
def test_mean_is_the_quadrature_one(logit):
    law = ContinuousBernoulli(jnp.float32(logit), -1.0, 3.0)
    assert abs(float(law.mean) - (-1 + 4 * exact_mean(logit))) < 4e-6


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.0745, 0.0746, 0.2, 0.49])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_normalizer_near_one_half_in_float64(gap, sign):
    """Loaiza-Ganem & Cunningham (2019), equation 3: C = 2 artanh(1 - 2 lambda) / (1 - 2 lambda), and 2 at 1/2."""
    half = sign * gap
    with np.errstate(invalid="ignore", divide="ignore"):
        closed = np.log(2 * np.arctanh(2 * half) / (2 * half)) if gap > 1e-3 else None
    expected = closed if closed is not None else np.log(2.0) + (2 * half) ** 2 / 3 + 7 * (2 * half) ** 4 / 90
    with jax.enable_x64(True):
        logit = jnp.asarray(special.logit(0.5 + half), jnp.float64)
        # log C = log p(x) - x log lambda - (1 - x) log(1 - lambda) for any x; here x = 1/4.
        kernel = 0.25 * np.log(0.5 + half) + 0.75 * np.log(0.5 - half)
        found = ContinuousBernoulli(logit).log_prob(jnp.asarray(0.25, jnp.float64)) - kernel
        slope = jax.grad(lambda eta: ContinuousBernoulli(eta).log_prob(jnp.asarray(0.25, jnp.float64)))(logit)
    assert abs(float(found) - expected) < 1e-9
    assert abs(float(slope) - (0.25 - exact_mean(float(logit)))) < 1e-7


@pytest.mark.parametrize("logit", [-150.0, -4.0, -1e-4, 0.0, 0.5, 25.0, 150.0])
def test_quantiles_invert_the_distribution_function(logit):
    q = np.linspace(0.0, 1.0, 21)
    x = np.asarray(ContinuousBernoulli(jnp.float32(logit)).icdf(jnp.asarray(q, jnp.float32)), np.float64)
    assert np.all((x >= 0) & (x <= 1))
    cdf = x if logit == 0 else np.expm1(logit * x) / np.expm1(logit)
    np.testing.assert_allclose(cdf, q, atol=2e-5)


@pytest.mark.parametrize("logit", [-30.0, -2.0, -1e-3, -5e-4, -1e-7, 1e-7, 5e-4, 1e-3, 2.0, 30.0])
def test_quantiles_move_with_the_parameter_as_the_exact_ones(logit):
    """The quantile is log1p(q expm1(logit)) / logit; its slope in the logit, by differences in float64."""
    q = np.array([0.05, 0.4, 0.5, 0.9])
    step = 1e-4 * max(1.0, abs(logit))
    exact = lambda eta: np.log1p(q * np.expm1(eta)) / eta  # noqa: E731
    slope = jax.jacfwd(lambda eta: ContinuousBernoulli(eta).icdf(jnp.asarray(q, jnp.float32)))(jnp.float32(logit))
    np.testing.assert_allclose(slope, (exact(logit + step) - exact(logit - step)) / (2 * step), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("logit", [-30.0, -1.0, 1e-5, 2.0, 30.0])
def test_samples_follow_the_distribution_function(logit):
    law = ContinuousBernoulli(jnp.float32(logit), 10.0, 12.0)
    draws = np.asarray(law.sample(jax.random.key(3), (4000,)), np.float64)
    cdf = lambda x: np.expm1(logit * (x - 10) / 2) / np.expm1(logit)  # noqa: E731
    assert stats.kstest(draws, cdf).pvalue > 1e-5
