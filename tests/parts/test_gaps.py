"""Which cells are missing is part of the row: a normalized model of it, exact in the bound, kept together in draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from reparax.data import Schema, read
from reparax.tables import Gaps, Layout, RowDistribution

ROWS = 200


def discrete() -> pl.DataFrame:
    """Only categories and dice, so that all rows can be listed; a and b are missing together, c alone, d never."""
    rng = np.random.default_rng(0)
    together, alone = rng.random(ROWS) < 0.3, rng.random(ROWS) < 0.2
    cells = {"a": rng.choice(["x", "y"], ROWS), "b": rng.integers(1, 4, ROWS), "c": rng.choice(["p", "q", "r"], ROWS)}
    gone = {"a": together, "b": together, "c": alone}
    columns = [pl.Series(name, cells[name].tolist()).set(pl.Series(gone[name]), None) for name in cells]
    return pl.DataFrame([*columns, pl.Series("d", rng.choice(["m", "n"], ROWS))])


def law_of(schema: Schema, size: float = 0.7) -> RowDistribution:
    layout = Layout.of(schema.columns, schema.num_examples)
    draw = np.random.default_rng(5).normal(size=layout.num_parameters)
    return RowDistribution(jnp.asarray(size * draw, jnp.float32), layout)


def depending(schema: Schema) -> Schema:
    """The same schema, as if a test had found that all of its gaps depend on the row."""
    columns = (structs.replace(column, missing_depends=column.missing > 0) for column in schema.columns)
    return structs.replace(schema, columns=tuple(columns))


SCHEMA = depending(read(discrete()).schema)
LAW = law_of(SCHEMA)
STATES = [[0.0, 1.0, 2.0, np.nan], [1.0, 2.0, 3.0, np.nan], [0.0, 1.0, 2.0, 3.0, np.nan], [0.0, 1.0, 2.0]]
"""All values of each column, with an unseen category and NaN for a missing cell; d is never missing."""


def every_row() -> np.ndarray:
    return np.asarray(list(itertools.product(*STATES)), np.float32)


def log_probs(law: RowDistribution, rows: np.ndarray) -> np.ndarray:
    found = jax.jit(lambda law, rows: jax.vmap(law.log_prob)(rows))(law, jnp.asarray(rows, jnp.float32))
    return np.asarray(found, np.float64)


def test_columns_that_are_missing_in_the_same_rows_share_a_variable():
    assert [column.missing_with for column in SCHEMA.columns] == ["", "a", "", ""]
    assert LAW.layout.gaps.groups == ((0, 1), (2,))


def test_probabilities_of_all_rows_with_and_without_gaps_add_up_to_one():
    assert np.exp(log_probs(LAW, every_row())).sum() == pytest.approx(1.0, abs=1e-4)


def test_the_term_of_the_gaps_is_the_probability_of_just_these_gaps():
    """Summing over all values of the observed cells leaves P(gaps); an own formula gives the same."""
    rows = every_row()
    probabilities, gone = np.exp(log_probs(LAW, rows)), np.isnan(rows)
    draw = np.asarray(LAW.parameters)[-2:].astype(np.float64)
    fractions = np.asarray([SCHEMA.columns[i].missing for i in (0, 2)])
    odds = (fractions * ROWS + 0.5) / ((1 - fractions) * ROWS + 0.5) * np.exp(20 * np.tanh(draw / 20))
    p, rare = odds / (1 + odds), 1 / (ROWS + 2)
    for pattern in itertools.product([False, True], repeat=3):
        found = probabilities[(gone[:, :3] == pattern).all(axis=1)].sum()
        first = rare / 2 if pattern[0] != pattern[1] else (1 - rare) * (p[0] if pattern[0] else 1 - p[0])
        assert found == pytest.approx(first * (p[1] if pattern[2] else 1 - p[1]), rel=1e-3)


def test_gaps_that_depend_on_nothing_have_no_parameters_and_the_fractions_of_the_data():
    law = law_of(read(discrete()).schema)
    assert law.layout.gaps.dependent == ()
    assert law.layout.num_parameters == LAW.layout.num_parameters - 2
    assert np.exp(log_probs(law, every_row())).sum() == pytest.approx(1.0, abs=1e-4)
    row = jnp.asarray([np.nan, np.nan, 1.0, 0.0])
    expected = RowDistribution.of_data(LAW.layout).log_prob_of_gaps(row)
    np.testing.assert_array_equal(law.log_prob_of_gaps(row), expected)


def test_a_condition_says_that_its_cells_are_observed_and_nothing_of_the_others():
    rows = every_row()
    kept = (rows[:, 2] == 1.0) & (np.isnan(rows[:, 0]) == np.isnan(rows[:, 1]))  # of rows that can be drawn
    rare = 1 / (ROWS + 2)
    expected = np.log(np.exp(log_probs(LAW, rows[kept])).sum() / (1 - rare))
    found = jax.jit(LAW.log_prob_of_condition)(jnp.asarray([np.nan, np.nan, 1.0, np.nan]))
    assert float(found) == pytest.approx(expected, abs=1e-3)


def test_parameters_of_zero_are_the_fractions_of_the_data():
    law = RowDistribution.of_data(LAW.layout)
    rows = np.asarray(jax.jit(lambda key: law.sample(key, (20_000,)))(jax.random.key(0)))
    expected = [column.missing for column in SCHEMA.columns]
    np.testing.assert_allclose(np.isnan(rows).mean(axis=0), expected, atol=5 * np.sqrt(0.25 / 20_000))


def test_cells_that_are_missing_together_are_drawn_together_and_those_known_are_there():
    rows = np.asarray(jax.jit(lambda key: LAW.sample(key, (5000,)))(jax.random.key(1)))
    gone = np.isnan(rows)
    assert (gone[:, 0] == gone[:, 1]).all()
    assert 0 < gone[:, 0].mean() < 1
    assert not gone[:, 3].any()
    observed = jnp.asarray([False, True, False, False])
    draw = jax.jit(jax.vmap(lambda key: LAW.sample_given(key, observed)))
    given_b = np.isnan(np.asarray(draw(jax.random.split(jax.random.key(1), 500))))
    assert not given_b[:, :2].any()
    assert 0 < given_b[:, 2].mean() < 1
    whole = jax.jit(jax.vmap(LAW.sample_whole))(jax.random.split(jax.random.key(1), 500))
    assert not np.isnan(np.asarray(whole)).any()


def test_a_table_without_gaps_has_no_term_for_them_and_gaps_to_come_are_integrated_over():
    schema = read(discrete().drop_nulls()).schema
    law = law_of(schema)
    assert law.layout.gaps.groups == ()
    assert law.layout.num_parameters == sum(family.num_parameters for family in law.layout.families)
    rows = every_row()
    gone = np.isnan(rows)
    whole = np.exp(log_probs(law, rows[~gone.any(axis=1)])).reshape(3, 3, 4, 3)
    without_c = np.exp(log_probs(law, rows[~gone[:, [0, 1, 3]].any(axis=1) & gone[:, 2]])).reshape(3, 3, 3)
    np.testing.assert_allclose(whole.sum(axis=2), without_c, rtol=1e-4)


@st.composite
def masks(draw) -> np.ndarray:
    """Gaps of up to seven columns, some of them equal, of nearly no or nearly all cells, or none at all."""
    patterns = draw(st.lists(st.sampled_from([0.0, 0.02, 0.3, 0.98]), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    columns = [rng.random(60) < share for share in patterns]
    chosen = draw(st.lists(st.integers(0, len(columns) - 1), min_size=1, max_size=7))
    gone = np.stack([columns[i] for i in chosen], axis=1)
    gone[0] = False  # a column without any cell is left out
    return gone


@given(masks())
@settings(max_examples=20, deadline=None)
def test_any_gaps_are_grouped_by_equal_rows_and_normalized(gone):
    values = np.where(gone, np.nan, np.random.default_rng(0).normal(size=gone.shape))
    columns = read(pl.DataFrame({f"c{i}": pl.Series(cells).fill_nan(None) for i, cells in enumerate(values.T)})).schema
    columns = depending(columns) if gone[1:3].any() else columns
    gaps = Gaps.of(columns.columns, len(gone))
    expected: dict[bytes, list[int]] = {}
    for place, cells in enumerate(gone.T):
        if cells.any():
            expected.setdefault(cells.tobytes(), []).append(place)
    assert gaps.groups == tuple(map(tuple, expected.values()))
    if not gaps.groups:
        return
    places = np.flatnonzero(gone.any(axis=0))
    rows = np.zeros((2 ** len(places), gone.shape[1] + 2), np.float32)  # two more cells than the table has columns
    rows[:, places] = [
        [np.nan if one else 0.0 for one in which] for which in itertools.product([0, 1], repeat=len(places))
    ]
    draw = jnp.asarray(np.random.default_rng(1).normal(size=gaps.num_parameters), jnp.float32)
    log_prob = jax.vmap(lambda row: gaps.log_prob(draw, row).sum())
    found = np.asarray(log_prob(jnp.asarray(rows)), np.float64)
    assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-4)
    beside = np.pad(rows[:, :-2], ((0, 0), (0, 2)), constant_values=np.nan)
    np.testing.assert_array_equal(found, log_prob(jnp.asarray(beside)))


def test_a_schema_with_gaps_shared_by_columns_of_other_gaps_is_refused():
    columns = list(SCHEMA.columns)
    columns[1] = structs.replace(columns[1], missing_with="c")
    with pytest.raises(ValueError, match="missing with one that has other gaps: b"):
        structs.replace(SCHEMA, columns=tuple(columns))


def test_many_columns_that_are_missing_together_have_a_finite_density():
    columns = [
        structs.replace(SCHEMA.columns[3], name=f"c{i}", missing=0.5, missing_with="c0" if i else "")
        for i in range(2000)
    ]
    gaps = Gaps.of(columns, ROWS)
    part = gaps.log_prob(jnp.zeros(1), jnp.zeros(2000).at[7].set(jnp.nan))
    assert float(part[0]) == pytest.approx(-np.log(ROWS + 2) - 2000 * np.log(2.0), rel=1e-5)
