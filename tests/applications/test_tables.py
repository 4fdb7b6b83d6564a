"""Tables of mixed columns with missing cells, from frame to frame: scores, samples, imputations, evaluation."""

from dataclasses import replace
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from safetensors.numpy import load as read_tensors

import reparax as rx
from reparax.applications import conditions_in, impute, impute_draws, sample_values, score
from reparax.applications._rows import _batch, _compiled
from reparax.data import marginal_oddity, read
from reparax.errors import ArtifactError, DataError, RecipeError
from reparax.pytrees import Derived, num_parameters
from reparax.recipe import FittedModel
from reparax.tables import RADII, RowDistribution
from reparax.tables._score import surprises

ROWS = 600


def people(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Height follows sex, weight follows height, pay is spiked at zero; a tenth of the weights is missing."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], rows)
    height = np.round(rng.normal(np.where(sex == "m", 180.0, 165.0), 6.0), 1)
    weight = height - 105 + rng.normal(0, 5.0, rows)
    pay = np.where(rng.random(rows) < 0.3, 0.0, np.round(rng.lognormal(7.5, 0.5, rows)))
    children = rng.poisson(1.2, rows)
    weight = np.where(rng.random(rows) < 0.1, np.nan, weight)
    return pl.DataFrame(
        {"sex": sex, "height": height, "weight": weight, "pay": pay, "children": children}
    ).with_columns(pl.col("weight").fill_nan(None))


TABLE = people()


@pytest.fixture(scope="module")
def fitted():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return rx.fit(TABLE, epochs=60, latent_dim=3, width=32, learning_rate=3e-3, seed=1)


def test_columns_are_the_likelihood_of_tables(fitted):
    assert fitted.recipe.likelihood == "columns"
    assert fitted.schema.value_kind == "mixed"


def test_samples_are_rows_as_the_data_are(fitted):
    found = rx.sample(fitted, 4000, key=jax.random.key(0))
    assert found.schema == TABLE.schema
    assert set(found["sex"].unique()) == {"f", "m"}
    assert found["children"].is_between(0, TABLE["children"].max()).all()
    np.testing.assert_allclose(found["height"] * 10, (found["height"] * 10).round(), atol=1e-6)
    missing = found["weight"].null_count() / 4000
    assert missing == pytest.approx(TABLE["weight"].null_count() / ROWS, abs=0.02)
    assert (found["pay"] == 0).mean() == pytest.approx((TABLE["pay"] == 0).mean(), abs=0.05)


def test_samples_keep_what_columns_have_to_do_with_each_other(fitted):
    found = rx.sample(fitted, 4000, key=jax.random.key(0)).drop_nulls()
    real = people(4000, seed=5).drop_nulls()
    for table in (found, real):
        gap = table.filter(pl.col("sex") == "m")["height"].mean() - table.filter(pl.col("sex") == "f")["height"].mean()
        assert gap == pytest.approx(15.0, abs=4.0)
        assert np.corrcoef(table["height"], table["weight"])[0, 1] > 0.6


def test_conditional_samples_have_the_condition_and_what_follows_from_it(fitted):
    found = rx.sample(fitted, 500, key=jax.random.key(0), where={"sex": "m"})
    assert set(found["sex"]) == {"m"}
    everyone = rx.sample(fitted, 2000, key=jax.random.key(0))
    assert found["height"].mean() > everyone["height"].mean() + 3


def test_a_condition_that_is_too_rare_is_refused(fitted):
    with pytest.raises(DataError, match="too rare"):
        rx.sample(
            fitted, 10, key=jax.random.key(0), where={"height": 120.0, "weight": 120.0, "sex": "m", "children": 8}
        )


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("e=1", {"e": "1"}),
        ("a=b=2,e=1", {"a=b": "2", "e": "1"}),
        ("a=1,e=2", {"a": "1", "e": "2"}),
        ("e=1, c,d=x,a=b==", {"e": "1", "c,d": "x", "a=b": "="}),
        ("c,d=x,y", {"c,d": "x,y"}),
        ("e=1,f=2", {"e": "1,f=2"}),  # f is no column: the value says what is wrong
    ],
)
def test_names_of_conditions_with_commas_and_equals_signs(text, conditions):
    assert conditions_in(with_columns("a", "a=b", "c,d", "e"), text) == conditions


