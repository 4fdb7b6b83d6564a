"""The numbers of a page against scipy, scikit-learn and closed forms."""

import html
import json
import re

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

import reparax as rx
from reparax.applications import encode, encode_std, known_by
from reparax.data import split
from reparax.recipe import suggest
from reparax.reports import Origin, Study, study_of
from reparax.reports.charts import FONT, Scale, curves, ems, histograms, nats, number
from reparax.reports.overview import _option_words, chosen_fields, reproduce
from reparax.reports.study import (
    association,
    distance,
    expected_distance,
    largest_correlations,
    principal_components,
    quality,
)
from reparax.summary import Column

NUMBER = Column(name="x", kind="continuous", dtype="float64", low=0, high=1, mean=0, std=1, spread=1)
CATEGORY = Column(
    name="c",
    kind="categorical",
    dtype="string",
    low=0,
    high=3,
    mean=0,
    std=1,
    spread=1,
    categories=("a", "b", "c", "d"),
)


def test_distances():
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=300), np.append(rng.normal(0.3, 1, 500), np.nan)
    assert distance(real, made[:-1], NUMBER) == pytest.approx(stats.ks_2samp(real, made[:-1]).statistic, abs=1e-12)
    ends = (stats.ks_2samp(real, np.nan_to_num(made, nan=end)).statistic for end in (-99.0, 99.0))
    assert distance(real, made, NUMBER) == pytest.approx(max(ends), abs=1e-12)
    codes = np.asarray([0.0, 0, 1, 1, 2, np.nan]), np.asarray([0.0, 1, 1, 1, 4, 4])  # 4: never seen
    assert distance(*codes, CATEGORY) == pytest.approx(0.5 * (1 / 6 + 1 / 6 + 1 / 6 + 1 / 3 + 1 / 6))
    assert distance(np.full(3, np.nan), real, NUMBER) == 1.0
    assert np.isnan(distance(real[:0], real, NUMBER))


@pytest.mark.parametrize("column", [NUMBER, CATEGORY])
def test_lost_gaps_count_in_the_distance(column):
    """The same cells; in one sample half of them are missing."""
    cells = np.repeat([0.0, 1.0, 2.0, 3.0], 100)
    gone = np.where(np.arange(400) % 2 == 0, np.nan, cells)
    assert distance(cells, gone, column) == pytest.approx(0.5)
    assert distance(gone, gone[::-1], column) == pytest.approx(0.0)


@pytest.mark.parametrize("column", [NUMBER, CATEGORY])
def test_expected_distance(column):
    rng = np.random.default_rng(0)

    def draw(count):
        return rng.choice(4, count, p=[0.5, 0.3, 0.15, 0.05]).astype(float) if column.is_category else rng.random(count)

    distances = [distance(draw(400), draw(900), column) for _ in range(400)]
    expected = expected_distance(draw(100_000)[:400], draw(900), column)
    # Asymptotic formulas: within a tenth.
    assert np.mean(distances) == pytest.approx(expected, rel=0.1)


def test_associations():
    rng = np.random.default_rng(0)
    x, codes = rng.normal(size=200), rng.integers(0, 3, 200).astype(float)
    y, more = x + rng.normal(size=200), np.where(rng.random(200) < 0.5, codes, rng.integers(0, 2, 200))
    assert association(x, NUMBER, -y, NUMBER) == pytest.approx(stats.spearmanr(x, y).statistic)
    counts = stats.contingency.crosstab(codes, more).count
    assert association(codes, CATEGORY, more, CATEGORY) == pytest.approx(stats.contingency.association(counts))
    ranks = stats.rankdata(x + codes)
    groups = [ranks[codes == code] for code in range(3)]
    f = stats.f_oneway(*groups).statistic
    eta = np.sqrt(f * 2 / (f * 2 + 197))  # of the F statistic with 2 and 197 degrees of freedom
    assert association(codes, CATEGORY, x + codes, NUMBER) == pytest.approx(eta)
    assert association(x + codes, NUMBER, codes, CATEGORY) == pytest.approx(eta)
    assert np.isnan(association(x, NUMBER, np.ones(200), NUMBER))
    gaps = np.where(np.arange(200) < 20, np.nan, y)
    assert association(x, NUMBER, gaps, NUMBER) == pytest.approx(stats.spearmanr(x[20:], y[20:]).statistic)


