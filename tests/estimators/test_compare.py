"""The comparison: its numbers and its alarms, and the variance study among the benchmarks."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import reparax as rx
from reparax.errors import InvalidEstimator
from reparax.estimators import Pathwise
from reparax.estimators._measure import tail_shape

KEY = jax.random.key(0)
STUDY = Path(__file__).parents[2] / "benchmarks" / "variances.py"


def load_study():
    spec = importlib.util.spec_from_file_location("variances", STUDY)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


variances = load_study()


class Wrong(Pathwise):
    """Claims to be unbiased, and is 10 % too large."""

    def estimate(self, f, q, *, key, num_samples):
        right = Pathwise().estimate(f, q, key=key, num_samples=num_samples)
        return right + 0.1 * (right - jax.lax.stop_gradient(right))


@pytest.fixture(scope="module")
def comparison():
    estimators = {
        "pathwise": "pathwise",
        "leave-one-out": "leave-one-out",
        "measure-valued": "measure-valued",
        "wrong": Wrong(),
    }
    return rx.compare(
        lambda z: (z - 0.4) ** 2, dist.Normal(1.0, 0.8), key=KEY, estimators=estimators, num_samples=4, repeats=4000
    )


def test_comparison_measures_mean_variance_and_cost(comparison):
    row = comparison.row("pathwise", "loc")
    assert abs(row.mean - 1.2) < 5 * row.standard_error
    np.testing.assert_allclose(row.variance, 4 * 0.64 / 4, rtol=0.15)
    assert (row.evaluations, row.non_finite) == (4, 0.0)
    np.testing.assert_allclose(row.variance_times_cost, 4 * row.variance)
    assert comparison.row("measure-valued", "loc").evaluations == 4 * 5
    assert row.seconds > 0


def test_a_wrong_estimator_rings_the_alarm_and_the_right_ones_do_not(comparison):
    assert {row.estimator for row in comparison.alarms} == {"wrong"}
    assert "BIAS ALARM" in str(comparison)
    assert comparison.row("wrong", "loc").disagreement > 5


def test_comparison_is_shown_drawn_and_tabulated(comparison):
    shown = repr(comparison)
    assert all(word in shown for word in ("variance x cost", "leave-one-out", "4000 gradients of 4 draws each"))
    frame = comparison.to_frame()
    assert frame.height == len(comparison.rows) == 8
    assert set(frame["parameter"]) == {"loc", "scale"}
    figure = comparison.plot()
    assert [axes.get_title() for axes in figure.axes] == ["d/d loc", "d/d scale"]


def test_all_valid_estimators_by_default_and_why_others_are_left_out():
    table = jnp.array([0.3, -1.0])
    found = rx.compare(lambda z: table[z], dist.Bernoulli(logits=0.2), key=KEY, repeats=50)
    names = {row.estimator for row in found.rows}
    assert {"disarm", "arm", "enumeration", "measure-valued", "sum-and-sample"} <= names
    assert "relaxed" in found.refused["rebar"]
    assert "not run: rebar" in str(found)
    assert not found.alarms


def test_biased_estimators_are_shown_as_declared():
    two = ["enumeration", "straight-through"]
    found = rx.compare(
        lambda z: jnp.exp(z.astype(float)), dist.Bernoulli(logits=0.2), key=KEY, estimators=two, repeats=500
    )
    assert not found.alarms
    assert "biased, as declared" in str(found)


def test_a_heavy_tail_is_warned_of():
    """Cauchy scale with f = sin: the pathwise derivative cos(z) eps has no mean of its absolute value."""
    found = rx.compare(jnp.sin, dist.Cauchy(0.3, 1.0), key=KEY, estimators=["pathwise", "leave-one-out"], repeats=2000)
    assert "heavy tail" in str(found)
    assert found.row("pathwise", "scale").tail > 0.7
    assert not found.row("leave-one-out", "scale").tail > 0.7


def test_comparison_refusals():
    with pytest.raises(InvalidEstimator, match="one real number"):
        rx.compare(lambda z: (z, z), dist.Normal(0.0, 1.0), key=KEY)
    with pytest.raises(InvalidEstimator, match="at least one"):
        rx.compare(jnp.sin, dist.Normal(0.0, 1.0), key=KEY, estimators=[])
    with pytest.raises(InvalidEstimator, match="step function"):
        rx.compare(lambda z: z.astype(float), dist.Poisson(1.0), key=KEY, estimators=["pathwise"])


@pytest.mark.parametrize("shape", [0.2, 1.0])
def test_tail_shape_of_generalized_pareto_draws(shape):
    draws = stats.genpareto(shape).rvs(20000, random_state=0)
    assert abs(tail_shape(draws) - shape) < 0.15


def test_no_tail_where_there_are_few_values_or_only_rounding():
    assert np.isnan(tail_shape(np.tile([0.0, 1.0], 500)))
    assert np.isnan(tail_shape(1 + 1e-9 * np.random.default_rng(0).standard_normal(1000)))
    assert np.isnan(tail_shape(np.arange(20.0)))


@pytest.mark.parametrize("cost", variances.COSTS)
def test_the_closed_forms_of_the_study(cost):
    theta = np.array([0.7, 0.9])
    k = variances.GRIDS[cost][-1]
    integral = stats.norm(*theta).expect(lambda z: float(variances.COSTS[cost](jnp.float32(z), jnp.float32(k))))
    np.testing.assert_allclose(
        variances.exact(cost, jnp.float32(k), jnp.asarray(theta, jnp.float32)), integral, rtol=1e-4
    )


@pytest.fixture(scope="module")
def quadratic():
    return variances.study(["quadratic"], loc=1.0, scale=1.0, num_samples=4, repeats=400, key=KEY)


def test_study_answers_why_reparameterize(quadratic):
    held = [row for row in quadratic.rows if row.estimator == "sample held constant"]
    assert all(row.mean == 0 and row.variance == 0 for row in held)
    rest = [row for row in quadratic.rows if row.estimator != "sample held constant"]
    assert max(abs(row.z) for row in rest) < 5
    variance = {(row.estimator, row.parameter): row.variance for row in rest if row.k == -3.0}
    np.testing.assert_allclose(variance["pathwise", "loc"], 4, rtol=0.3)
    np.testing.assert_allclose(variance["score-function", "loc"], 4**4 + 14 * 16 + 15, rtol=0.4)
    shown = str(quadratic)
    assert "no: zero" in shown
    assert "variance per draw of d/dscale" in shown
    assert len(quadratic.plot().axes) == 2
