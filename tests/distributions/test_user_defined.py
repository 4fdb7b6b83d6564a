"""Distributions of one's own: a base noise, a quantile function, a CDF, a log-density; and log-space variables."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.special import digamma
from scipy import stats

from reparax.distributions import (
    FromCDF,
    FromLogDensity,
    FromQuantile,
    LocationScale,
    LogDirichlet,
    LogGamma,
    LogitBeta,
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


def check(make, f, exact, theta, num=NUM):
    """Values and derivatives against the exact expectation, in standard errors."""
    theta = jnp.array(theta)

    @jax.jit
    def per_sample(theta):
        def values(theta):
            return f(rsample(make(theta), jax.random.key(0), (num,)))

        return jnp.concatenate([values(theta)[:, None], jax.jacfwd(values)(theta)], -1)

    draws = per_sample(theta)
    truth = jnp.concatenate([exact(theta)[None], jax.jacfwd(exact)(theta)])
    scores = (draws.mean(0) - truth) / (draws.std(0) / jnp.sqrt(num) + 2e-5 * jnp.abs(truth) + 1e-6)
    assert jnp.all(jnp.isfinite(draws))
    assert jnp.max(jnp.abs(scores)) <= 5, scores


def test_own_base_noise():
    check(
        lambda t: LocationScale(Triangular(), t[0], t[1]), jnp.square, lambda t: t[0] ** 2 + t[1] ** 2 / 6, [0.3, 0.8]
    )
    q = LocationScale(Triangular(), 0.3, 0.8)
    assert jnp.allclose(q.log_prob(jnp.array(0.5)), stats.triang(0.5, -0.5, 1.6).logpdf(0.5), atol=1e-6)


def test_base_noise_with_parameters_is_differentiated_or_refused():
    check(
        lambda t: LocationScale(dist.Gamma(t[0], 1.0), t[1], t[2]),
        lambda x: x,
        lambda t: t[1] + t[2] * t[0],
        [1.3, 0.3, 0.8],
    )
    with pytest.raises(NotReparameterizable, match="rate"):
        rsample(LocationScale(dist.Poisson(2.0), 0.0, 1.0), jax.random.key(0))


def test_own_quantile_function():
    def make(t):
        return FromQuantile(lambda u, p: p[0] * (-jnp.log1p(-u)) ** (1 / p[1]), (t[0], t[1]))

    check(make, jnp.log, lambda t: jnp.log(t[0]) - 0.5772156649 / t[1], [0.7, 1.6])
    x = jnp.array([0.2, 0.9, 2.0])
    assert jnp.allclose(make(jnp.array([0.7, 1.6])).log_prob(x), stats.weibull_min(1.6, scale=0.7).logpdf(x), atol=1e-4)
    score = jax.jacfwd(lambda t: make(t).log_prob(x))(jnp.array([0.7, 1.6]))
    exact = jax.jacfwd(lambda t: dist.Weibull(t[0] * jnp.ones(3), t[1] * jnp.ones(3)).log_prob(x))(
        jnp.array([0.7, 1.6])
    )
    assert jnp.allclose(score, exact, atol=1e-2)


def test_own_distribution_function():
    def make(t):
        return FromCDF(lambda x, p: 1 / (1 + jnp.exp(-(x - p[0]) / p[1])), (t[0], t[1]), -30.0, 30.0)

    check(make, jnp.sin, lambda t: jnp.sin(t[0]) * jnp.pi * t[1] / jnp.sinh(jnp.pi * t[1]), [0.3, 0.8])
    x = jnp.array([-2.0, 0.9])
    assert jnp.allclose(make(jnp.array([0.3, 0.8])).log_prob(x), stats.logistic(0.3, 0.8).logpdf(x), atol=1e-5)


def test_own_log_density_with_a_batch():
    def make(t):
        # Two exponential families in sin x on one interval, not normalized.
        return FromLogDensity(lambda x, p: p * jnp.cos(x), t, -np.pi, np.pi, batch_shape=(2,))

    def mean_cosine(kappa):
        grid = jnp.linspace(-jnp.pi, jnp.pi, 2001)[:-1]
        mass = jnp.exp(kappa * jnp.cos(grid))
        return (mass * jnp.cos(grid)).sum() / mass.sum()

    check(lambda t: make(t), lambda x: jnp.cos(x).sum(-1), lambda t: mean_cosine(t[0]) + mean_cosine(t[1]), [0.4, 6.0])
    x = jnp.array([0.3, -0.7])
    assert jnp.allclose(
        make(jnp.array([0.4, 6.0])).log_prob(x), stats.vonmises(np.array([0.4, 6.0])).logpdf(x), atol=1e-4
    )


@pytest.mark.parametrize("a", [0.01, 2.0])
def test_log_gamma_is_right_at_small_shapes(a):
    check(lambda t: LogGamma(t[0], t[1]), lambda y: y, lambda t: digamma(t[0]) - jnp.log(t[1]), [a, 1.7])
    q = LogGamma(a, 1.7)
    y = jnp.array([-3.0, 0.5])
    assert jnp.allclose(q.log_prob(y), stats.gamma(a, scale=1 / 1.7).logpdf(jnp.exp(y)) + y, atol=1e-4)
    draws = q.sample(jax.random.key(1), (NUM,))
    assert jnp.abs(draws.var() / q.variance - 1) < 0.1
    assert jnp.abs(draws.mean() - q.mean) < 5 * jnp.sqrt(q.variance / NUM)


@pytest.mark.parametrize("a", [0.01, 2.0])
def test_logit_beta_is_right_at_small_shapes(a):
    check(
        lambda t: LogitBeta(t[0], t[1]),
        lambda y: -jax.nn.softplus(-y),
        lambda t: digamma(t[0]) - digamma(t[0] + t[1]),
        [a, 0.03],
    )
    q = LogitBeta(a, 0.03)
    y = jnp.array([-3.0, 0.5])
    x = np.asarray(jax.nn.sigmoid(y), np.float64)
    assert jnp.allclose(q.log_prob(y), stats.beta(a, 0.03).logpdf(x) + np.log(x * (1 - x)), atol=1e-4)
    draws = q.sample(jax.random.key(1), (NUM,))
    assert jnp.abs(draws.mean() - q.mean) < 5 * jnp.sqrt(q.variance / NUM)


def test_log_dirichlet_is_right_at_small_shapes():
    check(
        LogDirichlet,
        lambda y: y[..., 0],
        lambda t: digamma(t[0]) - digamma(t.sum()),
        [0.01, 0.02, 3.0],
    )
    a, x = np.array([0.5, 1.2, 3.0]), np.array([0.2, 0.3, 0.5])
    exact = stats.dirichlet(a).logpdf(x) + np.log(x[:2]).sum()
    q = LogDirichlet(jnp.array(a, jnp.float32))
    assert jnp.allclose(q.log_prob(jnp.log(jnp.array(x, jnp.float32))), exact, atol=1e-4)
    assert jnp.abs(q.sample(jax.random.key(0), (NUM,)).mean(0) - q.mean).max() < 0.05
