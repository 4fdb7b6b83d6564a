"""Every distribution that numpyro exports either has a tested reparameterization or is refused."""

import inspect

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

from reparax.errors import NotReparameterizable
from reparax.reparameterization import is_reparameterizable, parameter_rules, rsample

KEY = jax.random.key(0)
WEIGHTS = dist.Categorical(probs=jnp.full(2, 0.5))

# Families with a reparameterization; the other test files of this folder test that it is unbiased.
DIFFERENTIABLE = {
    "AsymmetricLaplace", "AsymmetricLaplaceQuantile", "Beta", "BetaProportion", "CAR", "Cauchy", "Chi2",
    "CirculantNormal", "Dagum", "Delta", "Dirichlet", "DoublyTruncatedPowerLaw", "EulerMaruyama",
    "ExpandedDistribution", "Exponential", "FoldedDistribution", "Gamma", "GaussianRandomWalk", "GaussianStateSpace",
    "Gompertz", "Gumbel", "HalfCauchy", "HalfNormal", "Independent", "InverseGamma", "InverseWishart",
    "InverseWishartCholesky", "Kumaraswamy", "LKJ", "LKJCholesky", "Laplace", "LeftTruncatedDistribution", "Levy",
    "LogNormal", "LogUniform", "Logistic", "LowRankMultivariateNormal", "LowerTruncatedPowerLaw",
    "MaskedDistribution", "MatrixNormal", "MixtureGeneral", "MixtureSameFamily", "MultivariateNormal",
    "MultivariateStudentT", "Normal", "Pareto", "ProjectedNormal", "RelaxedBernoulliLogits",
    "RightTruncatedDistribution", "SoftLaplace", "StudentT", "TransformedDistribution",
    "TwoSidedTruncatedDistribution", "Uniform", "VonMises", "Weibull", "Wishart", "WishartCholesky", "ZeroSumNormal",
}  # fmt: skip

