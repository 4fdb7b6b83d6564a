"""Truncated distributions, mixtures and Student's t against quadrature of scipy's densities in double precision."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from reparax.distributions import ContinuousBernoulli
from reparax.errors import NotReparameterizable
from reparax.reparameterization import is_reparameterizable, parameter_rules, rsample

REDUCED, FULL = 60_000, 400_000


@dataclass
class Case:
    """A family, its parameters, its density in scipy's terms, and the interval that holds its mass, for quadrature."""

    name: str
    make: Any
    theta: list[float]
    density: Any
    ends: Any


def truncated(base, scipy_base, low, high, shape=()):
    """A truncated location-scale family; the parameters are (shape..., loc, scale, ends...)."""
    finite = [end for end in (low, high) if end is not None]

    def split(theta):
        ends = list(theta[-len(finite) :])
        at = {name: ends.pop(0) for name, end in (("low", low), ("high", high)) if end is not None}
        return theta[: len(shape)], theta[len(shape)], theta[len(shape) + 1], at

    def make(*theta):
        shapes, loc, scale, at = split(theta)
        return dist.TruncatedDistribution(base(*shapes, loc, scale), **at)

    def density(x, theta):
        shapes, loc, scale, at = split(theta)
        frozen = scipy_base(*shapes, loc, scale)
        a, b = at.get("low", -np.inf), at.get("high", np.inf)
        # From the lighter side, so that the mass does not round to zero.
        mass = frozen.sf(a) - frozen.sf(b) if a > loc else frozen.cdf(b) - frozen.cdf(a)
        return np.where((x >= a) & (x <= b), np.exp(frozen.logpdf(x) - np.log(mass)), 0.0)

    def ends(theta):
        _, loc, scale, at = split(theta)
        a, b = at.get("low"), at.get("high")
        width = WIDTHS[base] * scale
        low_end = a if a is not None else min(loc, b) - width
        high_end = b if b is not None else max(loc, a) + width
        return low_end, high_end

    name = f"truncated {base.__name__}{shape} to ({low}, {high})"
    return Case(name, make, [*shape, 0.3, 0.8, *finite], density, ends)


WIDTHS = {
    dist.Normal: 12.0,
    dist.Laplace: 40.0,
    dist.Logistic: 45.0,
    dist.SoftLaplace: 45.0,
    dist.StudentT: 4e3,
    dist.Cauchy: 1e5,
}


def mixture_density(kind, weights_of, parts_of):
    def density(x, theta):
        weights, parts = weights_of(theta), parts_of(theta)
        weights = np.exp(weights) / np.exp(weights).sum()
        return sum(w * kind(*part).pdf(x) for w, part in zip(weights, parts, strict=True))

    return density


def gamma_of(a, rate):
    return stats.gamma(a, scale=1 / rate)


CASES = [
    truncated(dist.Normal, stats.norm, -0.4, 1.9),
    truncated(dist.Normal, stats.norm, 2.8, None),
    truncated(dist.Normal, stats.norm, 9.9, None),
    truncated(dist.Normal, stats.norm, None, -9.9),
    truncated(dist.Normal, stats.norm, 9.9, 10.0),
    truncated(dist.Normal, stats.norm, -30.0, 0.0),
    truncated(dist.Laplace, stats.laplace, -0.4, 1.9),
    truncated(dist.Laplace, stats.laplace, 9.9, None),
    truncated(dist.Logistic, stats.logistic, -0.4, 1.9),
    truncated(dist.Logistic, stats.logistic, None, -5.0),
    truncated(dist.Cauchy, stats.cauchy, -0.4, 1.9),
    truncated(dist.Cauchy, stats.cauchy, 3.0, 20.0),
    truncated(dist.SoftLaplace, stats.hypsecant, 1.0, 2.9),
    truncated(dist.StudentT, stats.t, -0.4, 1.9, (3.5,)),
    truncated(dist.StudentT, stats.t, None, -2.0, (5.0,)),
    Case(
        "ContinuousBernoulli",
        lambda v, a, b: ContinuousBernoulli(v, a, b),
        [2.3, -0.4, 1.9],
        lambda x, t: np.where(
            (x >= t[1]) & (x <= t[2]),
            t[0] * np.exp(t[0] * (x - t[1]) / (t[2] - t[1])) / np.expm1(t[0]) / (t[2] - t[1]),
            0.0,
        ),
        lambda t: (t[1], t[2]),
    ),
    Case("StudentT", dist.StudentT, [2.5, 0.3, 0.8], lambda x, t: stats.t(*t).pdf(x), lambda t: (-4e3, 4e3)),
    Case("StudentT heavy", dist.StudentT, [0.8, 0.3, 0.8], lambda x, t: stats.t(*t).pdf(x), lambda t: (-1e7, 1e7)),
    Case(
        "mixture of Normals",
        lambda v, w, a, b, s, r: dist.MixtureSameFamily(
            dist.Categorical(logits=jnp.stack([v, w])), dist.Normal(jnp.stack([a, b]), jnp.stack([s, r]))
        ),
        [0.2, -0.7, -1.0, 1.5, 0.5, 0.8],
        mixture_density(stats.norm, lambda t: np.array(t[:2]), lambda t: [(t[2], t[4]), (t[3], t[5])]),
        lambda t: (-12.0, 12.0),
    ),
    Case(
        "mixture of Gammas",
        lambda v, w, a, b, s, r: dist.MixtureSameFamily(
            dist.Categorical(logits=jnp.stack([v, w])), dist.Gamma(jnp.stack([a, b]), jnp.stack([s, r]))
        ),
        [0.2, -0.7, 1.2, 6.5, 0.5, 2.8],
        mixture_density(gamma_of, lambda t: np.array(t[:2]), lambda t: [(t[2], t[4]), (t[3], t[5])]),
        lambda t: (1e-9, 120.0),
    ),
    Case(
        "mixture of Betas",
        lambda v, w, a, b, s, r: dist.MixtureSameFamily(
            dist.Categorical(logits=jnp.stack([v, w])), dist.Beta(jnp.stack([a, b]), jnp.stack([s, r]))
        ),
        [0.2, -0.7, 1.2, 6.5, 1.5, 2.8],
        mixture_density(stats.beta, lambda t: np.array(t[:2]), lambda t: [(t[2], t[4]), (t[3], t[5])]),
        lambda t: (0.0, 1.0),
    ),
    Case(
        "mixture of Student's t",
        lambda v, w, a, b, s, r: dist.MixtureSameFamily(
            dist.Categorical(logits=jnp.stack([v, w])), dist.StudentT(jnp.stack([a, b]), jnp.stack([s, r]), 0.7)
        ),
        [0.2, -0.7, 3.2, 6.5, -1.5, 1.2],
        mixture_density(stats.t, lambda t: np.array(t[:2]), lambda t: [(t[2], t[4], 0.7), (t[3], t[5], 0.7)]),
        lambda t: (-4e3, 4e3),
    ),
]

