"""Comparison and choice against adversaries: estimators that are wrong, silent, or in the majority."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import reparax as rx
from reparax import registry
from reparax.errors import InvalidEstimator
from reparax.estimators import (
    AbstractEstimator,
    AssumedContinuous,
    Enumeration,
    LeaveOneOut,
    Pathwise,
    ScoreFunction,
)
from reparax.estimators._agreement import family, trust

KEY = jax.random.key(0)
NORMAL = dist.Normal(0.3, 1.0)


class Biased(Pathwise):
    """Claims to be unbiased, and is wrong by a factor; without noise of its own it is cheap."""

    factor: float = 0.5

    def estimate(self, f, q, *, key, num_samples):
        right = Pathwise().estimate(f, q, key=key, num_samples=num_samples)
        return jax.lax.stop_gradient(right) + self.factor * (right - jax.lax.stop_gradient(right))


class Silent(ScoreFunction):
    """A score function that lost its gradient."""

    def estimate(self, f, q, *, key, num_samples):
        return jax.lax.stop_gradient(ScoreFunction().estimate(f, q, key=key, num_samples=num_samples))


def step(z):
    return jnp.where(z > 0.0, 1.0, 0.0)


def chosen(part):
    return registry.part_name(type(part))


def test_every_estimator_has_a_mechanism():
    expected = {
        "pathwise": ("pathwise", 2), "sobol": ("pathwise", 2), "antithetic": ("pathwise", 2),
        "latin-hypercube": ("pathwise", 2), "rao-blackwellized-mixture": ("pathwise", 2),
        "enumeration": ("enumeration", 0), "leave-one-out": ("score function", 1),
        "optimal-baseline": ("score function", 1), "sum-and-sample": ("score function", 1),
        "measure-valued": ("weak derivatives", 1), "disarm": ("coupled bits", 1), "arm": ("coupled bits", 1),
        "arms": ("coupled bits", 1), "arsm": ("swapped categories", 1), "rebar": ("relaxation", 2),
    }  # fmt: skip
    for name, (mechanism, assumed) in expected.items():
        part = registry.load("estimators", name)()
        assert (family(part), trust(part)) == (mechanism, assumed), name
    for part in (Biased(), Silent()):
        assert (family(part), trust(part)) == ("custom", 3)


def test_four_silent_relatives_do_not_outvote_one_that_is_right():
    names = ["pathwise", "sobol", "antithetic", "latin-hypercube", "leave-one-out"]
    found = rx.compare(AssumedContinuous(step), NORMAL, key=KEY, estimators=names, num_samples=4, repeats=1000)
    alarms = {(row.estimator, row.parameter) for row in found.alarms}
    assert alarms == {(name, parameter) for name in names[:-1] for parameter in ("loc", "scale")}
    right = found.row("leave-one-out", "loc")
    assert abs(right.mean - stats.norm.pdf(0.3)) < 5 * right.standard_error
    assert "BIAS ALARM" in str(found)


@pytest.mark.parametrize("names", [["pathwise"], ["antithetic", "sobol"]])
def test_where_all_named_are_silent_a_judge_is_added(names):
    found = rx.compare(AssumedContinuous(step), NORMAL, key=KEY, estimators=names, num_samples=2, repeats=1000)
    assert {row.estimator for row in found.alarms} == set(names)
    assert "added as a reference" in str(found)
    with pytest.raises(InvalidEstimator, match="contradicts"):
        rx.tune(AssumedContinuous(step), NORMAL, key=KEY, estimators=names)


def test_tune_does_not_take_a_silent_zero():
    names = ["pathwise", "sobol", "leave-one-out"]
    assert isinstance(rx.tune(AssumedContinuous(step), NORMAL, key=KEY, estimators=names), LeaveOneOut)
    # Too rare for the pilot to see: the zero is not believed all the same.
    rare = AssumedContinuous(lambda z: jnp.where(z > 4.5, 1.0, 0.0))
    assert isinstance(rx.tune(rare, NORMAL, key=KEY, num_pilot=200, estimators=names), LeaveOneOut)
    with pytest.raises(InvalidEstimator, match="always 0, which no reference estimator confirms"):
        rx.tune(rare, NORMAL, key=KEY, num_pilot=200, estimators=["pathwise"])


def test_tune_does_not_take_a_slope_with_a_step_missing():
    """Pathwise sees 0.1 of a gradient of 0.48, with little noise."""

    def f(z):
        return 0.1 * z + step(z)

    part = rx.tune(AssumedContinuous(f), NORMAL, key=KEY, estimators=["pathwise", "leave-one-out"])
    assert isinstance(part, LeaveOneOut)


def test_tune_takes_pathwise_where_an_f_is_rightly_assumed_continuous():
    smooth = AssumedContinuous(lambda z: (z + 3.0) ** 2)
    assert family(rx.tune(smooth, NORMAL, key=KEY, estimators=["pathwise", "leave-one-out"])) == ("pathwise")


def test_tune_says_where_the_pilot_is_too_small_to_tell():
    noisy = AssumedContinuous(lambda z: jnp.cos(8.0 * z))
    with pytest.warns(UserWarning, match="not enough draws to tell"):
        part = rx.tune(noisy, dist.Normal(0.3, 0.05), key=KEY, num_pilot=20, estimators=["pathwise", "leave-one-out"])
    assert isinstance(part, Pathwise)
    found = rx.compare(noisy, dist.Normal(0.3, 0.05), key=KEY, repeats=20, estimators=["pathwise", "leave-one-out"])
    assert "not enough draws to tell" in str(found)


def test_nothing_is_said_where_there_is_no_other_mechanism_but_a_proof():
    found = rx.compare(jnp.sin, dist.Uniform(0.0, 1.0), key=KEY, repeats=50, estimators=["pathwise", "sobol"])
    assert all(np.isinf(row.unnoticed) for row in found.rows)
    assert "no other mechanism" in str(found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rx.tune(jnp.sin, dist.Uniform(0.0, 1.0), key=KEY, num_pilot=50, estimators=["pathwise"])
    with pytest.warns(UserWarning, match="no other mechanism is valid"):
        rx.tune(AssumedContinuous(jnp.sin), dist.Uniform(0.0, 1.0), key=KEY, num_pilot=50, estimators=["pathwise"])


def test_four_custom_estimators_do_not_outvote_one_of_the_library():
    wrong = {"half": Biased(), "more": Biased(0.7), "none": Biased(0.0), "silent": Silent()}
    found = rx.compare(
        lambda z: jnp.sin(z) + 0.2 * z, NORMAL, key=KEY, estimators={"pathwise": "pathwise", **wrong},
        num_samples=4, repeats=1000,
    )  # fmt: skip
    assert {row.estimator for row in found.alarms} == set(wrong)


@pytest.mark.parametrize("wrong", [Biased(), Silent()])
def test_tune_without_one_of_the_library_runs_a_judge(wrong):
    with pytest.raises(InvalidEstimator, match="contradicts"):
        rx.tune(lambda z: 5.0 * z, NORMAL, key=KEY, estimators=[wrong])


def test_exact_sums_outrank_all():
    class Half(LeaveOneOut):
        def estimate(self, f, q, *, key, num_samples):
            right = LeaveOneOut().estimate(f, q, key=key, num_samples=num_samples)
            return jax.lax.stop_gradient(right) + 0.5 * (right - jax.lax.stop_gradient(right))

    q = dist.Bernoulli(logits=jnp.array([0.4, -0.3])).to_event(1)

    def f(b):
        return (b[0] + 2.0 * b[1] - 0.3) ** 2

    names = {"half": Half(), "enumeration": "enumeration", "disarm": "disarm"}
    found = rx.compare(lambda b: f(b.astype(float)), q, key=KEY, estimators=names, num_samples=2, repeats=2000)
    assert {row.estimator for row in found.alarms} == {"half"}
    assert found.row("enumeration", "logits").unnoticed == 0.0
    part = rx.tune(lambda b: f(b.astype(float)), q, key=KEY, num_pilot=300, estimators=list(names.values()))
    assert isinstance(part, Enumeration)


def test_mixture_weights_behind_a_step():
    """Pathwise, and the sum over components by common noise, both miss the step; the score does not."""
    parts = dist.Normal(jnp.array([-1.0, 1.0]), 0.7)
    q = dist.MixtureSameFamily(dist.Categorical(logits=jnp.array([0.2, -0.2])), parts)
    names = ["pathwise", "rao-blackwellized-mixture", "leave-one-out"]
    found = rx.compare(AssumedContinuous(step), q, key=KEY, estimators=names, num_samples=2, repeats=2000)
    assert {row.estimator for row in found.alarms if row.parameter == "component.loc"} == set(names[:2])
    assert isinstance(rx.tune(AssumedContinuous(step), q, key=KEY, estimators=names), LeaveOneOut)


def test_in_a_pytree_the_other_variables_may_fall_back():
    """f jumps in a alone: the choice for b is made beside whatever is right for a."""
    q = {"a": dist.Normal(0.3, 1.0), "b": dist.Normal(0.0, 1.0)}

    def f(z):
        return step(z["a"]) + 3.0 * z["b"]

    found = rx.tune(f, q, key=KEY, num_pilot=300, estimators=["pathwise", "leave-one-out"])
    assert isinstance(found["a"], LeaveOneOut)


class Encoder(eqx.Module):
    """Two layers from an example to the mean and scale of a Normal."""

    layers: list[eqx.nn.Linear]

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.layers = [eqx.nn.Linear(3, 4, key=first), eqx.nn.Linear(4, 2, key=second)]

    def __call__(self, x):
        mean, log_scale = self.layers[1](jnp.tanh(self.layers[0](x)))
        return dist.Normal(mean, jnp.exp(log_scale))


X = jnp.array([0.5, -1.0, 2.0])


def test_compare_sees_the_weights_of_an_encoder():
    """E z^2 = loc^2 + scale^2: the exact gradient is plain backpropagation through both."""
    encoder = Encoder(jax.random.key(1))
    found = rx.compare(
        lambda z, encoder: z**2, lambda encoder: encoder(X), parameters=encoder, key=KEY,
        estimators=["pathwise", "leave-one-out"], num_samples=8, repeats=2000,
    )  # fmt: skip
    assert {row.parameter for row in found.rows} == {
        "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"
    }  # fmt: skip
    exact = eqx.filter_grad(lambda model: model(X).loc ** 2 + model(X).scale ** 2)(encoder)
    for name in ("pathwise", "leave-one-out"):
        row = found.row(name, "layers.0.weight")
        rounding = 1e-5 * np.abs(row.mean)
        distance = np.abs(row.mean - exact.layers[0].weight) / np.hypot(row.standard_error, rounding)
        assert np.max(distance) < 5
    assert not found.alarms
    part = rx.tune(
        lambda z, encoder: z**2, lambda encoder: encoder(X), parameters=encoder, key=KEY, num_pilot=200,
        estimators=["pathwise", "leave-one-out"], minimize=["layers.1.bias"],
    )  # fmt: skip
    assert isinstance(part, Pathwise)


def test_compare_sees_a_threshold_inside_f():
    """E sigmoid((z - c) / h) with c in f, q's own parameters besides: by quadrature."""

    def f(z, parameters):
        return jax.nn.sigmoid((z - parameters["c"]) / 0.2)

    found = rx.compare(
        f, dist.Normal(0.3, 1.0), parameters={"c": jnp.float32(0.8)}, key=KEY,
        estimators=["pathwise", "leave-one-out"], num_samples=8, repeats=2000,
    )  # fmt: skip
    assert {row.parameter for row in found.rows} == {"loc", "scale", "c"}
    slope = stats.norm(0.3, 1.0).expect(lambda z: np.exp(-abs(z - 0.8) / 0.2) / (1 + np.exp(-abs(z - 0.8) / 0.2)) ** 2)
    for name in ("pathwise", "leave-one-out"):
        for parameter, exact in (("c", -slope / 0.2), ("loc", slope / 0.2)):
            row = found.row(name, parameter)
            assert abs(row.mean - exact) < 5 * row.standard_error