REFUSED = {
    "BernoulliLogits": lambda: dist.BernoulliLogits(0.3),
    "BernoulliProbs": lambda: dist.BernoulliProbs(0.3),
    "BetaBinomial": lambda: dist.BetaBinomial(1.0, 2.0, 5),
    "BetaNegativeBinomial": lambda: dist.BetaNegativeBinomial(1.0, 2.0, 5),
    "BinomialLogits": lambda: dist.BinomialLogits(0.3, 5),
    "BinomialProbs": lambda: dist.BinomialProbs(0.3, 5),
    "CategoricalLogits": lambda: dist.CategoricalLogits(jnp.zeros(3)),
    "CategoricalProbs": lambda: dist.CategoricalProbs(jnp.full(3, 1 / 3)),
    "DirichletMultinomial": lambda: dist.DirichletMultinomial(jnp.ones(3), 5),
    "DiscreteUniform": lambda: dist.DiscreteUniform(0, 4),
    "GammaPoisson": lambda: dist.GammaPoisson(1.0, 2.0),
    "GaussianCopula": lambda: dist.GaussianCopula(dist.Normal(0.0, 1.0), correlation_matrix=jnp.eye(2)),
    "GaussianCopulaBeta": lambda: dist.GaussianCopulaBeta(1.0, 2.0, correlation_matrix=jnp.eye(2)),
    "GeometricLogits": lambda: dist.GeometricLogits(0.3),
    "GeometricProbs": lambda: dist.GeometricProbs(0.3),
    "HurdleGamma": lambda: dist.HurdleGamma(0.3, 1.0, 2.0),
    "HurdleLogNormal": lambda: dist.HurdleLogNormal(0.3, 1.0, 2.0),
    "HurdlePoisson": lambda: dist.HurdlePoisson(0.3, 1.0),
    "HurdleProbs": lambda: dist.HurdleProbs(dist.Poisson(1.0), gate=0.3),
    "HurdleLogits": lambda: dist.HurdleLogits(dist.Poisson(1.0), gate_logits=0.3),
    "ImproperUniform": lambda: dist.ImproperUniform(dist.constraints.real, (), ()),
    "IntervalCensoredDistribution": lambda: dist.IntervalCensoredDistribution(dist.Normal(0.0, 1.0), False, False),
    "LeftCensoredDistribution": lambda: dist.LeftCensoredDistribution(dist.Normal(0.0, 1.0), False),
    "LeftTruncatedGamma": lambda: dist.LeftTruncatedGamma(dist.Gamma(1.0, 1.0), 0.5),
    "MultinomialLogits": lambda: dist.MultinomialLogits(jnp.zeros(3), 5),
    "MultinomialProbs": lambda: dist.MultinomialProbs(jnp.full(3, 1 / 3), 5),
    "NegativeBinomial2": lambda: dist.NegativeBinomial2(1.0, 2.0),
    "NegativeBinomialLogits": lambda: dist.NegativeBinomialLogits(1.0, 0.3),
    "NegativeBinomialProbs": lambda: dist.NegativeBinomialProbs(1.0, 0.3),
    "OrderedLogistic": lambda: dist.OrderedLogistic(0.3, jnp.array([-1.0, 1.0])),
    "Poisson": lambda: dist.Poisson(2.0),
    "RightCensoredDistribution": lambda: dist.RightCensoredDistribution(dist.Normal(0.0, 1.0), False),
    "RightTruncatedGamma": lambda: dist.RightTruncatedGamma(dist.Gamma(1.0, 1.0), 0.5),
    "SineBivariateVonMises": lambda: dist.SineBivariateVonMises(0.0, 0.0, 1.0, 1.0, 0.5),
    "SineSkewed": lambda: dist.SineSkewed(dist.VonMises(jnp.zeros(2), 1.0).to_event(1), jnp.array([0.3, -0.3])),
    "TruncatedPolyaGamma": lambda: dist.TruncatedPolyaGamma(),
    "TwoSidedTruncatedGamma": lambda: dist.TwoSidedTruncatedGamma(dist.Gamma(1.0, 1.0), 0.5, 1.0),
    "Unit": lambda: dist.Unit(0.3),
    "ZeroInflatedLogits": lambda: dist.ZeroInflatedDistribution(dist.Poisson(2.0), gate_logits=0.3),
    "ZeroInflatedPoisson": lambda: dist.ZeroInflatedPoisson(0.3, 2.0),
    "ZeroInflatedProbs": lambda: dist.ZeroInflatedDistribution(dist.Poisson(2.0), gate=0.3),
    "mixture of MultivariateNormal": lambda: dist.MixtureSameFamily(
        WEIGHTS, dist.MultivariateNormal(jnp.zeros((2, 3)), jnp.eye(3))
    ),
    "truncated in a transformed": lambda: dist.TransformedDistribution(
        dist.LeftTruncatedGamma(dist.Gamma(1.0, 1.0), 0.5), dist.transforms.ExpTransform()
    ),
}


def exported():
    """The names of numpyro's distribution classes."""
    found = {
        name
        for name in dir(dist)
        if inspect.isclass(getattr(dist, name)) and issubclass(getattr(dist, name), dist.Distribution)
    }
    return found - {"Distribution"}


def test_no_distribution_is_forgotten():
    unknown = exported() - DIFFERENTIABLE - set(REFUSED)
    assert not unknown, f"say how {sorted(unknown)} are differentiated, or that they are refused"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_rest_are_refused_with_a_parameter_a_reason_and_a_cure(name):
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        q = REFUSED[name]()
    assert not is_reparameterizable(q)
    assert all(entry.reason for entry in parameter_rules(q) if not entry.differentiable)
    with pytest.raises(NotReparameterizable, match="score function"):
        rsample(q, KEY)


