"""The rows of a fit are recognized by what they are, not by how many there are."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import reparax as rx
from reparax.applications import dataset_of, fingerprint_of, held_out_of, is_data_of_fit, known_by, parts_of
from reparax.applications._privacy import _sides
from reparax.applications._rows_of_fit import rows_of
from reparax.data import from_array, split, with_schema
from reparax.recipe import build

RNG = np.random.default_rng(0)


def table(n: int = 60) -> pl.DataFrame:
    x = RNG.normal(size=n)
    whole = pl.DataFrame(
        {"x": x, "word": RNG.choice(["a", "b", "c"], n), "k": RNG.poisson(3.0, n), "zero": np.where(x > 0, x, -0.0)}
    )
    return whole.with_columns(gap=pl.when(pl.col("k") > 2).then(pl.col("x")))


def untrained(data, **chosen):
    """A model that was not trained, which knows the rows that were held out; `Job.done` does the same."""
    dataset = rx.read(data)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        recipe = rx.plan(dataset, **({"width": 4, "latent_dim": 2, "valid": 0.25} | chosen))
        part, rest = split(dataset, recipe.valid, recipe.seed) if recipe.valid else (dataset, dataset)
        return known_by(rx.FittedModel(build(recipe, part.schema, key=jax.random.key(0)), part.schema, recipe), rest)


FORMS = {
    "frame": lambda frame, folder: frame,
    "pandas": lambda frame, folder: frame.to_pandas(),
    "arrow": lambda frame, folder: frame.to_arrow(),
    "csv": lambda frame, folder: _written(frame.write_csv, folder / "t.csv"),
    "parquet": lambda frame, folder: _written(frame.write_parquet, folder / "t.parquet"),
    "other order of the columns": lambda frame, folder: frame.select(reversed(frame.columns)),
}


def _written(write, path):
    write(path)
    return path


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_same_rows_are_recognized_in_any_form(form, tmp_path):
    rows = table()
    fitted = untrained(rows)
    dataset = dataset_of(fitted, form(rows, tmp_path))
    parts = parts_of(fitted, dataset)
    assert parts is not None
    assert (len(parts[0]), len(parts[1])) == (45, 15)
    assert held_out_of(fitted, parts[1]) is parts[1]  # the held-out rows themselves


CHANGES = {
    "reversed": lambda frame: frame.reverse(),
    "one held-out cell": None,
    "other rows": lambda frame: table(),
    "more rows": lambda frame: pl.concat([frame, frame.head(1)]),
    "gaps in place of zeros": lambda frame: frame.with_columns(pl.col("gap").fill_null(0.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_as_many_other_rows_are_not(change):
    rows = table()
    fitted = untrained(rows)
    if CHANGES[change] is not None:
        other = CHANGES[change](rows)
    else:
        place = int(np.sort(np.random.default_rng(fitted.recipe.seed).permutation(60)[:15])[7])
        changed = rows["x"].to_numpy().copy()
        changed[place] += 1e-3
        other = rows.with_columns(x=changed)
    assert parts_of(fitted, dataset_of(fitted, other)) is None
    assert held_out_of(fitted, dataset_of(fitted, other)) is None


def test_a_fit_without_held_out_rows_recognizes_its_own():
    rows = table()
    fitted = untrained(rows, valid=0.0)
    assert is_data_of_fit(fitted, dataset_of(fitted, rows))
    assert not is_data_of_fit(fitted, dataset_of(fitted, table()))
    assert parts_of(fitted, dataset_of(fitted, rows)) is None
    unknown = replace(untrained(rows), fingerprint=None)  # of a folder that does not say
    assert parts_of(unknown, dataset_of(unknown, rows)) is None


def test_sparse_rows_and_their_zeros_are_the_same():
    counts = RNG.poisson(0.3, (50, 60)).astype(np.float32)
    fitted = untrained(sparse.csr_array(counts))
    assert parts_of(fitted, dataset_of(fitted, sparse.csr_array(counts))) is not None
    assert fingerprint_of(rx.read(sparse.csr_array(counts))) == fingerprint_of(rx.read(counts))


@pytest.mark.parametrize("chosen", [
    {"trim": 0.2}, {"ensemble": 2}, {"valid": 0.0},
    *(pytest.param(chosen, marks=pytest.mark.full) for chosen in ({}, {"valid": 0.0, "rows": 30})),
])  # fmt: skip
def test_a_fit_knows_its_rows_after_saving(chosen, tmp_path):
    rows = table()
    small = {"width": 4, "depth": 1, "latent_dim": 2, "epochs": 1, "prior": "standard-normal", "valid": 0.25}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        rx.save(rx.fit(rows, **small | chosen), tmp_path / "model")
        fitted = rx.load(tmp_path / "model")
        for member in fitted.members:
            dataset, other = dataset_of(member, rows), dataset_of(member, table())
            assert is_data_of_fit(member, dataset) == ("valid" in chosen)
            assert (held_out_of(member, dataset) is None) == ("valid" in chosen)
            assert not is_data_of_fit(member, other)
            assert held_out_of(member, other) is None


@pytest.mark.parametrize("valid", [0.0, 0.3])
def test_rows_of_trimmed_fits_are_recognized_whichever_were_trimmed(valid):
    """What is trimmed depends on scales; those of a fitted model are of the rows that were left."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = rng.standard_t(2.0, size=(80, 3))
        whole = rx.read(
            pl.DataFrame(values, schema=["x", "y", "z"]).with_columns(w=pl.Series(rng.choice(["a", "b"], 80)))
        )
        recipe = rx.plan(whole, trim=0.3, valid=valid, width=4, seed=seed)
        part, held_out, known = rows_of(whole, recipe)
        fitted = known_by(rx.FittedModel(None, part.schema, recipe), known)
        dataset = with_schema(whole, fitted.schema)
        assert is_data_of_fit(fitted, dataset) == (valid == 0)
        if held_out is None:
            continue
        assert held_out_of(fitted, dataset) is not None
        sides = _sides(fitted, dataset)
        np.testing.assert_array_equal(sides.fitted.values, part.values)
        np.testing.assert_array_equal(sides.held_out.values, held_out.values)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 2500), st.integers(0, 2**31 - 1), st.sampled_from([np.float32, np.float64, np.int32, np.uint8]))
def test_a_fingerprint_is_of_the_values(count, seed, dtype):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 200, (count, 3)).astype(dtype)
    rows = from_array(values)
    assert fingerprint_of(rows) == fingerprint_of(from_array(values.astype(np.float64)))
    first, changed = rng.integers(0, 3), values.copy()
    changed[0, first] += 1  # the first row is always looked at
    assert fingerprint_of(rows) != fingerprint_of(from_array(changed))
    if count > 1:
        assert fingerprint_of(rows) != fingerprint_of(from_array(values[:-1]))
