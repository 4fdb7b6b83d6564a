"""What is given and unknown: refused, averaged over as the mixture by hand, or filled in with the most probable."""

import jax
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.applications import completions_of
from reparax.errors import DataError, RecipeError

SIZE = 400
FAST = {
    "latent_dim": 1, "epochs": 30, "width": 16, "depth": 1, "hide": 0.0, "prior": "standard-normal",
    "learning_rate": 1e-2, "valid": 0.0,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def user_climate():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def table(seed: int = 0) -> pl.DataFrame:
    """A number that the shop shifts by far, and an hour that goes with the shop."""
    rng = np.random.default_rng(seed)
    shop = rng.choice(3, SIZE, p=[0.6, 0.3, 0.1])
    hour = np.where(shop == 0, rng.choice([8, 9], SIZE), 20)
    return pl.DataFrame({
        "shop": np.array(["center", "station", "harbor"])[shop], "sales": 10.0 * shop + rng.normal(size=SIZE),
        "hour": hour, "visitors": rng.normal(size=SIZE),
    })  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    return rx.fit(table(), given=["shop", "hour"], **FAST)


def without(rows: pl.DataFrame, *names: str) -> pl.DataFrame:
    return rows.with_columns(pl.lit(None, rows[name].dtype).alias(name) for name in names)


def test_the_average_is_the_mixture_over_the_values_of_the_fit(fitted):
    """log sum_c p(c) p(x | c) from the scores of each complete table, with the fractions counted by hand."""
    rows = table(1)[:6]
    counts = table().group_by("shop", "hour").len().sort("shop", "hour")
    each = []
    for shop, hour, count in counts.iter_rows():
        complete = rows.with_columns(shop=pl.lit(shop), hour=pl.lit(hour, rows["hour"].dtype))
        each.append(np.log(count / SIZE) + rx.score(fitted, complete, num_samples=20).log_density)
    found = rx.score(fitted, without(rows, "shop", "hour"), num_samples=20, unknown="average")
    np.testing.assert_allclose(found.log_density, np.logaddexp.reduce(each, axis=0), rtol=1e-5)
    assert np.isfinite(found.anomaly_score).all()
    np.testing.assert_allclose(found.shares.sum(axis=1), found.anomaly_score, rtol=1e-4)
    bounds = rx.evaluate(fitted, without(rows, "shop", "hour"), num_samples=20, unknown="average")
    assert bounds.iwae == pytest.approx(found.log_density.mean(), rel=1e-5)
    assert bounds.elbo <= bounds.iwae + 1e-6
    assert bounds.elbo == pytest.approx(bounds.reconstruction - bounds.kl)


def test_what_is_known_stays_and_narrows_what_is_unknown(fitted):
    rows = without(table(1)[:40], "shop")
    found = completions_of(fitted, rows)
    hours = rows["hour"].to_numpy()
    at_eight = np.isin(found.owners, np.flatnonzero(hours < 20))
    assert np.bincount(found.owners)[hours < 20].max() == 1  # the center alone is open then
    assert set(np.bincount(found.owners)[hours == 20]) == {2}
    np.testing.assert_allclose(np.exp(found.log_weights[at_eight]), 1)
    np.testing.assert_allclose(np.bincount(found.owners, np.exp(found.log_weights)), 1)


def test_known_rows_have_the_same_scores_to_the_bit(fitted):
    rows = table(1)[:20]
    plain, mixed = rx.score(fitted, rows), rx.score(fitted, rows, unknown="average")
    np.testing.assert_array_equal(plain.log_density.astype(np.float64), mixed.log_density)
    np.testing.assert_array_equal(plain.anomaly_score.astype(np.float64), mixed.anomaly_score)


def test_the_most_probable_value_is_the_one_that_the_row_tells(fitted):
    rows = table(1)[:60]
    cut = without(rows, "shop").with_columns(
        hour=pl.when(pl.int_range(60) % 2 == 0).then(None).otherwise(pl.col("hour"))
    )
    filled = rx.impute_given(fitted, cut)
    again = rx.encode(fitted, filled)
    assert any("'shop' is unknown in 60 of 60 rows" in note for note in filled.notes)
    shops = filled.conditions.schema.columns[0].categories
    guessed = np.array(shops)[filled.conditions.values[:, 0].astype(int)]
    assert np.mean(guessed == rows["shop"].to_numpy()) > 0.95
    odd = np.arange(60) % 2 == 1
    np.testing.assert_array_equal(filled.conditions.values[odd, 1], rows["hour"].to_numpy()[odd])
    assert again.shape == (60, 1)
    np.testing.assert_array_equal(rx.impute_given(fitted, rows).values, rx.applications.dataset_of(fitted, rows).values)


def test_a_column_that_the_data_lack_and_an_unseen_category_are_unknown(fitted):
    rows = table(1)[:10]
    expected = rx.score(fitted, without(rows, "shop"), unknown="average").log_density
    for other in (rows.drop("shop"), rows.with_columns(shop=pl.lit("airport"))):
        with pytest.raises(DataError):
            rx.score(fitted, other)
        np.testing.assert_array_equal(rx.score(fitted, other, unknown="average").log_density, expected)


def test_labels_of_images_are_told_by_the_images():
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 2, 200)
    images = (rng.random((200, 4, 4, 1)) < 0.1 + 0.8 * digits[:, None, None, None]).astype(int)
    fitted = rx.fit(images, context={"digit": digits}, latent_dim=1, epochs=20, width=16, depth=1, network="mlp")
    found = rx.impute_given(fitted, images)
    guessed = np.asarray(found.conditions.schema.columns[0].categories)[found.conditions.values[:, 0].astype(int)]
    assert np.mean(guessed.astype(int) == digits) > 0.95
    some = [None, *digits[1:].tolist()]
    kept = rx.impute_given(fitted, images, context={"digit": some})
    np.testing.assert_array_equal(kept.conditions.values[1:, 0], np.searchsorted([0, 1], digits[1:]))


def test_wrong_words_are_refused(fitted):
    with pytest.raises(RecipeError, match="average"):
        rx.score(fitted, table(), unknown="guess")
    plain = rx.fit(table().select("sales", "visitors"), **{**FAST, "epochs": 1})
    with pytest.raises(DataError, match="given something by name"):
        rx.score(plain, table().select("sales", "visitors"), unknown="average")
    with pytest.raises(DataError, match="columns the model"):
        rx.score(fitted, table().drop("sales"), unknown="average")