def test_largest_correlations():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(80, 4)) @ rng.normal(size=(4, 4))
    found = np.abs(stats.spearmanr(values).statistic) - np.eye(4)
    np.testing.assert_allclose(largest_correlations(values), found.max(axis=0))
    values[:10, 2] = np.nan
    assert np.isfinite(largest_correlations(np.column_stack([values, np.ones(80)]))).all()


def test_principal_components():
    codes = np.random.default_rng(0).normal(size=(100, 5)) * np.asarray([3, 1, 2, 0.1, 0.5])
    found, explained = principal_components(codes)
    pca = PCA(2).fit(codes)
    np.testing.assert_allclose(np.abs(found), np.abs(pca.transform(codes)), atol=1e-9)
    np.testing.assert_allclose(explained, pca.explained_variance_ratio_)
    again, _ = principal_components(codes[::-1])
    np.testing.assert_allclose(found, again[::-1], atol=1e-9)


def test_quality():
    rng = np.random.default_rng(0)
    real = rng.normal(size=50)
    found = real + rng.normal(size=50)
    assert quality(np.append(real, np.nan), np.append(found, 0), NUMBER) == pytest.approx((r2_score(real, found), 0))
    assert quality(np.asarray([0.0, 0, 1, 2]), np.asarray([0.0, 1, 1, 1]), CATEGORY) == (0.5, 0.5)


def test_kl_of_each_dimension_is_the_closed_form(table, table_model):
    study = study_of(table_model, table, label=None, origin=None, num_samples=1, seed=0)
    values, exact = study.information
    means, scales = encode(table_model, table).astype(float), encode_std(table_model, table).astype(float)
    assert exact
    expected = (0.5 * (means**2 + scales**2 - 1) - np.log(scales)).mean(axis=0)
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-6)


def test_information_where_the_kl_is_no_sum(table, make_model):
    fitted = make_model(table, prior="normal-mixture", num_components=2)
    study = study_of(fitted, table, label=None, origin=None, num_samples=1, seed=0)
    values, exact = study.information
    assert not exact
    means, scales = encode(fitted, table).astype(float), encode_std(fitted, table).astype(float)
    whole = means.var(axis=0) + (scales**2).mean(axis=0)
    entropies = np.log(np.sqrt(2 * np.pi * np.e) * scales).mean(axis=0)
    expected = 0.5 * np.log(2 * np.pi * np.e * whole) - entropies
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
    assert (values > -1e-6).all()


def test_measured_rows_are_those_held_out(table, table_model):
    dataset = rx.read(table)
    study = study_of(table_model, table, label=None, origin=None, num_samples=1, seed=0)
    recipe = table_model.recipe
    np.testing.assert_array_equal(study.evaluated.values, split(dataset, recipe.valid, recipe.seed)[1].values)
    other = study_of(table_model, table.head(50), label=None, origin=None, num_samples=1, seed=0)
    assert other.held_out is None
    assert len(other.evaluated) == 50


def unbuilt(source, **chosen):
    """A recipe and a schema without a model: enough for commands."""
    dataset = rx.read(source)
    recipe = rx.plan(dataset, **({"latent_dim": 4, "width": 4} | chosen))
    part, rest = split(dataset, recipe.valid, recipe.seed)
    return known_by(rx.FittedModel(None, part.schema, recipe), rest)


def test_the_command_gives_the_recipe(table):
    for chosen in (
        {},
        {"epochs": 7, "objective": {"name": "elbo", "beta": 0.5}},
        {"objective": "iwae", "posterior": "laplace", "seed": 3},
        {"posterior": "bernoulli", "objective.num_samples": 1},
        {"prior": {"name": "normal-mixture", "num_components": 7}},
    ):
        fitted = unbuilt(table, **chosen)
        fields = chosen_fields(fitted.recipe, fitted.schema)
        assert fields == {"latent_dim": 4, "width": 4, **chosen}
        count, valid = fitted.schema.num_examples, fitted.recipe.valid
        assert suggest(fitted.schema, count, **{"valid": valid} | fields) == fitted.recipe