FUNCTIONS = [(np.tanh, jnp.tanh), (lambda x: 1 / (1 + x * x), lambda x: 1 / (1 + x * x)), (np.sin, jnp.sin)]


def expectations(case: Case, theta, order=60, panels=80):
    """Composite Gauss-Legendre, after x = center + sinh, which serves narrow and heavy-tailed densities alike."""
    a, b = case.ends(theta)
    center = 0.5 * (max(a, -3.0) + min(b, 3.0)) if a < 3.0 and b > -3.0 else (a if a > 0 else b)
    start, stop = np.arcsinh((a - center) * 4), np.arcsinh((b - center) * 4)
    nodes, weights = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(start, stop, panels + 1)
    half = np.diff(edges)[:, None] / 2
    y = (edges[:-1, None] + half + half * nodes).ravel()
    x = center + np.sinh(y) / 4
    mass = (half * weights).ravel() * np.cosh(y) / 4 * case.density(x, theta)
    return np.array([(mass * f(x)).sum() for f, _ in FUNCTIONS] + [mass.sum()])


def truth(case: Case):
    theta = np.array(case.theta, np.float64)
    values = expectations(case, theta)
    assert abs(values[-1] - 1) < 1e-5, "the oracle itself does not integrate to one"
    columns = []
    for i in range(len(theta)):
        step = np.zeros_like(theta)
        step[i] = 1e-4 * max(abs(theta[i]), 0.1)
        columns.append((expectations(case, theta + step) - expectations(case, theta - step)) / (2 * step[i]))
    return np.stack([values, *columns], -1)[:-1]


# Left to the full run, because a sibling in the table takes the same route.
ONLY_FULL = {
    "StudentT heavy",
    "mixture of Betas",
    "mixture of Student's t",
    "truncated Cauchy() to (3.0, 20.0)",
    "truncated Laplace() to (9.9, None)",
    "truncated Logistic() to (None, -5.0)",
    "truncated Normal() to (-30.0, 0.0)",
    "truncated Normal() to (2.8, None)",
    "truncated StudentT(5.0,) to (None, -2.0)",
    "truncated StudentT(3.5,) to (-0.4, 1.9)",
}
REDUCED_CASES = [pytest.param(case, REDUCED, id=case.name) for case in CASES if case.name not in ONLY_FULL]
FULL_CASES = [pytest.param(case, FULL, id=f"{case.name}-full", marks=pytest.mark.full) for case in CASES]