@pytest.mark.parametrize(
    "make",
    [
        lambda t: dist.Gamma(t, 1.3),
        lambda t: dist.StudentT(t + 2, 0.3, 1.0),
        lambda t: dist.TruncatedNormal(t, 0.8, low=-0.5, high=1.5),
        lambda t: dist.TruncatedNormal(-4.0 - t, 0.8, low=1.0),
        lambda t: dist.TruncatedDistribution(dist.Logistic(t, 0.8), low=-0.5),
        lambda t: dist.Kumaraswamy(t, 1.3),
        lambda t: dist.MixtureSameFamily(
            dist.Categorical(logits=jnp.stack([t, -t])), dist.Normal(jnp.array([-1.0, 1.0]), 1.0)
        ),
    ],
    ids=[
        "Gamma",
        "StudentT",
        "TruncatedNormal",
        "TruncatedNormal tail",
        "truncated Logistic",
        "Kumaraswamy",
        "mixture",
    ],
)
def test_second_derivative_is_the_slope_of_the_first(make):
    """On the same draws: both are exact derivatives of one smooth path, up to draws that the change moves elsewhere."""
    t = jnp.float32(0.7)

    @jax.jit
    def curve(t):
        # The path held at its quantiles: expand the draw at t = 0.7 to second order along the derivative.
        f = lambda s: jnp.mean(jnp.tanh(rsample(make(s), KEY, (20_000,))))  # noqa: E731
        return jax.jvp(jax.grad(f), (t,), (jnp.ones_like(t),))[1], jax.grad(f)(t + 0.05), jax.grad(f)(t - 0.05)

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        second, above, below = curve(t)
    numeric = (above - below) / 0.1
    assert jnp.abs(second - numeric) < 0.02 + 0.1 * jnp.abs(numeric), (second, numeric)


def test_inside_vmap_scan_checkpoint_and_reverse_mode():
    def loss(theta, key):
        q = dist.Gamma(theta[0], theta[1])
        return jnp.mean(jnp.exp(-rsample(q, key, (2000,))))

    theta = jnp.array([1.4, 0.8])
    alone = jax.jit(jax.grad(loss))(theta, KEY)
    mapped = jax.jit(jax.vmap(jax.grad(loss), (0, None)))(jnp.stack([theta, theta]), KEY)
    scanned = jax.jit(
        lambda t: jax.lax.scan(lambda c, _: (c + jax.grad(loss)(t, KEY), None), jnp.zeros(2), length=3)[0]
    )(theta)
    rematerialized = jax.jit(jax.grad(jax.checkpoint(loss)))(theta, KEY)
    forward = jax.jit(jax.jacfwd(loss))(theta, KEY)
    for other in (mapped[0], mapped[1], scanned / 3, rematerialized, forward):
        assert jnp.allclose(other, alone, rtol=1e-4)


@pytest.mark.full
def test_double_precision_keeps_its_precision():
    with jax.enable_x64(True):
        loc = jnp.asarray(0.3, jnp.float64)
        z = rsample(dist.TruncatedNormal(loc, 1.0, low=12.3), jax.random.key(0), (1000,))
        assert z.dtype == jnp.float64
        assert jnp.all(z >= 12.3)
        # One sigma of the tail is 1/12 of the scale; in single precision the density's slope is only known to 1e-4.
        slope = jax.jacfwd(lambda m: rsample(dist.TruncatedNormal(m, 1.0, low=12.3), jax.random.key(0), (1000,)))(loc)
        from jax.scipy.stats import norm

        survival = jnp.exp(norm.logsf(z - loc) - norm.logsf(12.3 - loc))
        exact = 1 - jnp.exp(norm.logpdf(12.3 - loc) - norm.logpdf(z - loc)) * survival
        assert jnp.max(jnp.abs(slope - exact)) < 1e-9


def test_single_precision_parameters_stay_single_when_double_is_enabled():
    with jax.enable_x64(True):
        assert rsample(dist.Normal(jnp.float32(0.0), jnp.float32(1.0)), jax.random.key(0)).dtype == jnp.float32
        assert rsample(dist.Beta(jnp.float32(1.0), jnp.float32(1.0)), jax.random.key(0)).dtype == jnp.float32


def test_log_derivatives_survive_underflow_in_linear_space():
    def mean_log(a):
        return jnp.mean(jnp.log(rsample(dist.Gamma(a, 2.0), KEY, (20_000,))))

    slope = jax.jit(jax.grad(mean_log))(jnp.float32(0.01))
    exact = jax.grad(jax.scipy.special.digamma)(jnp.float32(0.01))
    assert jnp.abs(slope / exact - 1) < 0.05
    assert jnp.isclose(jax.grad(lambda r: jnp.log(rsample(dist.Gamma(1e-4, r), KEY)))(2.0), -0.5)