def with_columns(*names):
    columns = tuple(SimpleNamespace(name=name) for name in names)
    return SimpleNamespace(schema=SimpleNamespace(columns=columns, given_columns=()))


def test_commas_and_equals_signs_in_the_values_of_conditions():
    some = with_columns("town", "age", "a")
    assert conditions_in(some, "town=Washington, DC,age=30") == {"town": "Washington, DC", "age": "30"}
    assert conditions_in(some, "a=b=c") == {"a": "b=c"}
    assert conditions_in(some, "agee=3,town=x") == {"agee": "3", "town": "x"}


@pytest.mark.parametrize(
    ("where", "words"), [({"sexx": "m"}, "sexx"), ({"sex": "q"}, "'q'"), ({"height": "tall"}, "tall")]
)
def test_conditions_on_what_is_not_there(fitted, where, words):
    with pytest.raises(DataError, match=words):
        rx.sample(fitted, 5, key=jax.random.key(0), where=where)


def test_a_condition_needs_a_table(picture_model):
    with pytest.raises(RecipeError, match="a table for a condition"):
        rx.sample(picture_model, 5, key=jax.random.key(0), where={"a": 1})


@pytest.fixture(scope="module")
def picture_model():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return rx.fit(np.random.default_rng(0).integers(0, 2, (40, 4, 4)), epochs=1, width=4, latent_dim=2)


def test_imputation_fills_gaps_alone_and_better_than_the_mean(fitted):
    whole = people(ROWS, seed=3).drop_nulls()
    gone = whole.with_columns(weight=pl.when(pl.int_range(pl.len()) % 2 == 0).then(None).otherwise("weight"))
    found = impute(fitted, gone)
    kept = gone["weight"].is_not_null()
    assert found.drop("weight").equals(whole.drop("weight"))
    assert found.filter(kept).equals(whole.filter(kept))
    truth, guess = whole.filter(~kept)["weight"].to_numpy(), found.filter(~kept)["weight"].to_numpy()
    error = np.sqrt(np.mean((truth - guess) ** 2))
    assert error < 0.8 * truth.std()
    assert error > 4.0  # nothing can be better than the noise


def test_categories_are_imputed_from_the_other_cells(fitted):
    whole = people(400, seed=4)
    gone = whole.with_columns(sex=pl.lit(None, pl.String))
    found = impute(fitted, gone)
    assert (found["sex"] == whole["sex"]).mean() > 0.75


def test_imputation_gives_back_the_frame_it_was_given(fitted):
    frame = people(30, seed=6).to_pandas()
    found = impute(fitted, frame)
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == list(frame.columns)
    assert not found["weight"].isna().any()


def test_multiple_imputations_spread_as_the_cells_do(fitted):
    gone = people(200, seed=7).with_columns(weight=pl.lit(None, pl.Float64))
    tables = impute_draws(fitted, gone, 8)
    drawn = np.stack([table["weight"].to_numpy() for table in tables])
    assert len(tables) == 8
    assert 2.5 < drawn.std(axis=0, ddof=1).mean() < 9.0
    single = impute(fitted, gone)["weight"].to_numpy()
    assert np.corrcoef(drawn.mean(axis=0), single)[0, 1] > 0.8