@pytest.mark.parametrize(("case", "num_samples"), REDUCED_CASES + FULL_CASES)
def test_value_and_derivative_are_unbiased(case, num_samples):
    theta = jnp.array(case.theta)

    @jax.jit
    def per_sample(key):
        def values(theta):
            z = rsample(case.make(*theta), key, (num_samples,))
            return jnp.stack([f(z) for _, f in FUNCTIONS])

        together = jnp.concatenate([values(theta)[..., None], jax.jacfwd(values)(theta)], -1)
        return together.mean(1), together.std(1) / jnp.sqrt(num_samples)

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        mean, error = per_sample(jax.random.key(0))
    exact = truth(case)
    scores = np.asarray((mean - exact) / (error + 1e-5 * np.abs(exact) + 1e-6))
    assert np.max(np.abs(scores)) <= 5, scores


def density_mixture_2d(theta, x):
    weights = np.exp(theta[:2]) / np.exp(theta[:2]).sum()
    a = stats.norm(theta[2], 0.6).pdf(x[..., 0]) * stats.norm(theta[3], 0.7).pdf(x[..., 1])
    b = stats.norm(theta[4], theta[5]).pdf(x[..., 0]) * stats.norm(0.5, theta[6]).pdf(x[..., 1])
    return weights[0] * a + weights[1] * b


def mixture_2d(v, w, a, b, c, d, e):
    loc = jnp.stack([jnp.stack([a, b]), jnp.stack([c, 0.5 * jnp.ones_like(c)])])
    scale = jnp.stack([jnp.array([0.6, 0.7]), jnp.stack([d, e])])
    return dist.MixtureSameFamily(dist.Categorical(logits=jnp.stack([v, w])), dist.Normal(loc, scale).to_event(1))


def mixture_2d_general(v, w, a, b, c, d, e):
    first = dist.Normal(jnp.stack([a, b]), jnp.array([0.6, 0.7])).to_event(1)
    second = dist.Normal(jnp.stack([c, 0.5 * jnp.ones_like(c)]), jnp.stack([d, e])).to_event(1)
    return dist.MixtureGeneral(dist.Categorical(logits=jnp.stack([v, w])), [first, second])


@pytest.mark.parametrize("make", [mixture_2d, mixture_2d_general], ids=["same family", "general"])
def test_mixture_of_products_in_two_dimensions(make):
    theta = np.array([0.2, -0.7, -1.0, 0.8, 0.9, 0.5, 0.9])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    grid = np.stack(np.meshgrid(7 * nodes, 7 * nodes, indexing="ij"), -1)
    area = 49 * weights[:, None] * weights

    def exact(theta):
        mass = area * density_mixture_2d(theta, grid)
        return np.array([(mass * np.sin(grid[..., 0] * grid[..., 1])).sum(), (mass * np.tanh(grid[..., 1])).sum()])

    steps = 1e-4 * np.eye(len(theta))
    derivative = np.stack([(exact(theta + h) - exact(theta - h)) / 2e-4 for h in steps], -1)

    @jax.jit
    def per_sample(theta):
        def values(theta):
            z = rsample(make(*theta), jax.random.key(1), (REDUCED,))
            return jnp.stack([jnp.sin(z[..., 0] * z[..., 1]), jnp.tanh(z[..., 1])])

        slopes = jax.jacfwd(values)(theta)
        return slopes.mean(1), slopes.std(1) / jnp.sqrt(REDUCED)

    mean, error = per_sample(jnp.array(theta, jnp.float32))
    scores = (mean - derivative) / (error + 1e-6)
    assert np.max(np.abs(scores)) <= 5, scores


def test_mixtures_that_cannot_be_are_refused_with_the_reason():
    weights = dist.Categorical(probs=jnp.full(2, 0.5))
    discrete = dist.MixtureSameFamily(weights, dist.Poisson(jnp.array([1.0, 2.0])))
    correlated = dist.MixtureSameFamily(weights, dist.MultivariateNormal(jnp.zeros((2, 3)), jnp.eye(3)))
    for q, reason in ((discrete, "discrete"), (correlated, "do not factorize")):
        assert not is_reparameterizable(q)
        with pytest.raises(NotReparameterizable, match=reason):
            rsample(q, jax.random.key(0))


def test_mixture_declares_weights_and_components():
    q = dist.MixtureSameFamily(dist.Categorical(probs=jnp.full(2, 0.5)), dist.Normal(jnp.zeros(2), 1.0))
    assert [entry.parameter for entry in parameter_rules(q)] == ["mixing probs", "component loc", "component scale"]


def test_batched_mixture_keeps_its_shape_and_its_credit():
    def draw(loc):
        q = dist.MixtureSameFamily(dist.Categorical(logits=jnp.zeros((4, 2))), dist.Normal(loc, 1.0))
        return rsample(q, jax.random.key(0), (5,))

    loc = jnp.arange(8.0).reshape(4, 2)
    assert draw(loc).shape == (5, 4)
    slope = jax.jacfwd(draw)(loc)
    own = jnp.einsum("sbbk->sbk", slope)
    assert jnp.allclose(own.sum(-1), 1.0, atol=1e-4)
    assert jnp.allclose(slope.sum((-1, -2)), own.sum(-1), atol=1e-5)
