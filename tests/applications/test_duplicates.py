"""Cells of rows that occur more than once: taken where this can be shown to be right, else left to the model."""

import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.applications._duplicates import from_duplicates
from reparax.cli import main
from reparax.errors import RecipeError


def copies(rng: np.random.Generator) -> np.ndarray:
    """Half of the rows are copies of others."""
    distinct = np.round(rng.normal(size=(300, 6)), 2)
    return rng.permutation(np.concatenate([distinct, distinct]))


def independent(rng: np.random.Generator) -> np.ndarray:
    return np.round(rng.normal(size=(300, 6)), 1)


def categories(rng: np.random.Generator) -> np.ndarray:
    """Few combinations, so that many rows agree by chance."""
    return rng.integers(0, 3, (300, 5)).astype(float)


def panel(rng: np.random.Generator) -> np.ndarray:
    """Things that are measured several times: what is known of a thing repeats, the measurements do not."""
    things = np.round(rng.normal(size=(200, 4)), 2)
    return np.concatenate([np.repeat(things, 5, axis=0), np.round(rng.normal(size=(1000, 2)), 1)], axis=1)


def correlated(rng: np.random.Generator) -> np.ndarray:
    return np.round(rng.normal(size=(400, 1)) + 0.05 * rng.normal(size=(400, 6)), 2)


def partly_copied(rng: np.random.Generator) -> np.ndarray:
    """Copies of which one cell in ten was changed."""
    rows = copies(rng)
    return np.where(rng.random(rows.shape) < 0.1, np.round(rng.normal(size=rows.shape), 2), rows)


def common_categories(rng: np.random.Generator) -> np.ndarray:
    """Rows that agree in categories which many have; a few also share a number that hardly any other row has."""
    kinds = rng.integers(0, 7, (600, 3)).astype(float)
    return np.concatenate([kinds, np.round(rng.normal(size=(600, 1)), 2)], axis=1)


