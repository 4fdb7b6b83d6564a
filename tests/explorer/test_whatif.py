"""Conditional distributions beside quadrature over z, imputation beside `impute`, and scores beside `score`."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.data import cell_text
from reparax.explorer import load, messages
from reparax.explorer.cells import step_of
from reparax.explorer.conditional import Conditional
from reparax.explorer.explorer import Explorer
from reparax.explorer.messages import WhatIf
from reparax.explorer.whatif import Questions

from .conftest import HOSTILE

GRID = jnp.linspace(-9, 9, 2001)
MOST_POINTS = 128


@eqx.filter_jit
def weighted_sums(model, hidden, points):
    """The sums over a fine grid of the only latent number that give p(x_j | the other cells) at points x_j."""
    prior = model.prior(model.posterior)

    def of_z(z):
        row = model.likelihood(z[None])
        at = jax.vmap(row.log_prob_of_columns)(points)
        return prior.log_prob(z[None]) + jax.vmap(row.log_prob_of_cells)(hidden), jnp.exp(at)

    log_weights, at = jax.lax.map(of_z, GRID, batch_size=64)
    return jnp.einsum("zj,zgj->gj", jax.nn.softmax(log_weights, axis=0), at)


def quadrature(fitted, stored, points):
    """p(x_j | x_-j) of each column j at some points, by a sum over z."""
    size = len(stored)
    hidden = np.where(np.eye(size, dtype=bool), np.nan, stored).astype(np.float32)
    padded = np.full((MOST_POINTS, size), np.nan, np.float32)
    for place, each in enumerate(points):
        padded[: len(each), place] = each
    found = np.asarray(weighted_sums(fitted.model, jnp.asarray(hidden), jnp.asarray(padded)))
    return [found[: len(each), place] for place, each in enumerate(points)]


def points_of(column, shown, offset):
    """Where a page shows the distribution of a column: at points of its density, and at spikes; as the model counts."""
    if column.is_category:
        return np.arange(len(column.categories))
    return np.asarray([*shown["density"]["x"], *(spike["x"] for spike in shown.get("spikes", []))]) - offset


def stored_of(explorer, index, cells):
    questions = explorer._operations[messages.WhatIf].__self__
    data = rx.applications.dataset_of(explorer.subject.fitted, questions.changed(index, cells))
    return data, np.asarray(explorer.subject.fitted.units.stored(data.values), np.float32)[0]


CHANGES = [
    (3, {}),
    (5, {"height": "1.5"}),
    (7, {"height": None, HOSTILE: "=yes"}),
    (None, {"count": "4"}),
    (11, {"height": "-2.5", "amount": "40", "day": "2024-06-01"}),  # a row that does not fit together
]


@pytest.mark.parametrize(("index", "cells"), CHANGES)
def test_conditional_distributions_are_those_of_quadrature(explorer, index, cells):
    fitted = explorer.subject.fitted
    answer = explorer.answer(WhatIf(id=1, index=index, cells=cells)).fields
    _, stored = stored_of(explorer, index, cells)
    offset = explorer.things.columns.offset
    columns = fitted.schema.columns
    points = [points_of(*each) for each in zip(columns, answer["columns"], offset, strict=True)]
    for column, shown, wanted in zip(columns, answer["columns"], quadrature(fitted, stored, points), strict=True):
        assert shown["name"] == column.name
        effective = shown["effective_draws"]
        assert effective > 100, column.name
        if column.is_category:
            named = dict(zip((str(each) for each in column.categories), wanted, strict=True))
            for each in shown["categories"]:
                p = named[each["name"]]
                assert abs(each["p"] - p) <= 5 * np.sqrt(p * (1 - p) / effective) + 1e-3
            continue
        x, y = (np.asarray(shown["density"][axis]) for axis in "xy")
        wanted, at_spikes = np.split(wanted, [len(x)])
        inside = wanted > 0.05 * wanted.max()
        # Each mean is one of p(x_j | z), which hardly varies more than by the height of the density.
        assert np.abs(y - wanted)[inside].max() <= 5 * wanted.max() / np.sqrt(effective), column.name
        spikes = shown.get("spikes", [])
        if "step" in shown["density"]:
            total = float(y.sum() * shown["density"]["step"])
        else:  # the density jumps at knots of the column's transform, between which there are few points
            total = float(np.trapezoid(y, x)) + sum(spike["p"] for spike in spikes)
        assert 0.8 < total < 1.2, (column.name, total)
        for spike, p in zip(spikes, at_spikes * (step_of(column) or 1.0), strict=True):
            assert abs(spike["p"] - p) <= 5 * np.sqrt(p * (1 - p) / effective) + 2e-3


@pytest.mark.full
def test_conditional_distributions_are_those_of_multiple_imputation(explorer, rows):
    """The frequencies of `impute_draws`, which proposes z from the encoder of the same row alone."""
    fitted = explorer.subject.fitted
    shown = explorer.answer(WhatIf(id=1, index=9, cells={"height": None, HOSTILE: None})).fields["columns"]
    data, _ = stored_of(explorer, 9, {"height": None, HOSTILE: None})
    drawn = rx.impute_draws(fitted, replace(data, frame_kind="polars"), 400, num_samples=400, seed=3)
    heights = np.asarray([frame["height"][0] for frame in drawn])
    x, y = (np.asarray(shown[0]["density"][axis]) for axis in "xy")
    mean = float(np.trapezoid(y * x, x) / np.trapezoid(y, x))
    assert abs(mean - heights.mean()) < 5 * heights.std() * np.sqrt(1 / 400 + 1 / shown[0]["effective_draws"])
    yes = np.mean([frame[HOSTILE][0] == "=yes" for frame in drawn])
    p = next(each["p"] for each in shown[1]["categories"] if each["name"] == "=yes")
    assert abs(p - yes) < 5 * np.sqrt(0.25 / 400)


def test_score_code_and_imputation_are_those_of_the_functions(explorer, rows):
    fitted = explorer.subject.fitted
    answer = explorer.answer(WhatIf(id=1, index=4, cells={"height": "2.25", "weight": None})).fields
    changed = rows[4:5].with_columns(height=pl.lit(2.25), weight=pl.lit(None, pl.Float64))
    scores = rx.score(fitted, changed, at_once=16)
    np.testing.assert_allclose(answer["score"], scores.anomaly_score[0], rtol=1e-5)
    np.testing.assert_allclose(answer["log_density"], scores.log_density[0], rtol=1e-5)
    np.testing.assert_allclose([each["share"] for each in answer["shares"]], scores.shares[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer["code"], rx.encode(fitted, changed)[0], rtol=1e-5)
    assert list(answer["imputed"]) == ["weight"]
    np.testing.assert_allclose(
        float(answer["imputed"]["weight"]), rx.impute(fitted, changed, at_once=16)["weight"][0], rtol=1e-4
    )


def test_a_row_without_any_cell_has_the_distribution_of_draws(explorer):
    shown = explorer.answer(WhatIf(id=1)).fields["columns"]
    drawn = rx.sample(explorer.subject.fitted, 4000, key=jax.random.key(1), like="polars")
    yes = (drawn[HOSTILE] == "=yes").mean()
    p = next(each["p"] for each in shown[1]["categories"] if each["name"] == "=yes")
    assert abs(p - yes) < 5 * np.sqrt(0.25 / 4000 + 0.25 / shown[1]["effective_draws"])


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"height": "tall"}, "a number for column 'height'"),
        ({HOSTILE: "maybe"}, "a value of column"),
        ({"day": "yesterday"}, "a date for column 'day'"),
        ({"moon": "1"}, "columns of the model"),
        ({"height": "nan"}, "a number for column 'height'"),
    ],
)
def test_wrong_cells_are_refused_in_words(explorer, cells, words):
    with pytest.raises(rx.errors.DataError, match=words):
        explorer.answer(WhatIf(id=1, index=0, cells=cells))


@pytest.mark.full
def test_an_ensemble_gives_the_mean_of_its_members(rows):
    fitted = rx.fit(
        rows, latent_dim=1, prior="standard-normal", width=4, depth=1, epochs=1, ensemble=2, relations="none"
    )
    both = load(fitted, rows, "").answer(WhatIf(id=1, index=2)).fields
    alone = [Explorer(load(member, rows, "").subject).answer(WhatIf(id=1, index=2)).fields for member in fitted.members]
    for place, shown in enumerate(both["columns"]):
        for each in shown.get("categories", []):
            parts = [
                next(other["p"] for other in one["columns"][place]["categories"] if other["name"] == each["name"])
                for one in alone
            ]
            np.testing.assert_allclose(each["p"], np.mean(parts), rtol=1e-5)
    np.testing.assert_allclose(both["score"], np.mean([one["score"] for one in alone]), rtol=1e-5)


@pytest.mark.full
def test_relations_between_columns_hold_in_what_is_shown():
    """In a table with a column that is the sum of two others, its conditional distribution is where the sum is."""
    rng = np.random.default_rng(2)
    frame = pl.DataFrame({"fare": np.round(rng.gamma(4, 3, 200), 2), "tip": np.round(rng.gamma(2, 1, 200), 2)})
    frame = frame.with_columns(
        total=(pl.col("fare") + pl.col("tip")).round(2), zone=pl.Series(rng.choice(["a", "b"], 200))
    )
    frame = frame.with_columns(borough=pl.col("zone").replace_strict({"a": "A", "b": "B"}))
    fitted = rx.fit(frame, latent_dim=2, width=8, depth=1, epochs=2)
    assert fitted.schema.relations
    explorer = load(fitted, frame, "")
    shown = {each["name"]: each for each in explorer.answer(WhatIf(id=1, index=3)).fields["columns"]}
    row = frame.row(3, named=True)
    linked = {name for relation in fitted.schema.relations for name in (relation.child, *relation.parents)}
    assert "total" in linked
    x, y = (np.asarray(shown["total"]["density"][axis]) for axis in "xy")
    assert abs(float((x * y).sum() / y.sum()) - row["total"]) < 0.05
    assert abs(float(shown["total"]["text"]) - row["total"]) < 0.05
    if "borough" in linked:
        assert shown["borough"]["categories"][0]["name"] == row["borough"]
        assert shown["borough"]["categories"][0]["p"] > 0.99
    decoded = explorer.answer(messages.Decode(id=1, z=[0.3, -0.2])).fields["columns"]
    values = {each["name"]: each["text"] for each in decoded}
    assert abs(float(values["fare"]) + float(values["tip"]) - float(values["total"])) < 0.02


@pytest.mark.full
def test_proposals_of_each_column_alone_have_the_same_distributions(explorer):
    """As for posteriors whose density is known at their own draws only."""
    questions = Questions(explorer.subject, explorer.things.columns, explorer.scoring)
    questions._conditional = Conditional(pools=False, num_cells=6)
    data, stored = stored_of(explorer, 1, {})
    shown = questions.distributions(data)[1]
    categories = explorer.subject.fitted.schema.columns[1].categories
    points = [np.arange(len(categories) * (place == 1)) for place in range(len(stored))]
    named = dict(zip(categories, quadrature(explorer.subject.fitted, stored, points)[1], strict=True))
    for each in shown["categories"]:
        assert abs(each["p"] - named[each["name"]]) <= 5 * np.sqrt(0.25 / shown["effective_draws"]) + 1e-3


def test_the_text_of_a_number_is_its_expectation(explorer):
    for shown, column in zip(
        explorer.answer(WhatIf(id=1, index=3)).fields["columns"], explorer.subject.fitted.schema.columns, strict=True
    ):
        if column.name == "height":
            x, y = (np.asarray(shown["density"][axis]) for axis in "xy")
            mean = float(np.trapezoid(x * y, x) / np.trapezoid(y, x))
            assert abs(float(shown["text"]) - mean) < 0.1
            assert shown["text"] == cell_text(column, float(shown["text"]))
