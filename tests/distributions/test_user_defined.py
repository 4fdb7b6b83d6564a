"""Distributions of one's own: a base noise, a quantile function, a CDF, a log-density; and log-space variables."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.special import digamma, gammaln
from scipy import stats

from reparax.distributions import (
    FromCDF,
    FromLogDensity,
    FromQuantile,
    LocationScale,
    LogDirichlet,
    LogGamma,
    LogitBeta,
    Pushforward,
)
from reparax.errors import NotReparameterizable
from reparax.reparameterization import rsample

NUM = 40_000


class Triangular(dist.Distribution):
    """A noise that numpyro does not know: the sum of two uniforms, minus one."""

    support = dist.constraints.real

    def sample(self, key, sample_shape=()):
        return jax.random.uniform(key, (2, *sample_shape, *self.batch_shape)).sum(0) - 1

    def log_prob(self, value):
        return jnp.log(1 - jnp.abs(value))


class Power(eqx.Module):
    """z = e^a of a positive e."""

    a: Any

    def forward_and_log_det(self, e):
        return e**self.a, jnp.log(self.a) + (self.a - 1) * jnp.log(e)


class Case(NamedTuple):
    """A distribution of some parameters, a function of its samples, and the exact expectation."""

    make: Any
    f: Any
    exact: Any
    theta: list[float]
    parameters: tuple[str, ...]


def weibull(scale, shape):
    return FromQuantile(lambda u, p: p[0] * (-jnp.log1p(-u)) ** (1 / p[1]), (scale, shape))


def logistic(loc, scale):
    return FromCDF(lambda x, p: 1 / (1 + jnp.exp(-(x - p[0]) / p[1])), (loc, scale), -30.0, 30.0)


def von_mises(*kappa):
    """Exponential families in cos x on one interval, not normalized."""
    return FromLogDensity(lambda x, p: p * jnp.cos(x), jnp.stack(kappa), -np.pi, np.pi, batch_shape=(len(kappa),))


def mean_cosine(kappa):
    grid = jnp.linspace(-jnp.pi, jnp.pi, 2001)[:-1]
    mass = jnp.exp(kappa * jnp.cos(grid))
    return (mass * jnp.cos(grid)).sum() / mass.sum()


def log_gamma(a):
    return Case(LogGamma, lambda y: y, lambda a, rate: digamma(a) - jnp.log(rate), [a, 1.7], ("a", "rate"))


def logit_beta(a):
    def exact(a, b):
        return digamma(a) - digamma(a + b)

    return Case(LogitBeta, lambda y: -jax.nn.softplus(-y), exact, [a, 0.03], ("a", "b"))


CASES = {
    "LocationScale(triangular)": Case(
        lambda loc, scale: LocationScale(Triangular(), loc, scale),
        lambda x: x**2,
        lambda loc, scale: loc**2 + scale**2 / 6,
        [0.3, 0.8],
        ("loc", "scale"),
    ),
    "LocationScale(Gamma(a, 1))": Case(
        lambda a, loc, scale: LocationScale(dist.Gamma(a, 1.0), loc, scale),
        lambda x: x,
        lambda a, loc, scale: loc + scale * a,
        [1.3, 0.3, 0.8],
        ("a", "loc", "scale"),
    ),
    "Pushforward(Gamma(a, 1))": Case(
        lambda a, power: Pushforward(dist.Gamma(a, 1.0), Power(power)),
        lambda x: x,
        lambda a, power: jnp.exp(gammaln(a + power) - gammaln(a)),
        [1.3, 0.8],
        ("a", "power"),
    ),
    "FromQuantile(Weibull)": Case(
        weibull, jnp.log, lambda scale, shape: jnp.log(scale) - 0.5772156649 / shape, [0.7, 1.6], ("scale", "shape")
    ),
    "FromCDF(logistic)": Case(
        logistic,
        jnp.sin,
        lambda loc, scale: jnp.sin(loc) * jnp.pi * scale / jnp.sinh(jnp.pi * scale),
        [0.3, 0.8],
        ("loc", "scale"),
    ),
    "FromLogDensity(kappa cos x), two": Case(
        von_mises,
        lambda x: jnp.cos(x).sum(-1),
        lambda first, second: mean_cosine(first) + mean_cosine(second),
        [0.4, 6.0],
        ("kappa[0]", "kappa[1]"),
    ),
    "LogGamma, small": log_gamma(0.01),
    "LogGamma": log_gamma(2.0),
    "LogitBeta, small": logit_beta(0.01),
    "LogitBeta": logit_beta(2.0),
    "LogDirichlet": Case(
        lambda *a: LogDirichlet(jnp.stack(a)),
        lambda y: y[..., 0],
        lambda *a: digamma(a[0]) - digamma(sum(a)),
        [0.01, 0.02, 3.0],
        ("a[0]", "a[1]", "a[2]"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_unbiased(name):
    """Values and derivatives against the exact expectation, in standard errors."""
    make, f, exact, theta, _ = CASES[name]
    theta = jnp.array(theta)

    @jax.jit
    def per_sample(theta):
        def values(theta):
            return f(rsample(make(*theta), jax.random.key(0), (NUM,)))

        return jnp.concatenate([values(theta)[:, None], jax.jacfwd(values)(theta)], -1)

    draws = per_sample(theta)
    truth = jnp.concatenate([exact(*theta)[None], jax.jacfwd(lambda t: exact(*t))(theta)])
    scores = (draws.mean(0) - truth) / (draws.std(0) / jnp.sqrt(NUM) + 2e-5 * jnp.abs(truth) + 1e-6)
    assert jnp.all(jnp.isfinite(draws))
    assert jnp.max(jnp.abs(scores)) <= 5, scores


def test_density_of_own_base_noise():
    q = LocationScale(Triangular(), 0.3, 0.8)
    assert jnp.allclose(q.log_prob(jnp.array(0.5)), stats.triang(0.5, -0.5, 1.6).logpdf(0.5), atol=1e-6)


def test_base_noise_that_cannot_be_differentiated_is_refused():
    with pytest.raises(NotReparameterizable, match="rate"):
        rsample(LocationScale(dist.Poisson(2.0), 0.0, 1.0), jax.random.key(0))


def test_density_of_own_quantile_function():
    x = jnp.array([0.2, 0.9, 2.0])
    at = jnp.array([0.7, 1.6])
    assert jnp.allclose(weibull(*at).log_prob(x), stats.weibull_min(1.6, scale=0.7).logpdf(x), atol=1e-4)
    score = jax.jacfwd(lambda t: weibull(*t).log_prob(x))(at)
    exact = jax.jacfwd(lambda t: dist.Weibull(t[0] * jnp.ones(3), t[1] * jnp.ones(3)).log_prob(x))(at)
    assert jnp.allclose(score, exact, atol=1e-2)


def test_density_of_own_distribution_function():
    x = jnp.array([-2.0, 0.9])
    assert jnp.allclose(logistic(*jnp.array([0.3, 0.8])).log_prob(x), stats.logistic(0.3, 0.8).logpdf(x), atol=1e-5)


def test_own_log_density_with_a_batch_is_normalized():
    x = jnp.array([0.3, -0.7])
    exact = stats.vonmises(np.array([0.4, 6.0])).logpdf(x)
    assert jnp.allclose(von_mises(*jnp.array([0.4, 6.0])).log_prob(x), exact, atol=1e-4)


@pytest.mark.parametrize("a", [0.01, 2.0])
def test_log_gamma_is_right_at_small_shapes(a):
    q = LogGamma(a, 1.7)
    y = jnp.array([-3.0, 0.5])
    assert jnp.allclose(q.log_prob(y), stats.gamma(a, scale=1 / 1.7).logpdf(jnp.exp(y)) + y, atol=1e-4)
    draws = q.sample(jax.random.key(1), (NUM,))
    assert jnp.abs(draws.var() / q.variance - 1) < 0.1
    assert jnp.abs(draws.mean() - q.mean) < 5 * jnp.sqrt(q.variance / NUM)


@pytest.mark.parametrize("a", [0.01, 2.0])
def test_logit_beta_is_right_at_small_shapes(a):
    q = LogitBeta(a, 0.03)
    y = jnp.array([-3.0, 0.5])
    x = np.asarray(jax.nn.sigmoid(y), np.float64)
    assert jnp.allclose(q.log_prob(y), stats.beta(a, 0.03).logpdf(x) + np.log(x * (1 - x)), atol=1e-4)
    draws = q.sample(jax.random.key(1), (NUM,))
    assert jnp.abs(draws.mean() - q.mean) < 5 * jnp.sqrt(q.variance / NUM)


def test_log_dirichlet_is_right_at_small_shapes():
    a, x = np.array([0.5, 1.2, 3.0]), np.array([0.2, 0.3, 0.5])
    exact = stats.dirichlet(a).logpdf(x) + np.log(x[:2]).sum()
    q = LogDirichlet(jnp.array(a, jnp.float32))
    assert jnp.allclose(q.log_prob(jnp.log(jnp.array(x, jnp.float32))), exact, atol=1e-4)
    assert jnp.abs(q.sample(jax.random.key(0), (NUM,)).mean(0) - q.mean).max() < 0.05
