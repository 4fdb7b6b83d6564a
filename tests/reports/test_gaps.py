"""The section on missing cells: whether they depend on the row, and whether synthetic rows have lost them."""

import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.reports import study_of
from reparax.reports.gaps import gaps
from reparax.reports.missing import dependence, gap_groups, separability_by_gaps, with_gaps
from reparax.reports.study import associations

ROWS = 600


def frame(seed: int = 0) -> pl.DataFrame:
    """The cells of b and c are missing for large a; those of d anywhere."""
    rng = np.random.default_rng(seed)
    a, gone = rng.normal(size=ROWS), rng.random(ROWS) < 0.3
    table = pl.DataFrame({"a": a, "b": rng.normal(size=ROWS), "c": rng.normal(size=ROWS), "d": rng.normal(size=ROWS)})
    given = [pl.when(pl.col("a") < 0.5).then(name).alias(name) for name in "bc"]
    return table.with_columns(*given, d=pl.when(pl.Series(~gone)).then("d"))


DATA = rx.read(frame())
COLUMNS = DATA.schema.columns
VALUES = DATA.values.astype(np.float64)


def test_gaps_that_follow_from_the_row_are_predictable_and_others_are_not():
    together, alone = gap_groups(COLUMNS)
    assert (together, alone) == ((1, 2), (3,))
    assert dependence(VALUES, COLUMNS, together) > 0.98
    assert dependence(VALUES, COLUMNS, alone) == pytest.approx(0.5, abs=0.08)
    assert np.isnan(dependence(VALUES[:30], COLUMNS, alone))


def test_rows_with_lost_gaps_are_told_apart_by_them():
    other = rx.read(frame(seed=1)).values.astype(np.float64)
    assert separability_by_gaps(VALUES, other, COLUMNS) == pytest.approx(0.5, abs=0.06)
    shuffled = np.random.default_rng(0).permuted(other, axis=0)  # the same fractions, each column by itself
    assert separability_by_gaps(VALUES, shuffled, COLUMNS) > 0.6
    assert np.isnan(separability_by_gaps(VALUES[:, :1], other[:, :1], COLUMNS[:1]))


def test_lost_gaps_count_among_the_associations():
    values, columns = with_gaps(VALUES, COLUMNS)
    assert [column.name for column in columns[4:]] == ["b is missing", "d is missing"]
    shuffled, _ = with_gaps(np.random.default_rng(0).permuted(VALUES, axis=0), COLUMNS)
    assert associations(values, columns)[4, 0] > 0.7
    assert associations(shuffled, columns)[4, 0] < 0.2


def test_the_section_says_how_gaps_depend_on_the_row(make_model):
    study = study_of(make_model(frame()), frame(), label=None, origin=None, num_samples=2, seed=0)
    section = gaps(study)
    lines = {line[0]: line[1:] for line in section.blocks[1].rows}
    assert set(lines) == {"b, c", "d"}
    assert float(lines["b, c"][2]) > 0.98
    assert "in 1 of 2 lines" in section.blocks[2].text
    whole = frame().select("a").with_columns(e=pl.col("a") * 2)
    assert gaps(study_of(make_model(whole), whole, label=None, origin=None, num_samples=2, seed=0)) is None