def test_shares_add_up_to_the_anomaly_score_and_name_the_odd_cell(fitted):
    rows = people(50, seed=8)
    odd = rows.with_columns(height=pl.when(pl.int_range(pl.len()) == 0).then(260.0).otherwise("height"))
    found = score(fitted, odd)
    np.testing.assert_allclose(found.shares.sum(axis=1), found.anomaly_score, rtol=1e-5)
    assert found.anomaly_score.argmax() == 0
    assert found.names[int(found.shares[0].argmax())] == "height"
    gone = rows.with_columns(height=pl.lit(None, pl.Float64))  # of no row of the fit
    assert (score(fitted, gone).shares[:, found.names.index("height")] == 0).all()


def test_a_gap_that_the_rest_of_the_row_does_not_explain_is_surprising_in_its_column(fitted):
    rows = people(200, seed=8).drop_nulls()
    gone = rows.with_columns(weight=pl.lit(None, pl.Float64))
    whole, without = (score(fitted, some) for some in (rows, gone))
    at = whole.names.index("weight")
    law = fitted.model.likelihood(jnp.zeros(3))
    assert (without.shares[:, at] > 1).all()
    rare = -np.log(TABLE["weight"].null_count() / ROWS)
    alone = float(-RowDistribution.of_data(law.layout).log_prob_of_gaps(jnp.full(5, jnp.nan))[0])
    assert alone == pytest.approx(rare, rel=0.05)


def hostile(rows: int) -> pl.DataFrame:
    """Columns whose tails, spikes and rounding make large numbers least surprising."""
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "normal": rng.normal(size=rows),
            "heavy": rng.standard_cauchy(size=rows),
            "positive": np.exp(3 * rng.normal(size=rows)),
            "mostly-zero": np.where(rng.random(rows) < 0.9, 0.0, rng.normal(size=rows)),
            "whole": rng.poisson(3.0, rows),
            "levels": rng.choice([0.0, 0.5, 1.0], rows),
            "tiny": 1e-6 * rng.normal(size=rows),
        }
    )


@pytest.fixture(scope="module")
def of_hostile() -> FittedModel:
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return rx.fit(hostile(300), trim=0.1, epochs=20, width=16, latent_dim=3)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_gross_cell_comes_first_and_bears_the_score_whatever_its_column(fitted, of_hostile, side):
    for model, table in ((fitted, people(60, seed=12).drop_nulls()), (of_hostile, hostile(60))):
        usual = score(model, table, num_samples=10)
        assert np.isfinite(usual.anomaly_score).all()
        numeric = [name for name in table.columns if table[name].dtype.is_numeric()]
        far = pl.concat([
            table[i : i + 1].with_columns(pl.lit(table[name].mean() + side * 1e3 * model_std(model, name)).alias(name))
            for i, name in enumerate(numeric)
        ], how="vertical_relaxed")  # fmt: skip
        found = score(model, far, num_samples=10)
        assert found.anomaly_score.min() > usual.anomaly_score.max(), dict(
            zip(numeric, found.anomaly_score, strict=True)
        )
        assert [found.names[place] for place in found.shares.argmax(axis=1)] == numeric
        np.testing.assert_allclose(found.shares.sum(axis=1), found.anomaly_score, rtol=1e-5)


def model_std(model: FittedModel, name: str) -> float:
    return next(column.std for column in model.schema.columns if column.name == name)


def test_rows_that_are_odd_column_by_column_are_odd_though_the_columns_fit_together(fitted):
    usual = people(20, seed=10).drop_nulls()
    giants = usual.with_columns(height=pl.col("height") + 60.0, weight=pl.col("weight") + 60.0)
    found = score(fitted, pl.concat([usual, giants])).anomaly_score
    assert found[len(usual) :].min() > found[: len(usual)].max()