def any_table(rng: np.random.Generator) -> np.ndarray:
    """Columns of many kinds, some of which say which of a few things the row is of; perhaps copies, perhaps altered."""
    number, things = int(rng.choice([100, 300, 1000])), rng.integers(0, 30, 1000)
    kinds = [
        lambda: np.round(rng.normal(size=number), rng.integers(0, 4)),
        lambda: rng.integers(0, rng.integers(2, 30), number).astype(float),
        lambda: things[:number].astype(float),
        lambda: np.round(np.sin(things[:number]) + 0.01 * rng.integers(0, 2) * rng.normal(size=number), 2),
        lambda: (rng.random(number) < 0.05) * np.round(rng.normal(size=number), 1),
    ]
    rows = np.stack([kinds[rng.integers(len(kinds))]() for _ in range(rng.integers(2, 9))], axis=1)
    if rng.random() < 0.5:
        first = rows[: rng.integers(number // 5, number)]
        rows = first[rng.integers(0, len(first), number)]
    altered = rng.random(rows.shape) < rng.choice([0.0, 0.0, 0.05])
    return np.where(altered, np.round(rng.normal(size=rows.shape), 1), rows)


@pytest.mark.parametrize("tables", [60, pytest.param(1000, marks=pytest.mark.full)])
def test_what_is_taken_of_any_table_is_right(tables):
    fractions = []
    for seed in range(tables):
        rng = np.random.default_rng(seed)
        rows = any_table(rng)
        cut = with_gaps(rows, rng, rng.uniform(0.02, 0.5))
        found = from_duplicates(cut).values
        known = ~np.isnan(cut)
        np.testing.assert_array_equal(found[known], cut[known])
        if (taken := ~known & ~np.isnan(found)).sum() >= 20:
            fractions.append((found == rows)[taken].mean())
    assert len(fractions) > tables / 20
    assert min(fractions) > 0.85
    assert np.mean(fractions) > 0.96


def with_gaps(rows: np.ndarray, rng: np.random.Generator, fraction: float = 0.2) -> np.ndarray:
    return np.where(rng.random(rows.shape) < fraction, np.nan, rows)


@pytest.mark.parametrize("make", [copies, independent, categories, common_categories, panel, correlated, partly_copied])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_taken_is_right_as_often_as_said(make, seed):
    rng = np.random.default_rng(seed)
    rows = make(rng)
    cut = with_gaps(rows, rng)
    found = from_duplicates(cut)
    known = ~np.isnan(cut)
    np.testing.assert_array_equal(found.values[known], cut[known])
    taken = ~known & ~np.isnan(found.values)
    right = (found.values == rows)[taken]
    assert right.mean() >= 0.9 if len(right) >= 20 else len(right) - right.sum() <= 2
    assert taken.any() == (make is copies) or make is panel
    assert 0.95 <= found.accuracy <= 1
    if make is copies:
        assert taken.sum() > 0.65 * (~known).sum()
        assert right.mean() > 0.98


def test_measurements_of_the_same_thing_are_not_taken():
    rng = np.random.default_rng(0)
    cut = with_gaps(panel(rng), rng)
    found = from_duplicates(cut).values
    assert np.isnan(found[:, :4]).sum() < np.isnan(cut[:, :4]).sum()
    np.testing.assert_array_equal(found[:, 4:], cut[:, 4:])


def test_rows_agree_in_what_is_given_too_and_not_in_keys():
    rng = np.random.default_rng(0)
    rows = copies(rng)
    cut = with_gaps(rows, rng)
    assert np.isnan(from_duplicates(cut, given=np.arange(600.0)[:, None]).values).sum() == np.isnan(cut).sum()
    keyed = np.concatenate([np.arange(600.0)[:, None], cut], axis=1)
    keyed[5, 0] = np.nan
    found = from_duplicates(keyed, ignored=frozenset({0})).values
    np.testing.assert_array_equal(found[:, 1:], from_duplicates(cut).values)
    assert np.isnan(found[5, 0])


def test_tables_without_gaps_and_columns_without_cells():
    rows = copies(np.random.default_rng(0))
    np.testing.assert_array_equal(from_duplicates(rows).values, rows)
    empty = np.full((5, 2), np.nan)
    np.testing.assert_array_equal(from_duplicates(empty).values, empty)


@pytest.fixture(scope="module")
def frame():
    """A table with copies, its truth, and a model of it."""
    rng = np.random.default_rng(3)
    rows = copies(rng)
    kinds = pl.Series("kind", np.where(rows[:, 0] > 0, "up", "down"))
    truth = pl.DataFrame(rows, schema=[f"x{index}" for index in range(6)]).with_columns(kinds)
    gaps = rng.random((600, 7)) < 0.2
    cut = truth.with_columns(
        pl.when(pl.Series(gaps[:, index])).then(None).otherwise(pl.col(name)).alias(name)
        for index, name in enumerate(truth.columns)
    )
    return cut, truth, gaps, rx.fit(cut, epochs=2, width=8, relations="none")


def exact(filled: pl.DataFrame, truth: pl.DataFrame, gaps: np.ndarray) -> float:
    """The fraction of missing cells that are filled with the very value."""
    return float(np.mean([
        (filled[name] == truth[name]).to_numpy()[gaps[:, index]].mean() for index, name in enumerate(truth.columns)
    ]))  # fmt: skip


def test_imputation_takes_cells_of_duplicates(frame):
    cut, truth, gaps, fitted = frame
    assert exact(rx.impute(fitted, cut, num_samples=20), truth, gaps) > 0.7
    alone = rx.impute(fitted, cut, num_samples=20, duplicates="ignore")
    assert exact(alone.drop("kind"), truth.drop("kind"), gaps) < 0.1
    with pytest.raises(RecipeError, match="expected duplicates to be use or ignore; got 'both'"):
        rx.impute(fitted, cut, duplicates="both")


def test_draws_take_them_as_often_as_they_are_right(frame):
    cut, truth, gaps, fitted = frame
    accuracy = from_duplicates(rx.data.read_as(cut, fitted.schema).values).accuracy
    drawn = rx.impute_draws(fitted, cut, 8, num_samples=20)
    found = np.mean([exact(table, truth, gaps) for table in drawn])
    full = exact(rx.impute(fitted, cut, num_samples=20), truth, gaps)
    assert found == pytest.approx(full * accuracy, abs=0.05)
    assert all((table.null_count().to_numpy() == 0).all() for table in drawn)


def test_the_command_searches_them_in_memory_alone(frame, tmp_path, capsys):
    cut, truth, gaps, fitted = frame
    model, path, out = tmp_path / "model", tmp_path / "x.parquet", tmp_path / "filled.csv"
    rx.save(fitted, model)
    cut.write_parquet(path, row_group_size=50)
    argv = ["impute", model, path, "--samples", 20, "--out", out]
    assert main([*map(str, argv)]) == 0
    assert exact(pl.read_csv(out), truth, gaps) > 0.7
    assert main([*map(str, argv), "--duplicates", "ignore", "--neighbors", "ignore"]) == 0
    alone = out.read_bytes()
    assert main([*map(str, argv), "--memory", "1"]) == 0
    assert out.read_bytes() == alone
    assert "no cells are taken from the same or similar rows" in capsys.readouterr().err
