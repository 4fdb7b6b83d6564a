"""The estimators' parameters say what the recipe and its parts say, in the same words."""

import inspect
import re

import pytest

import reparax as rx
from reparax import registry

DESCRIBED = {field.name: field.text for field in registry.recipe_fields()} | {
    option.name: option.text
    for room, name in (("objectives", "elbo"), ("priors", "normal-mixture"))
    for option in registry.options(room, name)
}
DESCRIBED["gradient_estimator"] = DESCRIBED["estimator"]
DIFFERENT = {rx.VAE: set(), rx.AnomalyDetector: {"valid"}}


def described(kind) -> dict[str, str]:
    section = inspect.getdoc(kind).split("\nArgs:\n")[1].split("\nAttributes:\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


@pytest.mark.parametrize("kind", [rx.VAE, rx.AnomalyDetector])
def test_parameters_are_those_that_are_described_in_the_words_of_the_recipe(kind):
    texts = described(kind)
    assert set(texts) == set(inspect.signature(kind).parameters)
    for name in set(texts) & set(DESCRIBED) - DIFFERENT[kind]:
        assert texts[name] == DESCRIBED[name], name


def test_the_autoencoder_has_every_field_of_a_recipe():
    fields = {field.name for field in registry.recipe_fields()}
    assert fields - set(inspect.signature(rx.VAE).parameters) == {"binarize", "context_dim", "seed"}