def test_parameters_keep_the_key_of_f_and_their_names_apart():
    def f(z, parameters, *, key):
        return z * parameters["loc"] + 0.0 * jax.random.normal(key)

    found = rx.compare(f, NORMAL, parameters={"loc": jnp.float32(2.0)}, key=KEY, estimators=["pathwise"], repeats=100)
    assert {row.parameter for row in found.rows} == {"loc", "scale", "parameters.loc"}
    np.testing.assert_allclose(found.row("pathwise", "loc").mean, 2.0, rtol=1e-6)
    with pytest.raises(InvalidEstimator, match="pass parameters="):
        rx.compare(lambda z, p: z, lambda p: dist.Normal(p, 1.0), key=KEY)
    with pytest.raises(InvalidEstimator, match="array of real numbers"):
        rx.compare(lambda z, p: z, NORMAL, parameters=["loc"], key=KEY)


def test_an_estimator_whose_gradients_are_not_finite_is_shown_and_not_chosen():
    class Broken(AbstractEstimator):
        unbiased = True
        level = "score"
        minimum_samples = 1
        valid_for = "nothing"
        reference = "none"

        def refusal(self, q):
            return None

        def estimate(self, f, q, *, key, num_samples):
            return Pathwise().estimate(f, q, key=key, num_samples=num_samples) * jnp.log(q[0].loc - 0.3)

    found = rx.compare(jnp.sin, NORMAL, key=KEY, estimators={"broken": Broken(), "pathwise": "pathwise"}, repeats=50)
    assert found.row("broken", "loc").non_finite == 1.0
    with pytest.raises(InvalidEstimator, match="finite"):
        rx.tune(jnp.sin, NORMAL, key=KEY, num_pilot=50, estimators=[Broken()])
