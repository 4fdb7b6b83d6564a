"""Untrained models of every part, and inputs for their functions."""

from dataclasses import dataclass
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax import registry
from reparax.applications._rows_of_fit import related_rows, with_given_numbers
from reparax.data import formulas_of, split
from reparax.data.relations import Extension, Implied, Linear, Lookup, Product, Relation
from reparax.errors import RecipeError
from reparax.exports._functions import _noise_base, functions_of
from reparax.recipe import FittedModel, build
from reparax.summary import Column

ROWS = 6
RNG = np.random.default_rng(0)
ARRAY = RNG.normal(size=(40, 3)).astype(np.float32)
IMAGES = RNG.integers(0, 17, (40, 8, 8)).astype(np.float64)
TABLE = pl.DataFrame(
    {
        "a": RNG.normal(size=60),
        "kind": RNG.choice(list("xyz"), 60),
        "count": RNG.poisson(2, 60),
        "day": pl.Series(RNG.integers(19_000, 19_400, 60)).cast(pl.Int32).cast(pl.Date),
        "gappy": [None if gap else value for gap, value in zip(RNG.random(60) < 0.3, RNG.normal(size=60), strict=True)],
    }
)
DATA_OF = {
    "bernoulli": (ARRAY > 0).astype(np.float32),
    "categorical": RNG.integers(0, 3, (40, 3)),
    "columns": TABLE,
    "continuous-bernoulli": 1 / (1 + np.exp(-ARRAY)),
    "discretized-logistic": IMAGES,
    "discretized-logistic-mixture": RNG.integers(0, 17, (40, 8, 8, 3)),
    "negative-binomial": RNG.poisson(3, (40, 3)),
    "poisson": RNG.poisson(3, (40, 3)),
    "zero-inflated-negative-binomial": RNG.poisson(1, (40, 3)),
    "zero-inflated-poisson": RNG.poisson(1, (40, 3)),
}
"""Data for which a likelihood has a density; real numbers for any other."""


@pytest.fixture(autouse=True)
def _settings_of_a_user():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@dataclass(frozen=True)
class Made:
    """An untrained model, some of its data, and its functions."""

    fitted: FittedModel
    rows: np.ndarray
    functions: dict


def made(data, num_samples=4, given=(), context=None, **chosen):
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        dataset = rx.read(data, given=given, context=context)
        small = {"width": 6, "depth": 1, "latent_dim": 2, "relations": "none"}
        recipe = rx.plan(dataset, **(small | chosen))
        part, _ = with_given_numbers(*split(related_rows(dataset, recipe), recipe.valid, recipe.seed))
        fitted = FittedModel(build(recipe, part.schema, key=jax.random.key(0)), part.schema, recipe)
        functions = {each.name: each for each in functions_of(fitted, num_samples)}
        return Made(fitted, fitted.units.stored(dataset.values[:ROWS]).astype(np.float32), functions)


def made_with(room, name):
    """A model with some part."""
    if room == "likelihoods":
        return made(DATA_OF.get(name, ARRAY), likelihood=name)
    if room == "networks":
        return made(IMAGES, network=name, likelihood="normal")
    without = {"objective": "reconstruction"}
    if room == "posteriors":
        return made(ARRAY, posterior=name, likelihood="normal", **(without if name == "deterministic" else {}))
    for posterior in ("diagonal-normal", *registry.names("posteriors")):
        try:
            more = without if posterior == "deterministic" else {}
            return made(ARRAY, prior=name, posterior=posterior, likelihood="normal", **more)
        except RecipeError:
            continue
    raise AssertionError(name)


def inputs_of(made, name):
    """Inputs of a function: rows of the data, draws of z from the prior, noise as it says."""
    values = {}
    model, rng = made.fitted.model, np.random.default_rng(3)
    for port in made.functions[name].inputs:
        shape = (ROWS, *port.shape)
        if port.name == "x":
            values["x"] = made.rows
        elif port.name == "z":
            keys = jax.random.split(jax.random.key(2), ROWS)
            values["z"] = np.asarray(jax.vmap(model.prior(model.posterior).sample)(keys), np.float32).reshape(shape)
        elif port.name == "noise" and "base" not in port.text:
            values["noise"] = rng.normal(size=shape).astype(np.float32)
        elif port.name == "noise":

            def drawn(x, key, count=port.shape[0]):
                return _noise_base(model.posterior(x))[0].sample(key, (count,))

            keys = jax.random.split(jax.random.key(1), ROWS)
            values["noise"] = np.asarray(jax.vmap(drawn)(jnp.asarray(made.rows), keys), np.float32).reshape(shape)
        else:
            values[port.name] = rng.normal(size=shape).astype(np.float32)
    return values


def outputs_of(made, name, values):
    """What the function gives in JAX, in one batch."""
    function = made.functions[name]
    given = [jnp.asarray(values[port.name]) for port in function.inputs]
    return {key: np.asarray(value) for key, value in jax.jit(jax.vmap(function.call))(*given).items()}


def assert_same(found, wanted, tolerance=1e-5):
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        assert found[key].shape == value.shape, key
        np.testing.assert_allclose(found[key], value, rtol=tolerance, atol=tolerance, err_msg=key)


def any_relations(step):
    """Columns with relations of every form, as they are exported, the map of their rows, and rows with gaps and ties.

    The numbers that follow from others are multiples of the step, or have none for a step of 0.
    """
    rng = np.random.default_rng(7)
    described = {"dtype": "float64", "low": 0.0, "high": 1.0, "mean": 0.0, "std": 1.0, "spread": 1.0}
    codes = {"kind": "categorical", "dtype": "string", "low": 0.0, "high": 3.0, "mean": 0.0, "std": 1.0, "spread": 1.0}
    names = {name: tuple(f"{name}{place}" for place in range(4)) for name in ("city", "state")}
    columns = [
        Column(name=name, kind="continuous", step=0.0 if name in "ab" else step, **described)
        for name in ("a", "b", "sum", "area", "fare")
    ]
    columns += [
        Column(name=name, categories=each, category_fractions=(0.25,) * 4, **codes) for name, each in names.items()
    ]
    forms = {
        "sum": (("a", "b"), Linear((1.5, -2.0), 0.25)),
        "area": (("sum", "b"), Product((1.0, -1.0), 3.0)),
        "fare": (("city",), Lookup((2.5, None, -1e6, 0.125))),
        "state": (("city",), Implied((1, 0, None, 1))),
    }
    relations = [
        Relation(child=child, parents=parents, form=form, rule="near", remainder=columns[0])
        for child, (parents, form) in forms.items()
    ]
    extension = Extension.of(columns, relations[::-1])
    rows = rng.normal(size=(400, 7)) * 10.0 ** rng.integers(-3, 7, (400, 1))
    rows[:, 5:] = rng.integers(0, 4, (400, 2))
    rows[100:300, :5] = rng.integers(-20, 20, (200, 5)) / 4  # ties between multiples of a step
    exact = extension.collapsed(np.concatenate([rows, np.zeros((400, 4))], axis=1))
    rows = np.where((np.arange(400) % 3 == 0)[:, None], exact, rows)
    rows[:, :5] *= np.where(np.arange(400) % 6 == 0, 1 + 2e-7, 1.0)[:, None]  # as float32 rounds
    rows[rng.random(rows.shape) < 0.1] = np.nan
    described = formulas_of(SimpleNamespace(extension=extension, columns=tuple(columns)))
    about = {"columns": [{"name": column.name, "offset": 0.0} for column in columns], "relations": described}
    return about, extension, rows
