"""Gaps that depend on the row: synthetic rows have them where the real ones do, and imputation may use them."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.errors import RecipeError
from reparax.reports.missing import area

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
        small = {"prior": "coupling-flow", "latent_dim": 4, "width": 32, "learning_rate": 3e-3, "weight_decay": 0.0}
        return rx.fit(TABLE, **small, epochs=120, batch_size=64, seed=1)


def test_synthetic_gaps_are_where_the_real_ones_are(fitted):
    found = rx.sample(fitted, 4000, key=jax.random.key(0))
    for group, share in SHARES.items():
        of_group = found.filter(pl.col("group") == group)
        assert of_group["paid"].null_count() / len(of_group) == pytest.approx(share, abs=0.08)  # 0.5 if drawn alone
    np.testing.assert_array_equal(found["paid"].is_null(), found["method"].is_null())
    assert found["size"].null_count() == 0


@pytest.mark.full
def test_a_plain_fit_has_the_gaps_of_each_group_within_a_few_percent():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found = rx.sample(rx.fit(dependent(4000), seed=0), 4000, key=jax.random.key(0))
    for group, share in SHARES.items():
        of_group = found.filter(pl.col("group") == group)
        assert of_group["paid"].null_count() / len(of_group) == pytest.approx(share, abs=0.04)


def test_a_classifier_hardly_tells_real_rows_from_synthetic_ones_by_their_groups_and_gaps(fitted):
    real, synthetic = dependent(3000, seed=2), rx.sample(fitted, 3000, key=jax.random.key(0))
    gone = pl.all().is_null().name.suffix(" is missing")
    cells = pl.concat([real, synthetic]).select(gone, a=pl.col("group") == "a", b=pl.col("group") == "b")
    which = np.repeat([False, True], 3000)
    assert area(cells.fill_null(False).to_numpy().astype(float), which) < 0.56  # 0.79 if drawn alone


def test_conditions_are_observed_and_say_so_of_what_is_missing_with_them(fitted):
    found = rx.sample(fitted, 500, key=jax.random.key(0), where={"method": "card"})
    assert found["paid"].null_count() == 0
    assert set(found["method"]) == {"card"}
    assert (found["group"].drop_nulls() == "a").mean() > 0.85  # whose cells are there; half of all rows
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
    law = fitted.model.likelihood(jnp.zeros(4))
    row = jnp.asarray([0.0, jnp.nan, jnp.nan, 1.0])
    gaps = law.log_prob_of_gaps(row)
    assert gaps.shape == (2,)
    np.testing.assert_allclose(law.log_prob(row), law.log_prob_of_cells(row) + gaps.sum(), rtol=1e-6)


def test_assumptions_on_gaps_that_make_no_difference_or_are_unknown_are_refused(fitted):
    with pytest.raises(RecipeError, match="at-random or not-at-random"):
        rx.impute(fitted, TABLE, missing="mcar")
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        whole = rx.fit(np.random.default_rng(0).normal(size=(40, 3)), epochs=1, width=4)
        with pytest.raises(RecipeError, match="fitted to a table without gaps"):
            rx.impute(whole, np.zeros((3, 3)), missing="not-at-random")
