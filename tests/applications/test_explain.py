"""explain of models: the posterior's estimator, and whether the KL is in closed form."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.data import read
from reparax.errors import InvalidEstimator, RecipeError
from reparax.estimators import StickingTheLanding
from reparax.recipe import FittedModel, build, suggest


@pytest.fixture(scope="module")
def schema():
    return read("builtin:iris").schema


def model_of(schema, **chosen):
    return build(suggest(schema, 100, latent_dim=8, **chosen), schema, key=jax.random.key(0))


def test_a_model_with_an_analytic_kl_says_so(schema):
    lines = rx.explain(model_of(schema), example=jnp.zeros(4)).lines
    assert [line.parameter for line in lines[:2]] == ["loc", "scale"]
    assert {line.estimator for line in lines[:2]} == {"pathwise"}
    assert (lines[-1].variable, lines[-1].method) == ("KL", "closed form")


def test_a_model_without_one_says_that_it_is_estimated(schema):
    lines = rx.explain(model_of(schema, prior="normal-mixture"), example=jnp.zeros(4)).lines
    assert (lines[-1].variable, lines[-1].method, lines[-1].estimator) == ("KL", "estimated", "pathwise")


@pytest.mark.parametrize(
    ("chosen", "method", "why"),
    [
        ({"estimator": "sticking-the-landing"}, "pathwise, of the bound", "through z alone"),
        ({"objective": "iwae", "estimator": "doubly-reparameterized"}, "pathwise, of the bound", "importance weight"),
        (
            {"objective": "iwae", "estimator": "vimco", "posterior": "bernoulli"},
            "score function, of the bound",
            "weight",
        ),
        ({"objective": "iwae"}, "location-scale", "importance weight"),
    ],
)
def test_estimators_of_bounds_have_no_kl_in_closed_form(schema, chosen, method, why):
    recipe = suggest(schema, 100, latent_dim=8, **chosen)
    lines = rx.explain(FittedModel(build(recipe, schema, key=jax.random.key(0)), schema, recipe)).lines
    assert all(line.method.startswith(method) for line in lines[:-1])
    assert all(line.unbiased for line in lines)
    assert (lines[-1].variable, lines[-1].method) == ("KL", "estimated")
    assert why in lines[-1].why


@pytest.mark.parametrize("wish", [StickingTheLanding(), {"z": "sticking-the-landing"}, {"z": "pathwise"}])
def test_estimators_of_a_model_may_be_instances_or_by_variable(schema, wish):
    kl = rx.explain(model_of(schema), wish, example=jnp.zeros(4)).lines[-1]
    assert kl.method == ("closed form" if wish == {"z": "pathwise"} else "estimated")


def test_an_estimator_of_bounds_that_would_be_wrong_is_refused(schema):
    with pytest.raises(InvalidEstimator, match="StickingTheLanding to be used for reparameterizable"):
        rx.explain(model_of(schema, posterior="bernoulli"), "sticking-the-landing", example=jnp.zeros(4))


def test_bits_are_not_reparameterized(schema):
    lines = rx.explain(model_of(schema, posterior="bernoulli"), example=jnp.zeros(4)).lines
    assert lines[0].estimator == "disarm"
    assert lines[0].unbiased


def test_a_biased_estimator_is_named_as_such(schema):
    text = str(rx.explain(model_of(schema, posterior="categorical"), "straight-through", example=jnp.zeros(4)))
    assert "NO: biased" in text


def test_the_deterministic_posterior_needs_no_estimator(schema):
    (line,) = rx.explain(model_of(schema, objective="reconstruction"), example=jnp.zeros(4)).lines
    assert line.method == "deterministic"


def test_a_model_needs_an_example(schema):
    with pytest.raises(RecipeError, match="an example to explain a model"):
        rx.explain(model_of(schema))


def test_a_distribution_is_explained_as_before():
    assert rx.explain(dist.Gamma(1.0, 2.0)).lines[0].method == "implicit"
