"""What if a cell of a relation is unknown: its distribution, beside a sum over all values and over z."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.explorer import load
from reparax.explorer.messages import WhatIf

GRID = jnp.linspace(-5, 5, 101)
COLUMNS = ("a", "b", "total", "late", "end", "group")


def table():
    """A total of two counts that depend on one hidden number, an end after its beginning, and a group."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=400)
    first, second = rng.poisson(np.exp(1 + 0.8 * hidden)), rng.poisson(np.exp(1 - 0.8 * hidden))
    begun = rng.poisson(6 + 2 * np.tanh(hidden))
    group = np.where(hidden + 0.5 * rng.normal(size=400) > 0, "high", "low")
    values = (first, second, first + second, begun, begun + rng.poisson(np.exp(0.5 - 0.5 * hidden)), group)
    return pl.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def explored(frame, schema, epochs):
    fitted = rx.fit(
        rx.read(frame, schema=schema), latent_dim=1, prior="standard-normal", width=16, depth=1, epochs=epochs,
        learning_rate=0.01, seed=0, relations="stated", hide=0.5,
    )  # fmt: skip
    return load(fitted, frame, "rows")


@pytest.fixture(scope="module")
def small():
    return explored(table().select(COLUMNS[:3]), {"total": {"sum": ["a", "b"]}}, 2)


@pytest.fixture(scope="module")
def explorer():
    return explored(table(), {"total": {"sum": ["a", "b"]}, "end": {"after": "late"}}, 40)


@eqx.filter_jit
def sums(model, stored):
    """p(row) of complete rows, by a sum over z."""
    prior = model.prior(model.posterior)

    def of_z(z):
        row = model.likelihood(z[None])
        return jnp.exp(prior.log_prob(z[None]) + jax.vmap(row.log_prob_of_cells)(stored))

    return jnp.sum(jax.lax.map(of_z, GRID), axis=0)


def listed(fitted, known):
    """All rows that agree with some cells, and their probabilities given these."""
    columns = fitted.schema.columns
    names = [column.name for column in columns]
    follows = {"total"} - set(known)  # from any values of the others
    ranges = [np.arange(column.low, column.high + 1) for column in columns]
    values = [
        [known[name]] if name in known else [0.0] if name in follows else each
        for name, each in zip(names, ranges, strict=True)
    ]
    rows = np.stack([axis.ravel() for axis in np.meshgrid(*values, indexing="ij")], axis=1).astype(np.float64)
    total = rows[:, 0] + rows[:, 1]
    rows[:, 2] = total if follows else rows[:, 2]
    rows = rows[rows[:, 2] == total]
    rows = rows[rows[:, 4] >= rows[:, 3]] if "end" in names else rows
    padded = np.resize(fitted.units.stored(rows), (-(-len(rows) // 4096) * 4096, fitted.units.summary.size))
    weights = np.asarray(sums(fitted.model, jnp.asarray(padded, jnp.float32)), np.float64)[: len(rows)]
    return rows, weights / weights.sum()


def distributions(explorer, cells):
    questions = explorer._operations[WhatIf].__self__
    return questions.distributions(rx.applications.dataset_of(questions.subject.fitted, questions.changed(None, cells)))


# Two parents are missing, of a row without and with others; one; one of which the child is not all that is known.
CASES = [
    {"total": 5, "late": 7, "end": 9},
    {"total": 12, "late": 4, "end": 9, "group": 0},
    {"total": 6, "b": 2, "late": 7, "end": 9, "group": 1},
    {"a": 2, "b": 3, "total": 5, "end": 9, "group": 0},
    {"total": 5, "end": 12},
]


def check(explorer, known):
    """The distribution of each cell given the others that are known, beside the sum."""
    fitted = explorer.subject.fitted
    columns = fitted.schema.columns
    texts = {name: columns[5].categories[value] if name == "group" else str(value) for name, value in known.items()}
    for place, (column, entry) in enumerate(zip(columns, distributions(explorer, texts), strict=True)):
        rows, weights = listed(fitted, {key: value for key, value in known.items() if key != column.name})
        assert entry["effective_draws"] > 50
        if column.is_category:
            got = {float(column.categories.index(each["name"])): each["p"] for each in entry["categories"]}
        else:
            x, y = (np.asarray(entry["density"][axis]) for axis in "xy")
            got = dict(zip(x.tolist(), (y * entry["density"]["step"]).tolist(), strict=True))
        # Draws of z have unequal weights, so that the errors of rare values are far from Normal: sums of them are not.
        value = np.unique(rows[:, place])
        errors = np.cumsum([got.get(each, 0.0) - weights @ (rows[:, place] == each) for each in value.tolist()])
        assert np.abs(errors).max() < 2 / np.sqrt(entry["effective_draws"]) + 2e-3, column.name


@pytest.mark.parametrize("known", [{"total": 5}, pytest.param({"total": 12, "b": 3}, marks=pytest.mark.full)])
def test_parents_have_the_distribution_given_their_child(small, known):
    check(small, known)


def test_what_follows_from_nothing_is_said_in_words(small):
    first, _, total = distributions(small, {"total": "5000"})
    assert first["text"] == "none was found that gives total=5000"
    assert "density" not in first
    assert first["uncertain"]
    assert "density" in total


@pytest.mark.full
@pytest.mark.parametrize("known", CASES)
def test_cells_have_the_distribution_given_all_others(explorer, known):
    check(explorer, known)


@pytest.mark.full
def test_they_are_those_of_multiple_imputation(explorer):
    """The frequencies of `impute_draws`, which proposes z from the encoder of the same row alone."""
    fitted = explorer.subject.fitted
    questions = explorer._operations[WhatIf].__self__
    cells = {"total": "6", "late": "7", "end": "9", "group": "high"}
    data = rx.applications.dataset_of(fitted, questions.changed(None, cells))
    (entry, *_) = questions.distributions(data)
    tables = rx.impute_draws(fitted, replace(data, frame_kind="polars"), 400, num_samples=4000)
    drawn = np.asarray([table["a"][0] for table in tables])
    for x, y in zip(entry["density"]["x"], entry["density"]["y"], strict=True):
        assert abs(y - np.mean(drawn == x)) < 5 * np.sqrt(y * (1 - y) * (1 / 400 + 1 / entry["effective_draws"])) + 3e-3
