"""The derivative of a sample is right on average: against closed forms, for every family, parameter and several f."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.special import betaln, digamma, expi, gammaln, i0e, i1e

from reparax.reparameterization import is_reparameterizable, rsample

REDUCED, FULL = 100_000, 400_000
EULER = 0.5772156649015329


@dataclass
class Case:
    """A family at some parameters, functions of the sample, and their exact expectations as a function of them."""

    make: Any
    theta: list[float]
    functions: list[Any]
    exact: Any

    @cached_property
    def distribution(self) -> dist.Distribution:
        # numpyro's constructors promote ranks and dtypes on their own account.
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return self.make(*(jnp.asarray(t) for t in self.theta))

    @cached_property
    def name(self) -> str:
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # shapes alone: names are quick
            family = jax.eval_shape(lambda: self.make(*(jnp.asarray(t) for t in self.theta)))
        return f"{type(family).__name__}{tuple(round(t, 4) for t in self.theta)}"


def square(x):
    return x**2


def reciprocal_square(x):
    return 1 / (1 + x**2)


def sine_of_first(x):
    return jnp.sin(x @ jnp.array([1.0, -0.5, 0.3])[: x.shape[-1]])


def lower(a, b, c):
    return (
        jnp.array([[1.0, 0.0], [0.0, 0.0]]) * a
        + jnp.array([[0.0, 0.0], [1.0, 0.0]]) * b
        + jnp.diag(jnp.array([0.0, 1.0])) * c
    )


def mean_cosine(kappa):
    return i1e(kappa) / i0e(kappa)


def gaussian_sine(loc, covariance):
    w = jnp.array([1.0, -0.5])
    return [jnp.sin(w @ loc) * jnp.exp(-w @ covariance @ w / 2)]


def moments(q):
    """Of E sum x and E sum x^2, for families of which numpyro has the moments."""
    return [jnp.sum(q.mean), jnp.sum(q.variance + q.mean**2)]


def total(x):
    return x.reshape((x.shape[0], -1)).sum(-1)


def total_square(x):
    return (x**2).reshape((x.shape[0], -1)).sum(-1)


def beta_expectations(a, b):
    return [a * (a + 1) / ((a + b) * (a + b + 1)), digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)]


BETA_FUNCTIONS = [square, jnp.log, lambda x: jnp.log1p(-x)]
SHIFT = jnp.array([0.2, -0.4])

LOCATION_SCALE = [
    Case(dist.Normal, [0.5, 1.3], [square, jnp.sin], lambda m, s: [m**2 + s**2, jnp.sin(m) * jnp.exp(-(s**2) / 2)]),
    Case(dist.Laplace, [0.5, 1.3], [square, jnp.sin], lambda m, b: [m**2 + 2 * b**2, jnp.sin(m) / (1 + b**2)]),
    Case(dist.Logistic, [0.5, 0.7], [jnp.sin], lambda m, s: [jnp.sin(m) * jnp.pi * s / jnp.sinh(jnp.pi * s)]),
    Case(dist.Cauchy, [0.5, 0.7], [reciprocal_square], lambda m, g: [(1 + g) / (m**2 + (1 + g) ** 2)]),
    Case(dist.Gumbel, [0.5, 0.7], [lambda x: jnp.exp(-x)], lambda m, s: [jnp.exp(-m + gammaln(1 + s))]),
    Case(dist.SoftLaplace, [0.5, 0.7], [square], lambda m, s: [m**2 + (jnp.pi * s / 2) ** 2]),
    Case(
        dist.AsymmetricLaplace,
        [0.5, 0.7, 1.4],
        [lambda x: x, square],
        lambda m, s, k: [m + s * (1 / k - k), (m + s * (1 / k - k)) ** 2 + s**2 * (1 / k**2 + k**2)],
    ),
    Case(
        dist.AsymmetricLaplaceQuantile,
        [0.5, 0.7, 0.3],
        [square],
        lambda m, s, p: [moments(dist.AsymmetricLaplaceQuantile(m, s, p))[1]],
    ),
    Case(dist.HalfNormal, [0.7], [jnp.log, square], lambda s: [jnp.log(s) - (EULER + jnp.log(2.0)) / 2, s**2]),
    Case(dist.HalfCauchy, [0.7], [reciprocal_square], lambda s: [1 / (1 + s)]),
    Case(dist.Levy, [0.5, 0.7], [lambda x: jnp.exp(-x)], lambda m, c: [jnp.exp(-m - jnp.sqrt(2 * c))]),
    Case(
        lambda a, b, c, d, e: dist.MultivariateNormal(jnp.stack([a, b]), scale_tril=lower(c, d, e)),
        [0.3, -0.2, 0.8, 0.5, 1.2],
        [sine_of_first],
        lambda a, b, c, d, e: gaussian_sine(jnp.stack([a, b]), lower(c, d, e) @ lower(c, d, e).T),
    ),
    Case(
        lambda a, c, d: dist.MultivariateNormal(a + SHIFT, covariance_matrix=jnp.eye(2) * c + d),
        [0.3, 0.8, 0.5],
        [sine_of_first],
        lambda a, c, d: gaussian_sine(a + SHIFT, jnp.eye(2) * c + d),
    ),
    Case(
        lambda a, c, d: dist.MultivariateNormal(a + SHIFT, precision_matrix=jnp.eye(2) * c + d),
        [0.3, 0.8, 0.5],
        [sine_of_first],
        lambda a, c, d: gaussian_sine(a + SHIFT, jnp.linalg.inv(jnp.eye(2) * c + d)),
    ),
    Case(
        lambda a, c, d: dist.LowRankMultivariateNormal(
            a + SHIFT, c * jnp.array([[1.0], [0.5]]), d * jnp.array([1.0, 2.0])
        ),
        [0.3, 0.8, 0.5],
        [sine_of_first],
        lambda a, c, d: gaussian_sine(
            a + SHIFT, c**2 * jnp.array([[1.0, 0.5], [0.5, 0.25]]) + d * jnp.diag(jnp.array([1.0, 2.0]))
        ),
    ),
    Case(
        lambda a, c, d: dist.MatrixNormal(
            a * jnp.ones((2, 3)), c * jnp.eye(2) + 0.3 * jnp.eye(2, k=-1), d * jnp.eye(3)
        ),
        [0.3, 0.8, 0.5],
        [total_square],
        lambda a, c, d: [6 * a**2 + (2 * c**2 + 0.09) * 3 * d**2],
    ),
    Case(
        lambda a, c, d: dist.CAR(a, c, d, jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])),
        [0.3, 0.6, 1.5],
        [total_square],
        lambda a, c, d: [
            3 * a**2
            + jnp.trace(
                jnp.linalg.inv(
                    d
                    * (
                        jnp.diag(jnp.array([1.0, 2.0, 1.0]))
                        - c * jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
                    )
                )
            )
        ],
    ),
    Case(lambda s: dist.GaussianRandomWalk(s, 4), [0.7], [total_square], lambda s: [10 * s**2]),
    Case(lambda s: dist.ZeroSumNormal(s, (4,)), [0.7], [total_square], lambda s: [3 * s**2]),
    Case(
        lambda s, r: dist.GaussianStateSpace(3, jnp.eye(2) * r, scale_tril=jnp.eye(2) * s),
        [0.7, 0.5],
        [total_square],
        lambda s, r: [2 * s**2 * (1 + (1 + r**2) + (1 + r**2 + r**4))],
    ),
    Case(
        lambda m, s, r: dist.CirculantNormal(
            m * jnp.ones(4), s * jnp.array([1.0, 0.4, 0.1, 0.4]) + r * jnp.array([1.0, 0, 0, 0])
        ),
        [0.3, 0.7, 0.2],
        [total_square],
        lambda m, s, r: [4 * (m**2 + s + r)],
    ),
    Case(
        lambda a, b: dist.EulerMaruyama(
            jnp.arange(3.0) * 0.5, lambda x, t: (-a * x, b * jnp.ones_like(x)), dist.Normal(1.0, 0.5)
        ),
        [0.6, 0.8],
        [lambda x: x[..., -1] ** 2],
        lambda a, b: [(1.25 * (1 - a / 2) ** 2 + b**2 / 2) * (1 - a / 2) ** 2 + b**2 / 2],
    ),
    Case(
        lambda a, b: dist.ProjectedNormal(jnp.stack([a, b])),
        [0.8, -0.6],
        [lambda x: x[..., 0]],
        lambda a, b: [jnp.sqrt(jnp.pi / 8) * a * (i0e((a**2 + b**2) / 4) + i1e((a**2 + b**2) / 4))],
    ),
]

QUANTILE = [
    Case(dist.Uniform, [0.5, 1.3], [square], lambda a, b: [(a**2 + a * b + b**2) / 3]),
    Case(
        dist.LogUniform, [0.5, 1.3], [lambda x: x, jnp.log], lambda a, b: [(b - a) / jnp.log(b / a), jnp.log(a * b) / 2]
    ),
    Case(dist.Exponential, [0.7], [jnp.log, lambda x: jnp.exp(-x)], lambda r: [-EULER - jnp.log(r), r / (r + 1)]),
    Case(
        dist.Weibull,
        [0.7, 1.6],
        [square, jnp.log],
        lambda s, k: [s**2 * jnp.exp(gammaln(1 + 2 / k)), jnp.log(s) - EULER / k],
    ),
    Case(dist.Weibull, [0.7, 0.2], [jnp.log], lambda s, k: [jnp.log(s) - EULER / k]),
    Case(
        dist.Kumaraswamy,
        [0.7, 1.6],
        [lambda x: x, jnp.log],
        lambda a, b: [b * jnp.exp(betaln(1 + 1 / a, b)), -(digamma(b + 1) + EULER) / a],
    ),
    Case(dist.Kumaraswamy, [0.1, 20.0], [jnp.log], lambda a, b: [-(digamma(b + 1) + EULER) / a]),
    Case(dist.Pareto, [0.7, 1.6], [jnp.log, lambda x: 1 / x], lambda s, a: [jnp.log(s) + 1 / a, a / ((a + 1) * s)]),
    Case(dist.Gompertz, [0.7, 1.6], [lambda x: x], lambda c, r: [-jnp.exp(c) * expi(-c) / r]),
    Case(dist.Dagum, [0.7, 2.6, 1.5], [jnp.log], lambda c, p, s: [jnp.log(s) + (digamma(c) + EULER) / p]),
    Case(dist.LowerTruncatedPowerLaw, [-2.6, 0.7], [jnp.log], lambda a, s: [jnp.log(s) - 1 / (1 + a)]),
    Case(
        dist.DoublyTruncatedPowerLaw,
        [-1.7, 0.5, 2.0],
        [lambda x: x],
        lambda a, s, h: [(a + 1) / (a + 2) * (h ** (a + 2) - s ** (a + 2)) / (h ** (a + 1) - s ** (a + 1))],
    ),
]

IMPLICIT = [
    Case(
        dist.Gamma,
        [0.7, 1.6],
        [jnp.log, lambda x: jnp.exp(-x), square],
        lambda a, r: [digamma(a) - jnp.log(r), (r / (r + 1)) ** a, a * (a + 1) / r**2],
    ),
    Case(
        dist.Gamma,
        [0.1, 1.6],
        [jnp.log, lambda x: jnp.exp(-x)],
        lambda a, r: [digamma(a) - jnp.log(r), (r / (r + 1)) ** a],
    ),
    Case(
        dist.Gamma,
        [200.0, 50.0],
        [jnp.log, lambda x: jnp.exp(-x)],
        lambda a, r: [digamma(a) - jnp.log(r), (r / (r + 1)) ** a],
    ),
    Case(
        dist.InverseGamma,
        [0.7, 1.6],
        [jnp.log, lambda x: jnp.exp(-1 / x)],
        lambda a, r: [jnp.log(r) - digamma(a), (r / (r + 1)) ** a],
    ),
    Case(dist.Chi2, [1.4], [jnp.log, lambda x: jnp.exp(-x)], lambda d: [digamma(d / 2) + jnp.log(2.0), 3 ** (-d / 2)]),
    Case(dist.Beta, [0.7, 1.6], BETA_FUNCTIONS, beta_expectations),
    Case(dist.Beta, [30.0, 4.0], BETA_FUNCTIONS, beta_expectations),
    Case(dist.Beta, [0.05, 0.05], [square], lambda a, b: beta_expectations(a, b)[:1]),
    Case(dist.BetaProportion, [0.3, 2.6], BETA_FUNCTIONS, lambda m, c: beta_expectations(m * c, (1 - m) * c)),
    Case(
        lambda a, b, c: dist.Dirichlet(jnp.stack([a, b, c])),
        [0.3, 1.2, 2.5],
        [lambda x: jnp.log(x[..., 0]), lambda x: x[..., 0] * x[..., 1]],
        lambda a, b, c: [digamma(a) - digamma(a + b + c), a * b / ((a + b + c) * (a + b + c + 1))],
    ),
    Case(dist.StudentT, [8.0, 0.5, 0.7], [square], lambda d, m, s: [m**2 + s**2 * d / (d - 2)]),
    Case(
        lambda d, m, s: dist.MultivariateStudentT(d, m * jnp.ones(2), s * jnp.array([[1.0, 0.0], [0.5, 1.0]])),
        [8.0, 0.5, 0.7],
        [total_square],
        lambda d, m, s: [2 * m**2 + 2.25 * s**2 * d / (d - 2)],
    ),
    Case(
        dist.VonMises,
        [0.5, 1.7],
        [jnp.cos, lambda x: jnp.sin(2 * x)],
        lambda m, k: [jnp.cos(m) * mean_cosine(k), jnp.sin(2 * m) * (1 - 2 * mean_cosine(k) / k)],
    ),
]

COMPOSED = [
    Case(
        dist.LogNormal,
        [0.5, 0.7],
        [lambda x: x, lambda x: jnp.log(x) ** 2],
        lambda m, s: [jnp.exp(m + s**2 / 2), m**2 + s**2],
    ),
    Case(
        lambda m, s, a, r: dist.TransformedDistribution(dist.Gamma(a, r), dist.transforms.AffineTransform(m, s)),
        [0.5, 0.7, 1.3, 0.8],
        [square],
        lambda m, s, a, r: [m**2 + 2 * m * s * a / r + s**2 * a * (a + 1) / r**2],
    ),
    Case(
        lambda s: dist.FoldedDistribution(dist.Normal(0.0, s)),
        [0.7],
        [lambda x: x],
        lambda s: [s * jnp.sqrt(2 / jnp.pi)],
    ),
    Case(
        dist.RelaxedBernoulliLogits,
        [0.8, 0.5],
        [lambda x: (jnp.log(x) - jnp.log1p(-x)) ** 2],
        lambda t, v: [(v / t) ** 2 + jnp.pi**2 / (3 * t**2)],
    ),
    Case(
        lambda n, a, b: dist.Wishart(n, scale_matrix=jnp.eye(2) * a + b),
        [3.5, 0.7, 0.3],
        [lambda x: jnp.exp(-x[..., 0, 0] - x[..., 0, 1])],
        lambda n, a, b: [
            jnp.linalg.det(jnp.eye(2) + 2 * (jnp.eye(2) * a + b) @ jnp.array([[1.0, 0.5], [0.5, 0.0]])) ** (-n / 2)
        ],
    ),
    Case(
        lambda n, a: dist.WishartCholesky(n, rate_matrix=jnp.eye(2) * a + 0.2),
        [3.5, 0.7],
        [total_square],
        lambda n, a: [n * jnp.trace(jnp.linalg.inv(jnp.eye(2) * a + 0.2))],
    ),
    Case(
        lambda n, a, b: dist.InverseWishart(n, scale_matrix=jnp.eye(2) * a + b),
        [6.5, 0.7, 0.3],
        # The inverse by cofactors: several batched LAPACK solves at once never end on two cores (jaxlib 0.10.2).
        [lambda x: x[..., 1, 1] / (x[..., 0, 0] * x[..., 1, 1] - x[..., 0, 1] * x[..., 1, 0])],
        lambda n, a, b: [n * jnp.linalg.inv(jnp.eye(2) * a + b)[0, 0]],
    ),
    Case(
        lambda n, a: dist.InverseWishartCholesky(n, scale_tril=jnp.eye(2) * a + 0.3 * jnp.eye(2, k=-1)),
        [9.5, 0.7],
        [total_square],
        lambda n, a: [(2 * a**2 + 0.09) / (n - 3)],
    ),
    Case(
        lambda e: dist.LKJ(3, e),
        [1.4],
        [lambda x: x[..., 0, 2] ** 2, lambda x: x[..., 2, 1] ** 2],
        lambda e: [1 / (2 * e + 2)] * 2,
    ),
    Case(
        lambda e: dist.LKJCholesky(4, e, sample_method="cvine"),
        [0.6],
        [lambda x: (x @ jnp.swapaxes(x, -1, -2))[..., 3, 1] ** 2],
        lambda e: [1 / (2 * e + 3)],
    ),
    Case(
        lambda m, s: dist.Normal(m, s).expand((3,)).to_event(1).mask(True),
        [0.5, 0.7],
        [total_square],
        lambda m, s: [3 * (m**2 + s**2)],
    ),
    Case(lambda v: dist.Delta(v), [0.7], [square], lambda v: [v**2]),
]

CASES = LOCATION_SCALE + QUANTILE + IMPLICIT + COMPOSED


def z_scores(case: Case, num_samples: int, seed: int):
    theta = jnp.array(case.theta)

    @jax.jit
    def per_sample(key):
        def values(theta):
            z = rsample(case.make(*theta), key, (num_samples,))
            return jnp.stack([f(z) for f in case.functions])

        value, slope = values(theta), jax.jacfwd(values)(theta)
        together = jnp.concatenate([value[..., None], slope], -1)
        return together.mean(1), together.std(1) / jnp.sqrt(num_samples)

    # The constructors of numpyro promote ranks and dtypes on their own account; that is not what is tested here.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        mean, error = per_sample(jax.random.key(seed))
        exact = jax.jit(lambda t: jnp.stack([jnp.asarray(e) for e in case.exact(*t)]))
        truth = jnp.concatenate([exact(theta)[:, None], jax.jit(jax.jacfwd(exact))(theta)], -1)
    assert bool(jnp.all(jnp.isfinite(mean)))
    rounding = 2e-5 * jnp.abs(truth) + 2e-6
    return np.asarray((mean - truth) / (error + rounding))


# Left to the full run, because a sibling in the table compiles the same kernels.
ONLY_FULL = {
    "AsymmetricLaplaceQuantile",
    "Beta(30.0, 4.0)",
    "Beta(0.05, 0.05)",
    "BetaProportion",
    "Chi2",
    "Gamma(200.0, 50.0)",
    "InverseGamma",
    "InverseWishartCholesky",
    "LKJCholesky",
    "WishartCholesky",
}


def in_reduced_run(case: Case) -> bool:
    return not {case.name, case.name.partition("(")[0]} & ONLY_FULL


REDUCED_CASES = [pytest.param(case, REDUCED, id=case.name) for case in CASES if in_reduced_run(case)]
FULL_CASES = [pytest.param(case, FULL, id=f"{case.name}-full", marks=pytest.mark.full) for case in CASES]


@pytest.mark.parametrize(("case", "num_samples"), REDUCED_CASES + FULL_CASES)
def test_value_and_derivative_are_unbiased(case, num_samples):
    scores = z_scores(case, num_samples, seed=0)
    assert np.max(np.abs(scores)) <= 5, scores


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_declared_reparameterizable(case):
    assert is_reparameterizable(case.distribution)
