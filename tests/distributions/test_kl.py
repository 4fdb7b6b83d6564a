"""Closed-form divergences, every pair by reflection, against sums, quadrature or Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate

from reparax.distributions import (
    ClassNormal,
    HypersphericalUniform,
    LogisticNormal,
    OneHotCategorical,
    PowerSpherical,
    VonMisesFisher,
    analytic_pairs,
    has_analytic_kl,
    kl_divergence,
    kl_per_dimension,
)
from reparax.errors import NoAnalyticKL

TRIL = [[[1.2, 0.0], [0.7, 0.5]], [[0.4, 0.0], [-1.1, 2.0]]]
EXAMPLES = {
    dist.Normal: lambda i: dist.Normal(jnp.array([0.3, -1.0])[i], jnp.array([0.7, 2.0])[i]),
    dist.MultivariateNormal: lambda i: dist.MultivariateNormal(
        jnp.array([[0.3, -1.0], [1.5, 0.2]])[i], scale_tril=jnp.array(TRIL)[i]
    ),
    dist.Beta: lambda i: dist.Beta(jnp.array([2.5, 0.8])[i], jnp.array([1.5, 3.0])[i]),
    dist.Dirichlet: lambda i: dist.Dirichlet(jnp.array([[2.5, 0.8, 1.1], [1.0, 4.0, 0.6]])[i]),
    dist.Gamma: lambda i: dist.Gamma(jnp.array([2.5, 0.8])[i], jnp.array([1.5, 3.0])[i]),
    dist.Weibull: lambda i: dist.Weibull(jnp.array([1.5, 0.8])[i], jnp.array([2.5, 1.3])[i]),
    dist.LowRankMultivariateNormal: lambda i: dist.LowRankMultivariateNormal(
        jnp.array([0.3, -1.0, 0.2]), jnp.array([[0.7, 0.1], [-0.4, 0.9], [0.2, 0.3]]), jnp.array([0.5, 0.2, 1.1])
    ),
    dist.BernoulliLogits: lambda i: dist.Bernoulli(logits=jnp.array([1.7, -2.0])[i]),
    dist.BernoulliProbs: lambda i: dist.Bernoulli(probs=jnp.array([0.15, 0.6])[i]),
    dist.Uniform: lambda i: dist.Uniform(0.0, 1.0),
    dist.Kumaraswamy: lambda i: dist.Kumaraswamy(jnp.array([2.5, 0.8])[i], jnp.array([1.5, 3.0])[i]),
    LogisticNormal: lambda i: LogisticNormal(
        jnp.array([[0.3, -1.0], [1.0, 0.2]])[i], jnp.array([[0.7, 1.2], [1.0, 0.5]])[i]
    ),
    PowerSpherical: lambda i: PowerSpherical(jnp.array([0.3, -1.0, 0.2]), jnp.array([2.5, 9.0])[i]),
    VonMisesFisher: lambda i: VonMisesFisher(jnp.array([0.3, -1.0, 0.2]), jnp.array([2.5, 9.0])[i]),
    HypersphericalUniform: lambda i: HypersphericalUniform(3),
    ClassNormal: lambda i: ClassNormal(
        jnp.array([[0.0, 1.0], [1.0, -0.5]])[i],
        jnp.array([[[0.3, -1.0], [1.5, 0.2]], [[0.1, 0.4], [-0.6, 0.9]]])[i],
        jnp.array([[[0.7, 0.5], [1.2, 0.9]], [[1.0, 0.8], [0.6, 1.4]]])[i],
    ),
    OneHotCategorical: lambda i: OneHotCategorical(jnp.array([[0.0, 1.0, -2.0], [1.0, 1.5, 0.0]])[i]),
    dist.CategoricalLogits: lambda i: dist.Categorical(logits=jnp.array([[0.0, 1.0, -2.0], [1.0, 1.5, 0.0]])[i]),
    dist.CategoricalProbs: lambda i: dist.Categorical(probs=jnp.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])[i]),
    dist.Laplace: lambda i: dist.Laplace(jnp.array([0.3, -1.0])[i], jnp.array([0.7, 2.0])[i]),
    dist.Poisson: lambda i: dist.Poisson(jnp.array([3.5, 1.2])[i]),
    dist.LogNormal: lambda i: dist.LogNormal(jnp.array([0.3, -1.0])[i], jnp.array([0.7, 1.2])[i]),
}
PAIRS = list(analytic_pairs())


def example(family: type, which: int) -> dist.Distribution:
    if family not in EXAMPLES:
        pytest.fail(f"a divergence of {family.__name__} is registered: add an example of it to this test")
    return EXAMPLES[family](which)


def numerically(q: dist.Distribution, p: dist.Distribution) -> tuple[float, float]:
    """E_q[log q - log p] and the error allowed: a sum, an adaptive quadrature, or 5 standard errors of draws."""
    compiled = jax.jit(jax.vmap(lambda x: (q.log_prob(x), q.log_prob(x) - p.log_prob(x))))

    def difference(x: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        with jax.numpy_dtype_promotion("standard"):  # numpyro's Bernoulli mixes booleans and numbers
            log_q, gap = compiled(x)
        return np.asarray(log_q, np.float64), np.asarray(gap, np.float64)

    if q.has_enumerate_support or isinstance(q, dist.Poisson):
        values = jnp.arange(80) if isinstance(q, dist.Poisson) else q.enumerate_support()
        log_q, gap = difference(values)
        return float(np.exp(log_q) @ gap), 2e-5
    if q.event_shape:
        draws = jax.vmap(q.sample)(jax.random.split(jax.random.key(5), 50_000))
        _, gap = difference(draws)
        return float(gap.mean()), 5 * float(gap.std() / np.sqrt(len(gap)))
    draws = np.asarray(q.sample(jax.random.key(6), (10_000,)), np.float64)
    if draws.min() >= 0:
        # Substitute x = exp(u), or x = 1 / (1 + exp(-u)) on the unit interval: what is left decays at both ends.
        unit = draws.max() < 1
        u = np.linspace(-18.0, 16.0 if unit else 6.0, 4001)
        x = 1 / (1 + np.exp(-u)) if unit else np.exp(u)
        jacobian = x * (1 - x) if unit else x
        kept = (x < 1 - 1e-7) if unit else np.full(x.shape, True)
        u, x, jacobian = u[kept], x[kept], jacobian[kept]
    else:
        u = np.linspace(-12.0, 12.0, 4001)
        x, jacobian = 0.3 + np.sinh(u) * 0.1, np.cosh(u) * 0.1
        kept = np.abs(x - draws.mean()) < 25 * draws.std()
        u, x, jacobian = u[kept], x[kept], jacobian[kept]
    log_q, gap = difference(jnp.asarray(x, jnp.float32))
    return float(integrate.trapezoid(np.exp(log_q) * gap * jacobian, u)), 2e-4


@pytest.mark.parametrize(("q", "p"), PAIRS, ids=[f"{q.__name__}-{p.__name__}" for q, p in PAIRS])
def test_closed_form_is_the_expectation(q, p):
    q, p = example(q, 0), example(p, 1)
    if q.event_shape and not p.event_shape:
        p = type(p)(jnp.full(q.event_shape, p.loc), jnp.full(q.event_shape, p.scale)).to_event(1)
    expected, allowed = numerically(q, p)
    assert abs(float(jnp.sum(kl_divergence(q, p))) - expected) <= allowed * max(1.0, abs(expected))
    assert expected > 0.004  # the examples differ enough for the comparison to mean something


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("family", sorted({q for q, p in PAIRS if q is p}, key=lambda family: family.__name__))
def test_divergence_from_itself_is_zero(family, which):
    q = example(family, which)
    assert abs(float(jnp.sum(kl_divergence(q, q)))) < 2e-6


def test_terms_of_independent_dimensions_are_kept_apart_and_summed():
    loc, scale = jnp.array([[0.3, -1.0, 2.0], [0.0, 0.0, 1.0]]), jnp.array([[0.7, 2.0, 1.0], [1.0, 1.0, 1.0]])
    q, p = dist.Normal(loc, scale).to_event(1), dist.Normal(jnp.zeros_like(loc), jnp.ones_like(loc)).to_event(1)
    by_hand = 0.5 * (np.square(loc) + np.square(scale) - 1) - np.log(scale)
    np.testing.assert_allclose(kl_per_dimension(q, p), by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kl_divergence(q, p), by_hand.sum(axis=1), rtol=1e-5, atol=1e-6)


def test_full_covariance_against_a_diagonal_is_the_same_as_against_its_matrix():
    q = example(dist.MultivariateNormal, 0)
    loc, scale = jnp.array([0.4, 0.1]), jnp.array([1.3, 0.6])
    diagonal, matrix = dist.Normal(loc, scale).to_event(1), dist.MultivariateNormal(loc, jnp.diag(scale**2))
    np.testing.assert_allclose(kl_divergence(q, diagonal), kl_divergence(q, matrix), rtol=1e-5)


def test_an_expanded_distribution_is_that_of_its_repetitions():
    loc, scale = jnp.array([0.3, -1.0, 2.0]), jnp.array([0.7, 2.0, 1.0])
    q, repeated = dist.Normal(loc, scale).to_event(1), dist.Normal(jnp.full(3, 0.2), jnp.full(3, 1.5)).to_event(1)
    with jax.numpy_rank_promotion("allow"):
        one_of_many = kl_per_dimension(q, dist.Normal(0.2, 1.5).expand((3,)).to_event(1))
        np.testing.assert_allclose(one_of_many, kl_per_dimension(q, repeated), rtol=1e-6)
        coins = dist.Bernoulli(logits=0.4).expand((2, 3)).to_event(1)
        found = kl_divergence(coins, dist.Bernoulli(logits=-1.0).expand((2, 3)).to_event(1))
    one = float(kl_divergence(dist.Bernoulli(logits=0.4), dist.Bernoulli(logits=-1.0)))
    np.testing.assert_allclose(found, [3 * one, 3 * one], rtol=1e-6)


def test_pairs_without_a_closed_form_are_refused_and_not_estimated():
    q = dist.Normal(0.0, 1.0)
    mixture = dist.MixtureSameFamily(dist.Categorical(probs=jnp.array([0.5, 0.5])), dist.Normal(jnp.zeros(2), 1.0))
    assert not has_analytic_kl(q, mixture)
    assert has_analytic_kl(q, q)
    with pytest.raises(NoAnalyticKL, match=r"Normal \|\| MixtureGeneral|Normal \|\| MixtureSameFamily") as caught:
        kl_divergence(q, mixture)
    assert "expectation" in caught.value.cure