def test_how_improbable_a_row_is_is_how_few_synthetic_rows_are_near_it(fitted):
    """m of the score, from so many draws of z that its noise is small, beside counts among synthetic rows."""
    columns, model, count = fitted.schema.columns, fitted.model, 40_000
    rows = read(people(8, seed=21)).values.astype(np.float32)
    prior_z = model.prior(model.posterior).sample(jax.random.key(3), (5000,))
    layout = model.likelihood.layout.value
    found = jax.jit(jax.vmap(lambda x: surprises(model.likelihood, layout, x, prior_z[:1], prior_z).row))(rows)
    drawn = sample_values(fitted, count, key=jax.random.key(4))
    # Numbers are drawn rounded: an interval contains those whose cells are mostly inside.
    radii = np.array([[0.0 if c.is_category else r * c.spread for c in columns] for r in RADII])
    for row, surprise in zip(rows, found.surprise, strict=True):
        away = np.where(np.isnan(row) & np.isnan(drawn), 0.0, np.abs(drawn - row))
        near = np.array([(away <= radius + 1e-4).all(axis=1).mean() for radius in radii])
        counted = -np.log((near + 1 / 5000) / (1 + 1 / 5000)).mean()
        assert surprise == pytest.approx(counted, abs=0.25)


def test_the_encoder_has_no_say_in_how_improbable_a_row_is(fitted):
    """A row far from all others is improbable by that alone, however well an encoder would recognize it."""
    usual = people(40, seed=22).drop_nulls()
    larger = usual.with_columns(height=pl.col("height") + 40.0, weight=pl.col("weight") + 40.0)
    layout, model = fitted.model.likelihood.layout.value, fitted.model
    prior_z = model.prior(model.posterior).sample(jax.random.key(3), (64,))
    rows = jnp.asarray(read(pl.concat([usual, larger])).values.astype(np.float32))
    of_rows = jax.jit(jax.vmap(lambda x, z: surprises(model.likelihood, layout, x, z[None], prior_z).row.surprise))
    here, elsewhere = (of_rows(rows, jnp.full((len(rows), 3), place)) for place in (0.0, 2.0))
    np.testing.assert_array_equal(here, elsewhere)
    assert (here >= 0).all()
    assert (here <= np.log(65) + 1e-4).all()
    assert np.mean(here[len(usual) :]) > np.mean(here[: len(usual)]) + 0.3


def test_a_third_of_how_odd_cells_are_one_by_one_is_in_the_score(fitted):
    """With a decoder that ignores z, the rest of the score is the same for all z, and counts tell the third."""
    silent = jax.tree.map(lambda leaf: 0 * leaf, eqx.filter(fitted.model.likelihood.network, eqx.is_inexact_array))
    network = eqx.combine(silent, fitted.model.likelihood.network)
    model = eqx.tree_at(lambda model: model.likelihood.network, fitted.model, network)
    ignorant, deaf = replace(fitted, model=model), model.likelihood
    dataset = read(TABLE)
    rows = dataset.values.astype(np.float32)
    law = deaf(jnp.zeros(3))
    near = jax.vmap(lambda row: law.layout.neighborhood(row, RADII))(jnp.asarray(rows))
    together = -np.swapaxes(jax.vmap(law.log_prob_near)(near), 0, 1)
    apart = np.abs(rows[:, None] - rows[None])
    reaches = np.array([[0.0 if c.is_category else r * c.spread for r in RADII] for c in dataset.schema.columns])
    near = np.stack([(apart <= reach + 1e-4).sum(axis=1) / (~np.isnan(rows)).sum(axis=0) for reach in reaches.T])
    surprise = -np.log(np.where(np.isnan(rows), 1.0, near))
    gross = np.maximum((together + surprise / 3).mean(axis=0) - 4, 0).sum(axis=1)
    gap = -np.asarray(jax.vmap(law.log_prob_of_gaps)(jnp.asarray(rows)))  # the same with and without z
    gross += (np.maximum(4 / 3 * gap - 4, 0) + 4 / 3 * np.log1p(10 * gap)).sum(axis=1)
    size = together.shape[2]
    power = min(1, 32 / (size + gap.shape[1]))
    near_row = np.exp(-power * (together.sum(axis=2) + gap.sum(axis=1)))
    gross += size / 2 * np.log((1 + 1 / 64) / (1 / 64 + near_row)).mean(axis=0)  # the same for every z
    alone = 3 * (score(ignorant, TABLE).anomaly_score - np.log1p(10 * together).mean(axis=0).sum(axis=1) - gross)
    counted = np.log1p(10 * surprise).mean(axis=0).sum(axis=1)
    assert np.median(alone) == pytest.approx(np.median(counted), rel=0.05)
    assert np.corrcoef(alone, counted)[0, 1] > 0.95


