"""The estimators' parameters: every setting that a fit of a table has, in the words of the recipe and its parts."""

import inspect
import re

import pytest
from sklearn.base import clone

import reparax as rx
from reparax import registry
from reparax.recipe import Recipe, Settings, TableSettings
from reparax.sklearn._settings import SETTINGS

DESCRIBED = {field.name: field.text for field in registry.recipe_fields()}
# Private fits differ each time, and estimators of scikit-learn must not.
NOT_OF_TABLES = {"binarize", "context_dim", "dp", "dp_delta", "clip_norm"}
NAMED_OTHERWISE = {"seed": "random_state", "estimator": "gradient_estimator"}

each = pytest.mark.parametrize("kind", [rx.VAE, rx.AnomalyDetector])


def described(kind) -> dict[str, str]:
    section = inspect.getdoc(kind).split("\nArgs:\n")[1].split("\nAttributes:\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


@each
def test_parameters_are_those_that_are_described_in_the_words_of_the_recipe(kind):
    texts = described(kind)
    assert set(texts) == set(inspect.signature(kind).parameters) == set(kind().get_params())
    assert "**settings" not in inspect.getdoc(kind)
    for name in set(texts) & set(DESCRIBED):
        assert texts[name] == DESCRIBED[name], name


@each
def test_options_of_parts_are_described_in_the_words_of_the_parts(kind):
    texts = described(kind)
    for name, room, part in (
        ("beta", "objectives", "elbo"),
        ("num_samples", "objectives", "iwae"),
        ("gradient_estimator", "objectives", "elbo"),
        ("num_components", "priors", "vamp"),
        ("num_classes", "posteriors", "categorical"),
    ):
        options = {option.name: option for option in registry.options(room, part)}
        option = options["estimator" if name == "gradient_estimator" else name]
        assert part in texts[name]
        assert f"{option.text.rstrip('.')} (default: {option.default})" in texts[name]


def test_every_setting_of_a_table_is_a_parameter():
    fields = {field.name for field in registry.recipe_fields()}
    assert fields - set(SETTINGS) == NOT_OF_TABLES | {"seed"}
    assert set(Settings.__annotations__) - set(SETTINGS) == NOT_OF_TABLES | set(NAMED_OTHERWISE) | {"views"}
    assert set(SETTINGS) - set(TableSettings.__annotations__) == {"objective", "gradient_estimator"}
    assert set(inspect.signature(Recipe).parameters) == fields


@each
def test_parameters_are_kept_as_given(kind):
    settings = {"latent_dim": 3, "prior": {"name": "vamp", "num_components": 5}, "gradient_estimator": "pathwise"}
    estimator = kind(**settings, exclude=["a"], trim=None)
    expected = {name: value.default for name, value in inspect.signature(kind).parameters.items()}
    expected |= settings | {"exclude": ["a"], "trim": None}
    assert estimator.get_params() == clone(estimator).get_params() == expected
    assert kind().trim == (0.1 if kind is rx.AnomalyDetector else None)


@each
def test_an_unknown_parameter_is_named(kind):
    with pytest.raises(TypeError, match=rf"{kind.__name__}\(\) got an unexpected keyword argument 'latent_dimm'"):
        kind(latent_dimm=3)
    with pytest.raises(ValueError, match="Invalid parameter 'latent_dimm'"):
        kind().set_params(latent_dimm=3)
