"""Draws: small shapes, moving supports, designed noise, parametrizations, edges of the simplex, mixtures."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st

import reparax as rx
from reparax import distributions as own
from reparax.errors import InvalidEstimator
from reparax.estimators._parameters import named_parameters
from reparax.estimators._plan import all_named
from reparax.estimators._positions import draw_positions, log_prob_at, values_at
from reparax.estimators.draws import check_num_samples, draw, log_prob
from reparax.reparameterization import rsample

from ..distributions.maps import Bent
from ..monte_carlo import many, z_score

Affine, Transformed = dist.transforms.AffineTransform, dist.TransformedDistribution
EXP, SIGMOID = dist.transforms.ExpTransform(), dist.transforms.SigmoidTransform()
UNBIASED = {name: part for name, part in all_named().items() if part.unbiased}


def some(names, quick):
    """All names as parameters; those that are not in the quick run are marked for the full one."""
    assert set(quick) <= set(names)
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.full) for name in names]


def gradients(make, f, t, estimator="leave-one-out", repeats=4000, num_samples=4):
    def loss(t, key):
        return rx.expectation(f, make(t), key=key, num_samples=num_samples, estimator=estimator)

    return many(lambda key: jax.grad(loss)(t, key), repeats)


def slope(function, at, width=1e-4):
    """A central difference of a function of scipy, in double precision."""
    return (function(at * (1 + width)) - function(at * (1 - width))) / (2 * at * width)


def above(threshold):
    return lambda z: jnp.where(z > threshold, 1.0, 0.0)


# (name, family, parameter, threshold, the probability of a draw above it by scipy or in closed form)
TAILS = [
    ("Gamma(0.02)", lambda t: dist.Gamma(t, 1.0), 0.02, 1e-3, lambda a: st.gamma.sf(1e-3, a)),
    ("Gamma(0.001)", lambda t: dist.Gamma(t, 1.0), 0.001, 1e-3, lambda a: st.gamma.sf(1e-3, a)),
    ("Gamma(0.02, rate)", lambda t: dist.Gamma(0.02, t), 1.5, 1e-3, lambda r: st.gamma.sf(1e-3 * r, 0.02)),
    ("Chi2(0.04)", dist.Chi2, 0.04, 1e-3, lambda df: st.chi2.sf(1e-3, df)),
    ("InverseGamma(0.02)", lambda t: dist.InverseGamma(t, 1.0), 0.02, 1e3, lambda a: st.gamma.cdf(1e-3, a)),
    ("Beta(0.01, 0.1), a", lambda t: dist.Beta(t, 0.1), 0.01, 0.5, lambda a: st.beta.sf(0.5, a, 0.1)),
    ("Beta(0.01, 0.1), b", lambda t: dist.Beta(0.01, t), 0.1, 0.5, lambda b: st.beta.sf(0.5, 0.01, b)),
    ("Weibull(0.02)", lambda t: dist.Weibull(1.0, t), 0.02, 1e-3, lambda c: np.exp(-(1e-3**c))),
    ("Pareto(0.02)", lambda t: dist.Pareto(1.0, t), 0.02, 10.0, lambda a: 10.0**-a),
    ("Kumaraswamy(0.5, 0.02)", lambda t: dist.Kumaraswamy(0.5, t), 0.02, 0.5, lambda b: (1 - 0.5**0.5) ** b),
    ("Kumaraswamy(a, 0.02)", lambda t: dist.Kumaraswamy(t, 0.02), 0.5, 0.5, lambda a: (1 - 0.5**a) ** 0.02),
    ("Dagum(0.3, 0.03)", lambda t: dist.Dagum(t, 0.03, 2.0), 0.3, 5.0, lambda b: 1 - (1 + 2.5**-0.03) ** -b),
    ("StudentT(0.02)", lambda t: dist.StudentT(t, 0.3, 2.0), 0.02, 5.0, lambda df: st.t.sf(2.35, df)),
    ("StudentT(0.1), scale", lambda t: dist.StudentT(0.1, 0.3, t), 2.0, 5.0, lambda s: st.t.sf(4.7 / s, 0.1)),
    ("LogNormal(0.3, 40)", lambda t: dist.LogNormal(0.3, t), 40.0, 1e-3, lambda s: st.norm.sf(-7.207755 / s)),
    (
        "scaled Gamma(0.02)", lambda t: Transformed(dist.Gamma(t, 1.0), Affine(0.0, 2.0)), 0.02, 1e-3,
        lambda a: st.gamma.sf(5e-4, a),
    ),
    (
        "Gamma(0.02) scaled", lambda t: Transformed(dist.Gamma(0.02, 1.0), Affine(0.0, t)), 2.0, 1e-3,
        lambda s: st.gamma.sf(1e-3 / s, 0.02),
    ),
    (
        "Dirichlet(0.01)", lambda t: dist.Dirichlet(jnp.stack([t, jnp.float32(0.02), jnp.float32(0.03)])), 0.01, 0.5,
        lambda a: st.beta.sf(0.5, a, 0.05),
    ),
]  # fmt: skip


QUICK_TAILS = ("Gamma(0.02)", "Beta(0.01, 0.1), a", "StudentT(0.02)", "Gamma(0.02) scaled", "Dirichlet(0.01)")


@pytest.mark.parametrize("name", some([case[0] for case in TAILS], QUICK_TAILS))
def test_score_of_small_shapes_on_a_step(name):
    make, t, threshold, tail = next(case[1:] for case in TAILS if case[0] == name)

    def f(z):
        return above(threshold)(z[0] if z.ndim else z)

    assert z_score(gradients(make, f, jnp.float32(t)), slope(tail, t)) < 5


def test_score_of_small_shapes_on_a_smooth_f():
    exact = slope(lambda a: 2.0**-a, 0.02)
    assert z_score(gradients(lambda t: dist.Gamma(t, 1.0), lambda z: jnp.exp(-z), jnp.float32(0.02)), exact) < 5


@pytest.mark.full
@pytest.mark.parametrize("estimator", ["optimal-baseline", "mean-baseline", "score-function"])
def test_every_score_estimator_uses_the_positions(estimator):
    exact = slope(lambda a: st.beta.sf(0.5, a, 0.1), 0.01)
    assert z_score(gradients(lambda t: dist.Beta(t, 0.1), above(0.5), jnp.float32(0.01), estimator), exact) < 5


POSITIONED = {
    "Gamma": lambda t: dist.Gamma(jnp.array([2.0, 3.0]) * t, 1.5 * t).expand([3, 2]).to_event(1),
    "InverseGamma": lambda t: dist.InverseGamma(4.0 * t, 1.5 * t),
    "Beta": lambda t: dist.Beta(2.0 * t, 3.0 * t**2),
    "Dirichlet": lambda t: dist.Dirichlet(jnp.array([1.0, 2.0, 0.5]) * t).expand([2]),
    "Weibull": lambda t: dist.Weibull(2.0 * t, 1.5 * t**2),
    "Pareto": lambda t: dist.Pareto(2.0 * t, 1.5 * t),
    "Kumaraswamy": lambda t: dist.Kumaraswamy(2.0 * t, 1.5 * t**2),
    "Dagum": lambda t: dist.Dagum(2.0 * t, 1.5 * t**2, 1.2 * t),
    "StudentT": lambda t: dist.StudentT(4.0 * t, 0.3 * t, 1.2 * t**2),
    "LogNormal": lambda t: dist.LogNormal(0.3 * t, 1.2 * t).expand([2]),
    "sigmoid": lambda t: Transformed(dist.Normal(0.3 * t, 1.2), [Affine(0.4 * t, 2.0 * t), SIGMOID]),
    "batch of transforms": lambda t: Transformed(
        dist.Gamma(2.0 * t, 1.0), Affine(jnp.zeros(3), jnp.arange(1.0, 4.0) * t)
    ).to_event(1),
    "Normal": lambda t: dist.Normal(0.3 * t, 1.2 * t),
    "Poisson": lambda t: dist.Poisson(2.0 * t),
}  # fmt: skip


@pytest.mark.parametrize("name", some(POSITIONED, ("StudentT", "sigmoid")))
def test_log_density_and_its_derivatives_at_a_position_are_numpyros(name):
    """Where floats lose nothing the two must agree: value, score, and its derivative."""
    make, one = POSITIONED[name], jnp.float32(1.0)
    positions = jax.tree.map(lambda y: y[0], draw_positions(make(one), jax.random.key(1), 1))
    z = values_at(make(one), positions)

    def ours(t):
        return log_prob_at(make(t), positions)

    def theirs(t):
        with jax.numpy_rank_promotion("allow"):
            return jnp.sum(make(t).log_prob(z))

    for derivative in (lambda g: g, jax.grad, lambda g: jax.grad(jax.grad(g))):
        np.testing.assert_allclose(
            jax.jit(derivative(ours))(one), jax.jit(derivative(theirs))(one), rtol=2e-4, atol=2e-4
        )


def test_draws_are_never_zero_and_log_prob_at_them_is_finite():
    for q in (
        dist.Gamma(0.02, 1.0),
        dist.Beta(0.01, 0.1),
        dist.Dirichlet(jnp.full(3, 0.01)),
    ):
        z = draw(q, jax.random.key(0), 2000)
        assert np.all(np.asarray(z) > 0)
        assert np.all(np.isfinite(jax.jit(jax.vmap(lambda value, q=q: log_prob(q, value)))(z)))


def test_a_mixture_whose_draws_leave_the_floats_gives_no_silent_bias():
    def make(t):
        parts = dist.Gamma(jnp.stack([t, jnp.float32(2.0)]), 1.0)
        return dist.MixtureSameFamily(dist.Categorical(probs=jnp.array([0.5, 0.5])), parts)

    found = gradients(make, above(1e-3), jnp.float32(0.02), repeats=200)
    assert np.isnan(np.asarray(found)).mean() > 0.1


MOVING = {
    "shifted Exponential": lambda t: Transformed(dist.Exponential(1.0), Affine(t, 1.0)),
    "shifted Uniform": lambda t: Transformed(dist.Uniform(0.0, 1.0), Affine(t, 1.0)),
    "scaled Uniform": lambda t: Transformed(dist.Uniform(0.0, 1.0), Affine(0.0, t)),
    "Gamma scaled, then shifted": lambda t: Transformed(dist.Gamma(2.0, 1.0), [Affine(0.0, 2.0), Affine(t, 1.0)]),
    "Gamma shifted, then scaled": lambda t: Transformed(dist.Gamma(2.0, 1.0), [Affine(1.0, 2.0), Affine(0.0, t)]),
    "shifted log-normal": lambda t: Transformed(dist.Normal(0.0, 1.0), [EXP, Affine(t, 1.0)]),
    "scaled sigmoid": lambda t: Transformed(dist.Normal(0.0, 1.0), [SIGMOID, Affine(0.0, t)]),
    "in a wrapper": lambda t: Transformed(dist.Exponential(1.0), Affine(t, 1.0)).expand([3]).to_event(1),
    "in a mixture": lambda t: dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.array([0.5, 0.5])), Transformed(dist.Exponential(jnp.ones(2)), Affine(t, 1.0))
    ),
    "folded": lambda t: dist.FoldedDistribution(Transformed(dist.Exponential(1.0), Affine(t, 1.0))),
    "a linear map": lambda t: Transformed(
        dist.Exponential(jnp.ones(2)).to_event(1),
        dist.transforms.LowerCholeskyAffine(jnp.zeros(2), jnp.eye(2) * t),
    ),
    "location-scale": lambda t: own.LocationScale(dist.Exponential(1.0), t, 1.0),
    "a quantile function": lambda t: own.FromQuantile(lambda u, p: u * p, t),
    "a distribution function": lambda t: own.FromCDF(lambda x, p: jnp.clip(x / p, 0, 1), t, 0.0, 5.0),
    "a transformed atom": lambda t: Transformed(dist.Delta(t), Affine(0.0, 1.0)),
    "Pareto": lambda t: dist.Pareto(t, 1.0),
    "a pushforward": lambda t: own.Pushforward(dist.Exponential(1.0), Bent(t)),
    "a pushforward of what moves": lambda t: own.Pushforward(dist.Uniform(0.0, t), Bent(jnp.float32(0.3))),
}


@pytest.mark.parametrize("name", MOVING)
def test_supports_that_move_through_a_transform_are_refused(name):
    def loss(t):
        return rx.expectation(
            lambda z: jnp.sum(above(1.0)(z)),
            MOVING[name](t),
            key=jax.random.key(0),
            num_samples=4,
            estimator="leave-one-out",
        )

    with pytest.raises(InvalidEstimator, match="support"):
        jax.grad(loss)(jnp.float32(0.3))


STILL = {
    "scaled Exponential": (lambda t: Transformed(dist.Exponential(1.0), Affine(0.0, t)), lambda t: np.exp(-1 / t)),
    "shifted Normal": (lambda t: Transformed(dist.Normal(0.0, 1.0), Affine(t, 1.0)), lambda t: st.norm.sf(1 - t)),
    "affine, exp": (lambda t: Transformed(dist.Normal(0.0, 1.0), [Affine(t, 1.0), EXP]), lambda t: st.norm.sf(-t)),
    "a rate": (lambda t: Transformed(dist.Exponential(t), Affine(0.5, 1.0)), lambda t: np.exp(-t / 2)),
    "location-scale": (lambda t: own.LocationScale(dist.Normal(0.0, 1.0), t, 1.0), lambda t: st.norm.sf(1 - t)),
    "a pushforward": (
        lambda t: own.Pushforward(dist.Exponential(1 / t), Bent(jnp.float32(0.0))),
        lambda t: np.exp(-1 / t),
    ),
}


@pytest.mark.parametrize("name", STILL)
def test_transforms_that_move_no_edge_are_not_refused(name):
    make, tail = STILL[name]
    assert z_score(gradients(make, above(1.0), jnp.float32(0.4)), slope(tail, 0.4)) < 5


def test_a_kink_that_a_transform_moves_is_refused_in_the_second_derivative():
    def loss(t):
        q = Transformed(dist.Laplace(0.0, 1.0), Affine(t, 1.0))
        return rx.expectation(jnp.sin, q, key=jax.random.key(0), num_samples=4, estimator="leave-one-out")

    with pytest.raises(InvalidEstimator, match="kink"):
        jax.grad(jax.grad(loss))(jnp.float32(0.3))


MEANS, LOWER = jnp.array([0.3, -0.2]), jnp.array([[1.0, 0.0], [0.5, 0.8]])
STICK = dist.transforms.StickBreakingTransform()
DESIGNED = {
    "stick breaking": Transformed(dist.Normal(MEANS, 1.0).to_event(1), STICK),
    "stick breaking, a batch": Transformed(dist.Normal(jnp.stack([MEANS, -MEANS]), 0.5).to_event(1), STICK).to_event(1),
    "correlation": Transformed(
        dist.Normal(jnp.array([0.1, 0.2, 0.3]), 0.7).to_event(1), dist.transforms.CorrCholeskyTransform()
    ).expand([2]),
    "lower triangular": Transformed(
        dist.Normal(jnp.array([0.1, 0.2, 0.3]), 0.7).to_event(1), dist.transforms.LowerCholeskyTransform()
    ).expand([2, 3]).to_event(1),
    "correlated, then stick breaking": Transformed(dist.MultivariateNormal(MEANS, scale_tril=LOWER), STICK),
    "expanded inside": Transformed(dist.Normal(0.0, 1.0).expand([3, 2]).to_event(1), STICK),
    "zero sum": dist.ZeroSumNormal(1.0, (4,)),
    "truncated": dist.TruncatedNormal(MEANS, 1.0, low=-0.5).expand([3, 2]),
    "affine that widens": Transformed(dist.Normal(0.0, 1.0), Affine(jnp.arange(3.0), jnp.arange(1.0, 4.0))),
}  # fmt: skip


@pytest.mark.parametrize("name", some(DESIGNED, ("stick breaking, a batch", "lower triangular")))
@pytest.mark.parametrize("estimator", some(("sobol", "antithetic", "latin-hypercube"), ("antithetic",)))
def test_designed_noise_draws_from_the_distribution(name, estimator):
    """First and second moments, mixed ones included, against plain draws."""
    q = DESIGNED[name]

    def moments(z):
        return jnp.concatenate([z.reshape(-1), z.reshape(-1) ** 2, z.reshape(-1)[0] * z.reshape(-1)])

    with jax.numpy_rank_promotion("allow"):
        plain = np.asarray(jax.vmap(moments)(rsample(q, jax.random.key(1), (20000,))), np.float64)
    found = np.asarray(
        many(lambda key: rx.expectation(moments, q, key=key, num_samples=16, estimator=estimator), 1000), np.float64
    )
    error = np.sqrt(found.var(axis=0) / len(found) + plain.var(axis=0) / len(plain)) + 1e-5
    assert np.max(np.abs(found.mean(axis=0) - plain.mean(axis=0)) / error) < 5


COVARIANCE = LOWER @ LOWER.T
PARAMETRIZED = {
    "covariance": (dist.MultivariateNormal(MEANS, covariance_matrix=COVARIANCE), {"loc", "covariance_matrix"}),
    "precision": (dist.MultivariateNormal(MEANS, precision_matrix=COVARIANCE), {"loc", "precision_matrix"}),
    "scale": (dist.MultivariateNormal(MEANS, scale_tril=LOWER), {"loc", "scale_tril"}),
    "Wishart factor": (dist.WishartCholesky(4.0, scale_matrix=COVARIANCE), {"concentration", "scale_matrix"}),
    "low rank": (
        dist.LowRankMultivariateNormal(MEANS, LOWER, jnp.array([0.5, 0.6])), {"loc", "cov_factor", "cov_diag"},
    ),
    "Student": (dist.MultivariateStudentT(4.0, MEANS, LOWER), {"df", "loc", "scale_tril"}),
    "Wishart": (dist.Wishart(4.0, rate_matrix=COVARIANCE), None),
    "random walk": (dist.GaussianRandomWalk(0.5, 3), None),
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETRIZED)
def test_distributions_are_rebuilt_from_their_parameters(name):
    q, names = PARAMETRIZED[name]
    parameters, rebuild = named_parameters(q)
    assert names is None or set(parameters) == names
    one, two = draw(q, jax.random.key(0), 3), draw(rebuild(parameters), jax.random.key(0), 3)
    np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.parametrize("given", some(("covariance_matrix", "precision_matrix"), ("precision_matrix",)))
def test_mixtures_of_multivariate_normals_by_covariance_or_precision(given):
    means = jnp.array([[0.1, 0.2], [1.0, 2.0]])

    def exact(t):
        covariance = COVARIANCE * t if given == "covariance_matrix" else jnp.linalg.inv(COVARIANCE * t)
        return 0.4 * jnp.sum(means[0] ** 2) + 0.6 * jnp.sum(means[1] ** 2) + jnp.trace(covariance)

    def make(t):
        weights = dist.Categorical(probs=jnp.array([0.4, 0.6]))
        return dist.MixtureSameFamily(weights, dist.MultivariateNormal(means, **{given: COVARIANCE * t}))

    t = jnp.float32(1.3)
    for estimator in ("rao-blackwellized-mixture", "mixture-index-score"):
        found = gradients(make, lambda z: jnp.sum(z**2), t, estimator, repeats=4000)
        assert z_score(found, jax.grad(exact)(t)) < 5
    parameters, rebuild = named_parameters(make(t))
    assert f"component.{given}" in parameters
    assert rebuild(parameters).component_distribution.batch_shape == (2,)


@pytest.mark.full
def test_compare_takes_mixtures_of_multivariate_normals():
    parts = dist.MultivariateNormal(jnp.array([[0.1, 0.2], [1.0, 2.0]]), covariance_matrix=COVARIANCE)
    q = dist.MixtureSameFamily(dist.Categorical(probs=jnp.array([0.4, 0.6])), parts)
    table = rx.compare(lambda z: jnp.sum(z**2), q, key=jax.random.key(0), num_samples=2, repeats=8)
    assert "covariance_matrix" in str(table)


VALUES = jnp.array([1.0, -2.0, 4.0, 0.5])


CATEGORICAL = [n for n, e in UNBIASED.items() if e.refusal(dist.Categorical(logits=VALUES)) is None]
BINARY = [n for n, e in UNBIASED.items() if e.refusal(dist.Bernoulli(logits=0.0)) is None]


@pytest.mark.parametrize("probs", [[0.3, 0.5, 0.4, 0.3], [0.5, 0.3, 0.0, 0.2]], ids=["unnormalized", "with a zero"])
@pytest.mark.parametrize("name", some(CATEGORICAL, ("arsm", "enumeration", "leave-one-out", "sum-and-sample")))
def test_all_estimators_agree_off_the_simplex(name, probs):
    p = jnp.array(probs)
    exact = jax.grad(lambda p: jnp.sum(p * VALUES) / jnp.sum(p))(p)
    found = gradients(
        lambda p: dist.Categorical(probs=p, validate_args=False), lambda z: VALUES[z], p, name, repeats=4000
    )
    assert z_score(found, exact) < 5


def binary_f(z):
    z = z.astype(float)
    return jnp.sum(z * jnp.array([1.0, 2.0, -0.5])) ** 2 - 3 * z[0]


@pytest.mark.parametrize("name", some(BINARY, ("disarm", "enumeration", "measure-valued", "rebar")))
def test_probabilities_of_zero_and_one_have_their_derivative(name):
    p = jnp.array([0.0, 1.0, 0.3])

    def exact(p):
        states = jnp.array(list(product([0, 1], repeat=3)))
        weights = jax.vmap(lambda z: jnp.prod(jnp.where(z == 1, p, 1 - p)))(states)
        return jnp.sum(weights * jax.vmap(binary_f)(states))

    found = gradients(lambda p: dist.Bernoulli(probs=p).to_event(1), binary_f, p, name, repeats=4000)
    assert z_score(found, jax.grad(exact)(p)) < 5


@pytest.mark.parametrize("name", [pytest.param("arms", marks=pytest.mark.full), "measure-valued"])
def test_large_values_and_second_derivatives_are_right_at_probabilities_of_zero_and_one(name):
    p = jnp.array([0.0, 0.5])

    def hessian(key):
        return jax.hessian(
            lambda p: rx.expectation(
                lambda z: 50.0 + 3.0 * (z[0] * z[1]).astype(float) - 2.0 * z[1].astype(float),
                dist.Bernoulli(probs=p).to_event(1),
                key=key,
                num_samples=4,
                estimator=name,
            )
        )(p)

    def gradient(key):
        return jax.grad(
            lambda p: rx.expectation(
                lambda z: 50.0 + z[0].astype(float),
                dist.Bernoulli(probs=p).to_event(1),
                key=key,
                num_samples=4,
                estimator=name,
            )
        )(p)

    keys = jax.random.split(jax.random.key(0), 1000)
    np.testing.assert_allclose(jax.vmap(gradient)(keys).mean(axis=0), [1.0, 0.0], atol=0.15)
    np.testing.assert_allclose(jax.vmap(hessian)(keys).mean(axis=0), [[0.0, 3.0], [3.0, 0.0]], atol=0.5)


def test_a_saturated_sigmoid_is_no_false_alarm():
    """Its probability is 1 in floats, and does not move."""

    def make(logits):
        return dist.Bernoulli(probs=jax.nn.sigmoid(logits)).to_event(1)

    found = gradients(make, binary_f, jnp.array([100.0, -200.0, 0.0]), "disarm", repeats=500)
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(np.asarray(found)[:, :2], 0, atol=1e-6)


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, "8"])
def test_numbers_of_draws_are_checked(bad):
    with pytest.raises(InvalidEstimator, match="num_samples"):
        check_num_samples(bad)
    check_num_samples(1)


EMPTY = (
    lambda c: dist.Normal(c(0), 1.0), lambda c: dist.Bernoulli(logits=c(0)), lambda c: dist.Bernoulli(probs=c(0)),
    lambda c: dist.Gamma(2.0, c(0)), lambda c: dist.Poisson(c(0)), lambda c: dist.Exponential(c(0)).to_event(1),
    lambda c: dist.StudentT(c(0), 0.0, 1.0), lambda c: dist.Kumaraswamy(c(0), 1.0),
)  # fmt: skip


@pytest.mark.parametrize("name", some(UNBIASED, ("enumeration", "sum-and-sample", "measure-valued")))
def test_empty_batches_work(name):
    def loss(t, make):
        q = make(lambda *shape: jnp.ones(shape) * t)
        if UNBIASED[name].refusal(q) is not None:
            return t
        return rx.expectation(
            lambda z: jnp.sum(z.astype(float)) * t + t,
            q,
            key=jax.random.key(0),
            num_samples=2,
            estimator=UNBIASED[name],
        )

    for make in EMPTY:
        assert jax.jit(jax.grad(loss), static_argnums=1)(jnp.float32(1.0), make) == 1


def mixture_of(count, spread):
    def make(t):
        return dist.MixtureSameFamily(
            dist.Categorical(logits=t), dist.Normal(jnp.linspace(-spread, spread, count), 0.5)
        )

    def exact(t):
        return jnp.sum(jax.nn.softmax(t) * (jnp.linspace(-spread, spread, count) ** 2 + 0.25))

    return make, exact


@pytest.mark.parametrize(("count", "expected"), [(3, "rao-blackwellized-mixture"), (100, "mixture-index-score")])
def test_widely_separated_mixtures_are_right_by_auto(count, expected):
    """Components 12 standard deviations apart: a pathwise draw would have to be in the gap to say anything."""
    make, exact = mixture_of(count, 6.0 * (count - 1) / 2)
    t = jnp.linspace(-0.5, 0.5, count)
    assert expected in str(rx.explain(make(t)))
    assert z_score(gradients(make, lambda z: z**2, t, "auto", repeats=4000), jax.grad(exact)(t)) < 5


@pytest.mark.full
def test_index_score_of_a_batch_and_of_different_components_to_second_order():
    def make(t):
        parts = [dist.Normal(jnp.stack([t[2], t[2]]), 1.0), dist.Laplace(t[3], 1.0).expand([2])]
        return dist.MixtureGeneral(dist.Categorical(logits=jnp.stack([t[:2], -t[:2]])), parts)

    def exact(t):
        seconds = t[2:] ** 2 + jnp.array([1.0, 2.0])
        return jnp.sum((jax.nn.softmax(t[:2]) + jax.nn.softmax(-t[:2])) * seconds)

    t = jnp.array([0.2, -0.3, -2.0, 1.0])

    def loss(t, key):
        f = lambda z: jnp.sum(z**2)  # noqa: E731
        return rx.expectation(f, make(t), key=key, num_samples=4, estimator="mixture-index-score")

    assert z_score(many(lambda key: jax.grad(loss)(t, key), 8000), jax.grad(exact)(t)) < 5
    assert z_score(many(lambda key: jax.hessian(loss)(t, key), 8000), jax.hessian(exact)(t)) < 5