def test_scores_do_not_depend_on_batch_row_order_or_column_order(fitted):
    rows = people(40, seed=9)
    whole = score(fitted, rows, num_samples=5)
    order = np.random.default_rng(0).permutation(40)
    shuffled = score(fitted, rows[order].select(reversed(rows.columns)), num_samples=5)
    np.testing.assert_array_equal(whole.log_density[order], shuffled.log_density)
    np.testing.assert_array_equal(whole.shares[order], shuffled.shares)


@pytest.mark.full
def test_another_unit_changes_log_densities_by_the_jacobian_alone():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        # Without noise, which depends on the bits of a row.
        settings = {"objective": "reconstruction", "epochs": 2, "latent_dim": 2, "width": 8}
        kilograms = people(100).drop_nulls().select("sex", "weight")
        grams = kilograms.with_columns(pl.col("weight") * 1024.0)
        found = []
        for table in (kilograms, grams):
            fitted = rx.fit(table, **settings)
            found.append((rx.evaluate(fitted, table).columns, score(fitted, table).anomaly_score))
    assert found[0][0]["weight"] - found[1][0]["weight"] == pytest.approx(np.log(1024.0), abs=1e-3)
    assert found[0][0]["sex"] == pytest.approx(found[1][0]["sex"], abs=1e-3)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=2e-3)


def test_evaluation_tells_the_columns_apart(fitted):
    found = rx.evaluate(fitted, TABLE, num_samples=5)
    assert set(found.columns) == set(TABLE.columns)
    total = sum(value * (1 - share) for value, share in zip(found.columns.values(), missing_shares(), strict=True))
    # The parts are averaged over weighted samples, the reconstruction over plain ones.
    assert found.reconstruction <= total + 0.05
    assert total - found.reconstruction < 3.0


def missing_shares() -> list[float]:
    return [TABLE[name].null_count() / ROWS for name in TABLE.columns]


@pytest.mark.full
def test_trimming_leaves_the_oddest_rows_out():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(180, 2)), rng.normal(9.0, 0.1, size=(20, 2))])
    dataset = read(values)
    oddity = marginal_oddity(dataset.values.astype(np.float64), dataset.schema.columns)
    assert set(np.argsort(-oddity)[:20]) >= set(range(180, 200)) - set(np.argsort(-oddity)[20:30])
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        settings = {"epochs": 40, "latent_dim": 2, "width": 16, "valid": 0.0}
        plain, trimmed = rx.fit(values, **settings), rx.fit(values, trim=0.15, **settings)
        found = [score(some, values, num_samples=10) for some in (plain, trimmed)]
    of_density, of_score = (
        [all_rows[:180].mean() - all_rows[180:].mean() for all_rows in numbers]
        for numbers in ([one.log_density for one in found], [-one.anomaly_score for one in found])
    )
    assert of_density[1] > of_density[0] + 1.0
    assert of_score[1] > of_score[0] > 1.0


def test_hiding_cells_needs_a_table():
    with pytest.raises(RecipeError, match="a table with the columns likelihood"):
        rx.fit(np.random.default_rng(0).integers(0, 2, (40, 4, 4)), epochs=1, hide=0.5)


