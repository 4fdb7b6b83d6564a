"""explain of models: the posterior's estimator, and whether the KL is in closed form."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.data import read
from reparax.errors import RecipeError
from reparax.recipe import build, suggest


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
