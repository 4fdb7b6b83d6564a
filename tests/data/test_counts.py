"""Which tables are matrices of counts, on random ones that the rule was not chosen on."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from reparax.data import read
from reparax.data.counts import are_counts
from reparax.recipe import suggest

SIZES = st.tuples(st.sampled_from([150, 400, 2000]), st.sampled_from([50, 90, 250]), st.integers(0, 2**31))


def cells(rng, n, d):
    """Types of cells with sizes, from negative binomial counts."""
    profiles = np.exp(rng.normal(rng.uniform(-2, 1), 1.2, (4, d)))
    mean = profiles[rng.integers(0, 4, n)] * rng.lognormal(0, 0.7, (n, 1))
    r = rng.uniform(0.5, 5)
    return rng.negative_binomial(r, r / (r + mean))


def words(rng, n, d):
    """Texts of topics, over words by Zipf's law."""
    topics = rng.dirichlet(np.full(5, 0.3), n) @ rng.dirichlet(3.0 / np.arange(1, d + 1), 5)
    lengths = rng.poisson(80, n) + 20
    return np.stack([rng.multinomial(length, p / p.sum()) for length, p in zip(lengths, topics, strict=True)])


def purchases(rng, n, d):
    """Zero-inflated Poisson counts of independent rates."""
    return rng.poisson(rng.gamma(0.7, 2.0, d), (n, d)) * (rng.random((n, d)) < 0.6)


def questionnaire(rng, n, d):
    """Answers from 0 to 4, skewed, that go together."""
    mood = rng.normal(size=(n, 1))
    return np.clip(np.rint(mood + rng.normal(rng.uniform(-0.5, 2, d), 1.0, (n, d))), 0, 4).astype(int)


def stars(rng, n, d):
    """Ratings from 1 to 5, most of them absent: 0."""
    rated = rng.random((n, d)) < 0.4
    return np.where(rated, rng.choice(np.arange(1, 6), (n, d), p=[0.1, 0.1, 0.2, 0.3, 0.3]), 0)


def codes(rng, n, d):
    """Codes of categories of random frequencies."""
    return np.stack([
        rng.choice(k, n, p=rng.dirichlet(np.full(k, 1.0))) for k in rng.integers(3, 15, d)
    ], axis=1)  # fmt: skip


def bits(rng, n, d):
    """Indicators."""
    return (rng.random((n, d)) < rng.uniform(0.02, 0.6, d)).astype(int)


def alleles(rng, n, d):
    """How many of two chromosomes have a variant."""
    return rng.binomial(2, rng.uniform(0.05, 0.5, d), (n, d))


def measurements(rng, n, d):
    """Lengths in whole millimeters."""
    return np.rint(rng.normal(rng.uniform(50, 500, d), 20.0, (n, d))).astype(int).clip(0)


@settings(max_examples=15, deadline=None)
@given(size=SIZES, make=st.sampled_from([cells, words, purchases]))
def test_counts_are_counts(size, make):
    n, d, seed = size
    assert are_counts(make(np.random.default_rng(seed), n, d))


@settings(max_examples=25, deadline=None)
@given(size=SIZES, make=st.sampled_from([questionnaire, stars, codes, bits, alleles, measurements]))
def test_other_whole_numbers_are_not(size, make):
    n, d, seed = size
    assert not are_counts(make(np.random.default_rng(seed), n, d))


def test_pixels_and_few_columns_are_not():
    assert not are_counts(load_digits().data.astype(int))
    assert not are_counts(cells(np.random.default_rng(0), 500, 49))


RNG = np.random.default_rng(5)
COUNTS = cells(RNG, 300, 60)
BATCH = RNG.choice(["first", "second"], 300)


def frame(**more):
    return pl.DataFrame({f"gene {index}": column for index, column in enumerate(COUNTS.T)} | more)


@pytest.mark.parametrize("form", ["array", "csv", "npy", "npz", "frame"])
def test_a_matrix_of_counts_is_planned_as_one_without_an_option(form, tmp_path):
    path = tmp_path / f"counts.{form}"
    if form == "csv":
        frame().write_csv(path)
    elif form == "npy":
        np.save(path, COUNTS)
    elif form == "npz":
        np.savez(path, X=COUNTS)
    dataset = read({"array": COUNTS, "frame": frame()}.get(form, path))
    assert dataset.schema.value_kind == "counts"
    assert {column.kind for column in dataset.schema.columns} == {"count"}
    assert suggest(dataset.schema, len(dataset)).likelihood == "negative-binomial"
    assert any("60 columns of counts" in note for note in dataset.notes)


def test_given_columns_are_no_obstacle_and_others_are_named():
    table = frame(batch=BATCH)
    assert read(table, given=["batch"]).schema.value_kind == "counts"
    assert read(table, exclude=["batch"]).schema.value_kind == "counts"
    mixed = read(table)
    assert mixed.schema.value_kind == "mixed"
    assert any("60 columns are counts" in note and "'batch'" in note for note in mixed.notes)


def test_kinds_that_the_user_states_are_kept():
    schema = read(frame(), schema={"gene 3": "ordinal"}).schema
    assert (schema.value_kind, schema.columns[3].kind) == ("integer", "ordinal")
