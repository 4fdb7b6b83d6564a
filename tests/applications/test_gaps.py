"""Gaps that depend on the row: synthetic rows have them where the real ones do, and imputation may use them."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

import reparax as rx
from reparax.errors import RecipeError

ROWS = 1000
SHARES = {"a": 0.078, "b": 0.997, "c": 1.0}
"""How many cells are missing in each group."""


def dependent(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    """Whether ``paid`` and ``method`` are missing follows from the group; a tenth of the groups is not known."""
    rng = np.random.default_rng(seed)
    group = rng.choice(["a", "b", "c"], rows, p=[0.5, 0.25, 0.25])
    gone = rng.random(rows) < pl.Series(group).replace_strict(SHARES, return_dtype=pl.Float64).to_numpy()
    return pl.DataFrame(
        {
            "group": pl.Series(group.tolist()).set(pl.Series(rng.random(rows) < 0.1), None),
            "paid": pl.Series(rng.normal(10.0, 2.0, rows)).set(pl.Series(gone), None),
            "method": pl.Series(rng.choice(["cash", "card"], rows).tolist()).set(pl.Series(gone), None),
            "size": rng.lognormal(0.0, 1.0, rows),
        }
    )


TABLE = dependent()


@pytest.fixture(scope="module")
def fitted():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return rx.fit(TABLE, epochs=80, latent_dim=3, width=32, learning_rate=3e-3, seed=1)


def test_synthetic_gaps_are_where_the_real_ones_are(fitted):
    found = rx.sample(fitted, 4000, key=jax.random.key(0))
    for group, share in SHARES.items():
        of_group = found.filter(pl.col("group") == group)
        assert of_group["paid"].null_count() / len(of_group) == pytest.approx(share, abs=0.05)
    np.testing.assert_array_equal(found["paid"].is_null(), found["method"].is_null())
    assert found["size"].null_count() == 0


def test_a_classifier_hardly_tells_real_rows_from_synthetic_ones_by_their_groups_and_gaps(fitted):
    real, synthetic = dependent(3000, seed=2), rx.sample(fitted, 3000, key=jax.random.key(0))
    cells = pl.concat([real, synthetic]).select(
        *(pl.col("group") == group for group in "ab"), paid=pl.col("paid").is_null(), method=pl.col("method").is_null()
    )
    which = np.repeat([0, 1], 3000)
    order = np.random.default_rng(0).permutation(6000)
    rows, which = cells.fill_null(False).to_numpy()[order], which[order]
    found = cross_val_predict(HistGradientBoostingClassifier(max_iter=20), rows, which, cv=3, method="predict_proba")
    assert roc_auc_score(which, found[:, 1]) < 0.56


def test_conditions_are_observed_and_say_so_of_what_is_missing_with_them(fitted):
    found = rx.sample(fitted, 500, key=jax.random.key(0), where={"method": "card"})
    assert found["paid"].null_count() == 0
    assert set(found["method"]) == {"card"}
    assert (found["group"].drop_nulls() == "a").mean() > 0.95  # whose cells are there
    assert found["group"].null_count() > 0


def test_groups_are_imputed_from_gaps_if_these_are_said_to_depend_on_them(fitted):
    truth = dependent(600, seed=3).drop_nulls("group")
    gone = truth.with_columns(group=pl.lit(None, pl.String))
    found, ignored = (
        (rx.impute(fitted, gone, num_samples=100, missing=missing)["group"] == truth["group"]).mean()
        for missing in ("not-at-random", "at-random")
    )
    assert found > 0.65  # b and c can hardly be told apart
    assert ignored < found
    drawn = rx.impute_draws(fitted, gone, 2, num_samples=100, missing="not-at-random")
    assert all(table.null_count().row(0) == (0, 0, 0, 0) for table in drawn)


def test_a_saved_model_has_the_same_gaps(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    loaded = rx.load(tmp_path / "model")
    assert [column.missing_with for column in loaded.schema.columns] == ["", "", "paid", ""]
    rows = [rx.sample(some, 50, key=jax.random.key(2), like="polars") for some in (fitted, loaded)]
    assert rows[0].equals(rows[1])


def test_the_bound_has_the_probability_of_the_gaps(fitted):
    law = fitted.model.likelihood(jnp.zeros(3))
    row = jnp.asarray([0.0, jnp.nan, jnp.nan, 1.0])
    gaps = law.log_prob_of_gaps(row)
    assert gaps.shape == (2,)
    np.testing.assert_allclose(law.log_prob(row), law.log_prob_of_cells(row) + gaps.sum(), rtol=1e-6)


def test_assumptions_on_gaps_that_make_no_difference_or_are_unknown_are_refused(fitted):
    with pytest.raises(RecipeError, match="at-random or not-at-random"):
        rx.impute(fitted, TABLE, missing="mcar")
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        whole = rx.fit(np.random.default_rng(0).normal(size=(40, 3)), epochs=1, width=4)
        with pytest.raises(RecipeError, match="fitted to a table without any"):
            rx.impute(whole, np.zeros((3, 3)), missing="not-at-random")
