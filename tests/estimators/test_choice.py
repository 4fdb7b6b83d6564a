"""The choice by rules, the choice by measurement, and the explanation of either."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax import registry
from reparax.distributions import OneHotCategorical
from reparax.errors import InvalidEstimator
from reparax.estimators import (
    ARSM,
    AbstractBoundEstimator,
    AbstractEstimator,
    Enumeration,
    LinearCombination,
    MeasureValued,
    OptimalBaseline,
    Pathwise,
    RaoBlackwellizedMixture,
    ScoreFunction,
    StraightThrough,
    SumAndSample,
)  # fmt: skip
from reparax.estimators._plan import assign, check, valid_names

KEY = jax.random.key(0)


def mixture(count, batch=()):
    parts = dist.Normal(jnp.zeros((*batch, count)), 1.0)
    return dist.MixtureSameFamily(dist.Categorical(jnp.full((*batch, count), 1 / count)), parts)


@pytest.mark.parametrize(
    ("q", "name"),
    [
        (dist.Categorical(logits=jnp.zeros(10)), "enumeration"),
        (dist.Bernoulli(logits=jnp.zeros(6)).to_event(1), "enumeration"),
        (dist.Bernoulli(logits=jnp.zeros(20)).to_event(1), "disarm"),
        (dist.Categorical(logits=jnp.zeros((5, 10))), "leave-one-out"),
        (OneHotCategorical(jnp.zeros((5, 10))).to_event(1), "leave-one-out"),
        (dist.Poisson(2.0), "leave-one-out"),
        (dist.Normal(0.0, 1.0), "pathwise"),
        (dist.Uniform(0.0, 1.0), "pathwise"),
        (dist.Gamma(2.0, 1.0).expand([3]).to_event(1), "pathwise"),
        (mixture(2), "rao-blackwellized-mixture"),
        (mixture(2, (3,)), "mixture-index-score"),
        (mixture(100), "mixture-index-score"),
    ],
)
def test_automatic_choice(q, name):
    assert registry.part_name(type(assign(q, "auto")[0])) == name


def test_what_is_enumerated_depends_on_no_order_and_fits_a_budget():
    def names(q, num_samples=1):
        return [registry.part_name(type(part)) for part in assign(q, "auto", num_samples)]

    bits, coin, die = dist.Bernoulli(logits=jnp.zeros(4)), dist.Bernoulli(0.3), dist.Categorical(logits=jnp.zeros(3))
    assert names([bits, bits]) == ["disarm", "disarm"]
    assert names([bits, coin]) == names([coin, bits]) == ["enumeration", "enumeration"]
    assert names([bits, coin, die]) == names([coin, die, bits])[::-1][:1] + ["enumeration"] * 2
    assert names([die] * 3) == ["enumeration"] * 3
    # Six of three states each are too many together, and no three of them are better than the others.
    assert names([die] * 6, 100) == ["leave-one-out"] * 6
    # Other draws are repeated for every state: 16 times at most, or as often as there are at most 64 evaluations.
    normal = dist.Normal(0.0, 1.0)
    assert names([die] * 3 + [normal], 2) == ["enumeration"] * 3 + ["pathwise"]
    assert names([die] * 3 + [normal], 100) == ["leave-one-out"] * 3 + ["pathwise"]
    assert names([die, die, normal], 100) == ["enumeration"] * 2 + ["pathwise"]


def test_evaluations_stay_within_the_budget():
    calls = []

    def f(z):
        jax.debug.callback(lambda _: calls.append(1), z[0])
        return sum(z).astype(float)

    rx.expectation(f, [dist.Categorical(logits=jnp.zeros(3))] * 6, key=KEY, num_samples=10).block_until_ready()
    jax.effects_barrier()
    assert len(calls) == 10


@pytest.mark.parametrize(("count", "name"), [(1, "disarm"), (2, "disarm"), (3, "arms"), (64, "arms")])
def test_automatic_choice_for_bits_by_the_number_of_draws(count, name):
    q = dist.Bernoulli(logits=jnp.zeros(20)).to_event(1)
    assert registry.part_name(type(assign(q, "auto", count)[0])) == name
    by_name, by_itself = (
        rx.expectation(lambda b: jnp.mean(b.astype(float)) ** 2, q, key=KEY, num_samples=count, estimator=part)
        for part in (name, "auto")
    )
    assert by_name == by_itself


def test_nothing_is_valid_for_an_atom():
    with pytest.raises(InvalidEstimator, match="value of Delta"):
        check(ScoreFunction(), dist.Delta(0.3))
    assert valid_names(dist.Uniform(0.0, 1.0)) == ("antithetic", "boundary", "latin-hypercube", "pathwise", "sobol")


def test_explain():
    q = {"x": dist.Normal(0.0, 1.0), "b": dist.Bernoulli(logits=jnp.zeros(20))}
    lines = {(line.variable, line.parameter): line for line in rx.explain(q).lines}
    assert lines["x", "scale"].method == "location-scale"
    assert lines["x", "scale"].unbiased
    assert lines["b", "logits"].estimator == "disarm"
    assert "Dong" in lines["b", "logits"].reference
    shown = repr(rx.explain(q))
    assert "binary, with too many joint states" in shown
    assert "chosen by name" in str(rx.explain(q["b"], StraightThrough()))
    assert "NO: biased" in str(rx.explain(q["b"], "straight-through"))
    with pytest.raises(InvalidEstimator):
        rx.explain(q["x"], "disarm")


def test_every_part_declares_itself():
    for name in registry.names("estimators"):
        kind = registry.load("estimators", name)
        assert issubclass(kind, AbstractEstimator | AbstractBoundEstimator)
        assert kind.reference
        assert kind.valid_for
        assert isinstance(kind.unbiased, bool)


HALVES = dist.Categorical(jnp.array([0.5, 0.5]))
REFUSED = [
    (MeasureValued(), dist.Cauchy(0.0, 1.0), "weak derivative"),
    (ARSM(), dist.Poisson(1.0), "categorical"),
    (SumAndSample(), dist.Bernoulli(logits=jnp.zeros(40)), "joint states"),
    (RaoBlackwellizedMixture(), dist.Normal(0.0, 1.0), "not a mixture"),
    (RaoBlackwellizedMixture(), mixture(2, (3,)), "batch"),
    (RaoBlackwellizedMixture(maximum_components=1), mixture(2), "maximum_components"),
    (RaoBlackwellizedMixture(), dist.MixtureSameFamily(HALVES, dist.Poisson(jnp.ones(2))), "component"),
    (LinearCombination((Pathwise(), StraightThrough())), dist.Normal(0.0, 1.0), "StraightThrough"),
    (LinearCombination((StraightThrough(),)), dist.Bernoulli(0.3), "biased"),
]  # fmt: skip


@pytest.mark.parametrize(("estimator", "q", "reason"), REFUSED)
def test_refusals(estimator, q, reason):
    with pytest.raises(InvalidEstimator, match=reason):
        check(estimator, q)


@pytest.mark.parametrize("name", ["rebar", "relax", "gumbel-softmax"])
def test_integer_categories_cannot_be_relaxed(name):
    with pytest.raises(InvalidEstimator, match=r"OneHotCategorical|instance"):
        rx.expectation(lambda z: z, dist.Categorical(logits=jnp.zeros(3)), key=KEY, estimator=name)


@pytest.mark.parametrize("name", ["sobol", "antithetic", "latin-hypercube"])
def test_designed_noise_needs_a_quantile_function(name):
    with pytest.raises(InvalidEstimator, match="quantile"):
        rx.expectation(lambda z: z, dist.Gamma(2.0, 1.0), key=KEY, estimator=name)


def test_refused_where_it_is_differentiated():
    def gamma(concentration):
        return rx.expectation(lambda z: z, dist.Gamma(concentration, 1.0), key=KEY, estimator="measure-valued")

    assert jnp.isfinite(gamma(2.0))
    with pytest.raises(InvalidEstimator, match="concentration"):
        jax.grad(gamma)(2.0)


def test_arsm_wants_one_number_of_classes():
    q = [dist.Categorical(logits=jnp.zeros(3)), dist.Categorical(logits=jnp.zeros(4))]
    with pytest.raises(InvalidEstimator, match="classes"):
        rx.expectation(lambda z: z[0].astype(float), q, key=KEY, estimator="arsm")


def exp_cost(k):
    return lambda z: jnp.exp(-k * z**2)


def cos_cost(k):
    return lambda z: jnp.cos(k * z)


# The optimally-baselined score overtakes pathwise at k = 0.3580 and 0.7519 (exp), 1.0625 and 1.2806 (cos).
FLIPS = [(exp_cost, 0.25, 0.5, "loc"), (cos_cost, 0.9, 1.25, "loc")]
FLIPS_FULL = [(exp_cost, 0.33, 0.39, "loc"), (exp_cost, 0.7, 0.82, "scale"), (cos_cost, 1.0, 1.12, "loc"),
              (cos_cost, 1.2, 1.36, "scale")]  # fmt: skip


def check_flip(cost, below, above, parameter, num_samples, num_pilot):
    chosen = [
        rx.tune(cost(k), dist.Normal(1.0, 1.0), key=KEY, num_samples=num_samples, num_pilot=num_pilot,
                minimize=[parameter], estimators=["pathwise", OptimalBaseline()])
        for k in (below, above)
    ]  # fmt: skip
    assert [type(part) for part in chosen] == [Pathwise, OptimalBaseline]


@pytest.mark.parametrize(("cost", "below", "above", "parameter"), FLIPS)
def test_tune_flips_where_the_variances_cross(cost, below, above, parameter):
    check_flip(cost, below, above, parameter, 64, 1000)


@pytest.mark.full
@pytest.mark.parametrize(("cost", "below", "above", "parameter"), FLIPS_FULL)
def test_tune_flips_where_the_variances_cross_full(cost, below, above, parameter):
    check_flip(cost, below, above, parameter, 256, 20000)


def test_tune_of_a_pytree_gives_what_expectation_takes():
    q = {"x": dist.Normal(0.5, 1.0), "k": dist.Categorical(logits=jnp.zeros(3))}

    def f(z):
        return 0.1 * z["x"] + z["k"].astype(float) ** 2

    chosen = rx.tune(
        f, q, key=KEY, num_samples=2, num_pilot=200, estimators=["pathwise", "enumeration", "score-function"]
    )
    assert isinstance(chosen["x"], Pathwise)
    assert isinstance(chosen["k"], Enumeration)
    assert jnp.isfinite(rx.expectation(f, q, key=KEY, estimator=chosen))


def test_tune_refusals():
    q = dist.Normal(0.0, 1.0)
    with pytest.raises(InvalidEstimator, match="candidate"):
        rx.tune(jnp.sin, q, key=KEY, estimators=["enumeration"])
    with pytest.raises(InvalidEstimator, match="candidate"):
        rx.tune(lambda z: z, dist.Bernoulli(0.3), key=KEY, estimators=["straight-through"])
    with pytest.raises(InvalidEstimator, match="one real number"):
        rx.tune(lambda z: jnp.stack([z, z]), q, key=KEY)
    with pytest.raises(InvalidEstimator, match="loc, scale"):
        rx.tune(jnp.sin, q, key=KEY, num_pilot=8, estimators=["pathwise"], minimize=["mean"])


def test_tune_leaves_out_what_f_cannot_take():
    """REBAR would hand f values between the indices of its table."""
    table = jnp.array([0.3, -1.0])
    chosen = rx.tune(
        lambda z: table[z], dist.Bernoulli(logits=0.2), key=KEY, num_pilot=100, estimators=["rebar", "disarm"]
    )
    assert registry.part_name(type(chosen)) == "disarm"


def test_selection_adds_no_bias():
    """Frozen on pilot draws, the choice is a constant for later draws: the same estimator, the same gradient."""
    q = dist.Normal(1.0, 1.0)
    chosen = rx.tune(jnp.sin, q, key=KEY, num_pilot=100, estimators=["pathwise", "leave-one-out"])
    named = rx.expectation(jnp.sin, q, key=KEY, num_samples=2, estimator="pathwise")
    np.testing.assert_array_equal(rx.expectation(jnp.sin, q, key=KEY, num_samples=2, estimator=chosen), named)