@pytest.mark.full
def test_an_encoder_that_met_hidden_cells_imputes_new_rows_better():
    """Ten columns of two factors: complete rows to learn from, then half of the cells of others missing."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, 10))
    rows = rng.normal(size=(1200, 2)) @ loadings + 0.3 * rng.normal(size=(1200, 10))
    hidden = rng.random((400, 10)) < 0.5
    gaps = np.where(hidden, np.nan, rows[800:])
    errors = [
        np.sqrt(
            np.square(impute(rx.fit(rows[:800], hide=hide, seed=0), gaps, num_samples=50) - rows[800:])[hidden].mean()
        )
        for hide in (0.0, 0.6)
    ]
    assert errors[1] < 0.95 * errors[0]


def test_trimming_needs_a_table():
    with pytest.raises(RecipeError, match="a table to trim"):
        rx.fit(np.random.default_rng(0).integers(0, 2, (40, 4, 4)), epochs=1, trim=0.1)


def test_marginal_oddity_counts_neighbors():
    values = np.array([[0.0], [0.0], [0.0], [10.0]])
    columns = read(values).schema.columns
    found = marginal_oddity(values, columns)
    expected = -np.log([4 / 5, 4 / 5, 4 / 5, 2 / 5])
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("call", [lambda m: impute(m, TABLE, num_samples=0), lambda m: impute_draws(m, TABLE, 0)])
def test_imputation_needs_samples(fitted, call):
    with pytest.raises(RecipeError, match="from 1 up"):
        call(fitted)


def test_imputation_needs_the_columns_likelihood():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        model = rx.fit(np.random.default_rng(0).normal(size=(40, 3)), likelihood="normal", epochs=1, width=4)
        with pytest.raises(RecipeError, match="columns likelihood"):
            impute(model, np.zeros((3, 3)) + 0.5)


def test_a_model_of_a_table_comes_back_from_disk_bit_by_bit(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    loaded = rx.load(tmp_path / "model")
    before, after = (score(some, TABLE[:30], num_samples=3).log_density for some in (fitted, loaded))
    np.testing.assert_array_equal(before, after)
    assert loaded.schema == fitted.schema


def test_the_layout_is_not_saved_but_made_anew_and_one_for_all_parts(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    stored = read_tensors((tmp_path / "model" / "weights.safetensors").read_bytes())
    assert sorted(stored) == sorted(path for path in stored if "layout" not in path)
    assert sum(array.size for array in stored.values()) == num_parameters(fitted.model)
    loaded = rx.load(tmp_path / "model").model
    assert loaded.likelihood.layout is next(layouts(loaded.posterior))
    for before, after in zip(jax.tree.leaves(fitted.model), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(before, after)


def forget():
    """Constants are part of traced and of compiled programs."""
    _batch.clear_cache()
    _compiled.cache_clear()


def test_constants_of_the_score_are_not_in_saved_models(fitted, tmp_path, monkeypatch):
    rx.save(fitted, tmp_path / "model")
    before = score(fitted, TABLE[:30], num_samples=2)
    monkeypatch.setattr("reparax.tables._score.RADII", (1.0, 3.0))
    monkeypatch.setattr("reparax.tables._score.MARGINAL_WEIGHT", 0.5)
    forget()
    after = score(rx.load(tmp_path / "model"), TABLE[:30], num_samples=2)
    forget()
    np.testing.assert_allclose(after.log_density, before.log_density, rtol=1e-5)
    assert not np.allclose(after.anomaly_score, before.anomaly_score)


def layouts(tree):
    leaves = jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, Derived))
    return (leaf for leaf in leaves if isinstance(leaf, Derived))


def test_a_model_of_other_columns_than_its_schema_says_is_not_saved(fitted, tmp_path):
    other = replace(fitted, schema=read(people(ROWS, seed=11)).schema)
    with pytest.raises(ArtifactError, match="built for other columns"):
        rx.save(other, tmp_path / "model")


def test_values_of_samples_are_the_matrix_of_the_frame(fitted):
    values = sample_values(fitted, 20, key=jax.random.key(4))
    frame = rx.sample(fitted, 20, key=jax.random.key(4))
    assert values.shape == (20, 5)
    np.testing.assert_array_equal(np.isnan(values[:, 2]), frame["weight"].is_null().to_numpy())