@pytest.mark.parametrize("chosen", [{}, {"trim": 0.1}])
def test_the_command_has_no_setting_that_nobody_chose(chosen):
    rng = np.random.default_rng(0)
    for count in (14, 28, 29, 115, 195, 205, 556, 2223):
        gaps = pl.Series(rng.random(count) < 0.15)
        rows = pl.DataFrame(
            {"x": pl.Series(rng.normal(size=count)).set(gaps, None), "kind": rng.choice(list("abc"), count)}
        )
        dataset = rx.read(rows)
        recipe = rx.plan(dataset, **chosen)
        part = split(dataset, recipe.valid, recipe.seed)[0] if recipe.valid else dataset
        assert chosen_fields(recipe, part.schema, dataset) == chosen
        guessed = chosen_fields(recipe, part.schema)
        assert guessed.keys() - chosen.keys() <= {"hide"}  # where the gaps of all rows are not known


def test_the_command_of_the_report_has_no_defaults(table):
    fitted = unbuilt(table)
    for samples, seed, words in ((100, 0, ""), (7, 0, " --samples 7"), (100, 3, " --seed 3")):
        study = Study(fitted, rx.read(table), None, None, Origin(), samples, seed)
        (command,) = [block.text for block in reproduce(study).blocks if block.form == "code"]
        assert command.splitlines()[1] == f"reparax report model DATA{words}"


def test_the_command_has_the_options_of_parts():
    words = _option_words("prior", {"name": "normal-mixture", "num_components": 7})
    assert words == ["--prior", "normal-mixture", "--prior.num-components", "7"]
    own = {"name": "my.parts:Flow", "depth": 2}
    assert _option_words("posterior", own) == ["--posterior", json.dumps(own)]


def test_the_command_has_the_held_out_share(table):
    fitted = unbuilt(table, valid=0.3)
    assert chosen_fields(fitted.recipe, fitted.schema) == {"latent_dim": 4, "width": 4, "valid": 0.3}


def test_the_command_leaves_out_what_was_left_out(table):
    dataset = rx.read(table, exclude=["count"], label="kind")
    study = Study(unbuilt(dataset), dataset, None, None, Origin(), 1, 0)
    (command,) = [block.text for block in reproduce(study).blocks if block.form == "code"]
    fit = command.splitlines()[0]
    assert fit == "reparax fit DATA --out model --label kind --exclude count --latent-dim 4 --width 4"


def test_ticks_are_round_and_inside():
    assert Scale(0, 60, 0, 1).ticks() == [0, 20, 40, 60]
    assert Scale(-20.4, -16.7, 0, 1).ticks() == [-20, -19, -18, -17]
    assert Scale(1, 1, 0, 1).ticks() == [1]


def test_numbers_in_words():
    assert [number(x) for x in (-1.2345, 0.0, 12345.6, 2e10, 1e-5)] == [
        "\u22121.23",
        "0",
        "12,346",
        "2.00e+10",
        "1e\u221205",
    ]
    assert nats(-1234.567) == "\u22121,234.57"


@pytest.mark.parametrize("center", [8.3177, -1000.0, 0.0, 1e6, -3e-9])
@pytest.mark.parametrize("width", [1e-7, 1e-3, 1.0])
def test_labels_of_ticks_differ(center, width):
    points = [(float(k), center + width * k) for k in range(4)]
    drawn = str(curves(points, points, 3.0, "a curve")[0])
    labels = re.findall(r'text-anchor="end" class="t">([^<]*)', drawn)
    values = [label for label in labels if label not in {"kept", "epochs"}]
    assert len(set(values)) == len(values) >= 1


def test_a_curve_of_one_look_is_seen():
    drawn = str(curves([(5.0, -3.0)], [(5.0, -4.0)], 5.0, "a curve")[0])
    assert "<circle" in drawn
    assert drawn.count('class="real"') == drawn.count('class="made"') == 2
    assert drawn.count("<path") == 0


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_ends_of_a_histogram_do_not_overlap(first, last):
    drawn = str(histograms(np.ones(2), np.ones(2), np.arange(3.0), (first, last), "a histogram"))
    ends = [html.unescape(text) for text in re.findall(r'class="t">([^<]*)</text>', drawn)]
    assert len(ends) == 2
    assert FONT * sum(map(ems, ends)) <= 256


def test_there_is_no_minus_zero():
    assert nats(-0.004) == nats(-0.0) == "0.00"
    assert nats(-0.006) == "\u22120.01"
