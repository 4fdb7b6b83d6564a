"""What a column is told to be from its cells."""

import math

import msgspec
import numpy as np
import polars as pl
import pytest

from reparax.data import Schema, column_lines, read
from reparax.data.columns import column_of
from reparax.data.values import Cells, Levels, spikes_of, step_of
from reparax.summary import QUANTILE_LEVELS

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=1000)


def told(values, dtype="float64"):
    return column_of("a", Cells("number", np.asarray(values), dtype))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (NORMAL, "continuous"),
        (np.exp(NORMAL), "positive"),
        (10 + NORMAL, "continuous"),
        (RNG.poisson(40.0, 1000), "count"),
        (RNG.poisson(40.0, 1000) - 30, "continuous"),
        (RNG.integers(1, 6, 1000), "ordinal"),
        (RNG.choice([0.5, 1.5], 100), "ordinal"),
        (np.array([1, 2, 2, 1, 3, 1]), "count"),
        (RNG.integers(0, 2, 100), "binary"),
        (RNG.integers(0, 2, 100) * 1.0, "binary"),
        (np.full(20, 7.5), "ordinal"),
        (np.where(NORMAL > 0, 0, np.exp(NORMAL)), "zero-inflated"),
        (np.where(NORMAL > 0, 0, -np.exp(NORMAL)), "zero-inflated"),
        (np.where(NORMAL > 1.2, 0.0, NORMAL - 9), "zero-inflated"),
        (np.where(NORMAL > 1.2, 0.0, NORMAL), "continuous"),
        (np.where(NORMAL > 0, 0, RNG.integers(1, 90_000, 1000)), "zero-inflated"),
    ],
    ids=str,
)
def test_kinds_of_numbers(values, kind):
    assert told(values).kind == kind


def test_zero_and_one_keep_their_places_whichever_is_more_frequent():
    column = told(np.array([1, 1, 1, 0]), "int64")
    assert (column.categories, column.category_fractions) == ((0, 1), (0.25, 0.75))
    column = told(np.array([1.0, 0, np.nan, 0]))
    assert [type(category) for category in column.categories] == [float, float]
    assert column.missing == 0.25


def test_moments_quantiles_and_range_are_of_the_cells_that_are_there():
    values = np.where(NORMAL > 1, np.nan, NORMAL)
    column, present = told(values), NORMAL[NORMAL <= 1]
    assert column.missing == pytest.approx(1 - len(present) / 1000)
    assert (column.low, column.high) == (present.min(), present.max())
    np.testing.assert_allclose([column.mean, column.std], [present.mean(), present.std()], rtol=1e-12)
    np.testing.assert_allclose(column.quantiles, np.quantile(present, QUANTILE_LEVELS), rtol=1e-12)
    assert column.spikes == ()


def test_atoms_are_the_values_that_many_rows_share():
    values = np.concatenate([RNG.normal(size=900), np.repeat([3.0, -1.0], [60, 40])])
    column = told(values)
    assert (column.spikes, column.spike_fractions) == ((-1.0, 3.0), (0.04, 0.06))
    np.testing.assert_allclose(column.quantiles, np.quantile(values[:900], QUANTILE_LEVELS), rtol=1e-12)
    assert told(np.repeat([1, 2, 3], 10)).spike_fractions == (1 / 3, 1 / 3, 1 / 3)
    assert told(np.repeat([1, 2, 3], 10)).quantiles == ()


@pytest.mark.parametrize(
    ("values", "count"),
    [
        (RNG.integers(0, 100, 1000), 0),  # about ten rows each, by chance
        (np.append(RNG.integers(0, 100, 1000), [44] * 20), 1),
        (np.rint(RNG.normal(200, 14, 342)), 0),
        (np.concatenate([np.repeat(np.arange(10, 20) * 10, 12), RNG.integers(100, 200, 100)]), 10),
        (RNG.integers(0, 100_000, 5000), 0),
        (RNG.integers(17, 60, 20_000), 43),
        (RNG.permutation(2000), 0),
        (RNG.integers(0, 90, 100_000), 0),
        (np.concatenate([RNG.integers(0, 90, 100_000), np.repeat([5, 7], 20_000)]), 2),
    ],
)
def test_values_spread_evenly_are_no_spikes(values, count):
    assert len(spikes_of(Levels.of(values), 1.0)) == count


AMOUNTS = np.unique(np.rint(np.exp(RNG.normal(8.0, 1.0, 40))))
"""Amounts of money of which only these occur, each far from the next."""


@pytest.mark.parametrize("rows", [15, 40])
def test_amounts_that_stand_alone_are_atoms_although_each_has_few_of_many_rows(rows):
    values = np.concatenate([np.zeros(20_000), np.repeat(AMOUNTS, rows), RNG.integers(1, 30_000, 200)])
    column = told(values)
    assert set(AMOUNTS) < set(column.spikes)
    assert len(column.spikes) <= 2 + len(AMOUNTS)


def test_no_more_atoms_are_found_if_there_are_too_many_or_they_have_too_few_rows():
    few = np.concatenate([np.zeros(20_000), np.repeat(AMOUNTS, 9)])
    assert told(few).spikes == (0.0,)
    wide = np.concatenate([np.zeros(20_000), np.repeat(np.arange(200.0) * 100 + 50, 30)])
    assert len(told(wide).spikes) == 64
    among_others = np.concatenate([np.zeros(20_000), np.repeat(AMOUNTS, 15), RNG.integers(1, 30_000, 2000)])
    assert told(among_others).spikes == (0.0,)
    # Every multiple of the step is as frequent as its neighbors.
    dense = np.concatenate([np.zeros(20_000), np.repeat(np.arange(1.0, 200.0), 30)])
    assert told(dense).spikes == (0.0,)


def test_few_values_beside_the_atoms_still_have_quantiles():
    column = told(np.concatenate([np.repeat(np.arange(30.0), 40), [100.5, 200.25]]))
    assert len(column.spikes) == 30
    assert (column.quantiles[0], column.quantiles[-1]) == (0, 200.25)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.arange(20), 1),
        (np.arange(20) * 25, 25),
        (np.array([100, 200, 300]), 1),  # too few to tell a rule from an accident
        (np.arange(20) / 10, 0.1),
        (np.arange(20) / 2, 0.5),
        (np.arange(2000) / 20, 0.05),
        (np.arange(200) / 1000 + 1e5, 0.001),
        (np.round(NORMAL, 6), 1e-6),
        (np.round(NORMAL, 7), 0),
        (NORMAL, 0),
        (np.array([1e300, 2e300]), 1),
        (np.array([0.1 + 0.2, 0.3]), 0.1),
    ],
    ids=str,
)
def test_step(values, step):
    assert step_of(np.unique(values.astype(float)), np.finfo(float).eps) == pytest.approx(step, rel=1e-12)


def test_steps_of_single_precision():
    single = np.round(NORMAL, 2).astype(np.float32)
    assert told(single, "float32").step == 0.01
    assert told(single.astype(float), "float64").step == 0
    assert told(NORMAL.astype(np.float32), "float32").step == 0


def test_skewness_is_that_of_the_rows():
    values = np.repeat([0.0, 1, 5], [50, 30, 20])
    centered = (values - values.mean()) / values.std()
    assert Levels.of(values).skewness() == pytest.approx((centered**3).mean(), rel=1e-12)


def kinds(frame):
    return {column.name: column.kind for column in read(frame).schema.columns}


def test_kinds_of_text_categories_dates_and_truth_values():
    frame = pl.DataFrame(
        {
            "two": ["x", "y", None] * 10,
            "three": ["x", "y", "z"] * 10,
            "one": ["x"] * 30,
            "numbers": ["1.5", "2", "?"] * 10,
            "zip": ["02139", "10001", "00501"] * 10,
            "truth": ["True", "False", "True"] * 10,
            "bool": [True, None, True] * 10,
            "enum": pl.Series(["1", "2", "2"] * 10, dtype=pl.Enum(["1", "2"])),
            "day": ["2020-01-31", "2020-02-01", ""] * 10,
            "time": ["31.12.2020 23:59", "01.01.2021 00:00", "02.01.2021 12:30"] * 10,
        }
    )
    assert kinds(frame) == {
        "two": "binary", "three": "categorical", "one": "categorical", "numbers": "ordinal", "zip": "categorical",
        "truth": "boolean", "bool": "boolean", "enum": "binary", "day": "datetime", "time": "datetime",
    }  # fmt: skip


def test_categories_are_sorted_by_frequency_and_hold_no_missing_cells():
    dataset = read(pl.DataFrame({"a": ["z", "y", "x", "?", " ?", "", "NA", None, "y", "z", "y"]}))
    (column,) = dataset.schema.columns
    assert (column.categories, column.category_fractions) == (("y", "z", "x"), (3 / 6, 2 / 6, 1 / 6))
    np.testing.assert_array_equal(dataset.values[:, 0], [1, 0, 2, *[np.nan] * 5, 0, 1, 0])
    assert (column.low, column.high, column.mean, column.std, column.missing) == (0, 2, 0, 1, 5 / 11)


def test_blanks_around_text_stay_unless_they_alone_tell_categories_apart():
    assert read(pl.DataFrame({"a": [" x", " y", " x"]})).schema.columns[0].categories == (" x", " y")
    dataset = read(pl.DataFrame({"a": [" x", "x ", "y", " x"]}))
    assert dataset.schema.columns[0].categories == ("x", "y")
    assert dataset.values[:, 0].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("texts", "days", "form"),
    [
        (["2020-01-02", "1969-12-31"], [18263, -1], "%Y-%m-%d"),
        (["02.01.2020"], [18263], "%d.%m.%Y"),
        (["1/2/2020", "1/13/2020"], [18263, 18274], "%-m/%-d/%Y"),
        (["02/01/2020", "13/01/2020"], [18263, 18274], "%d/%m/%Y"),
        (["2 Jan 2020"], [18263], "%-d %b %Y"),
        (["January 02, 2020"], [18263], "%B %d, %Y"),
        (["2020-01-02 12:00", "2020-01-02 18:00"], [18263.5, 18263.75], "%Y-%m-%d %H:%M"),
        (["2020-01-02T12:00:00Z"], [18263.5], "%Y-%m-%dT%H:%M:%SZ"),
        (["2020-01-02T12:00:00+02:00"], [18263 + 10 / 24], None),
    ],
)
def test_dates_of_one_format(texts, days, form):
    dataset = read(pl.DataFrame({"a": texts}))
    (column,) = dataset.schema.columns
    assert column.kind == "datetime"
    np.testing.assert_allclose(dataset.values[:, 0], days, atol=1e-9)
    if form:
        assert column.dtype == f"string:{form}"


@pytest.mark.parametrize(
    "texts", [["2020-01-02", "02.01.2020"], ["2020-13-01"], ["20-1"], ["1.5.2"], ["0020-01-02"], ["May", "June"]]
)
def test_text_that_is_no_date_of_one_format(texts):
    assert read(pl.DataFrame({"a": texts * 3})).schema.columns[0].kind in {"binary", "categorical"}


def test_month_and_day_that_could_change_places_are_noted():
    (note,) = read(pl.DataFrame({"a": ["01/02/2020", "03/04/2020"]})).notes
    assert "month before day" in note


def test_the_step_of_dates_and_times():
    steps = {
        column.name: column.step
        for column in read(
            pl.DataFrame({"d": ["2020-01-02", "2020-01-09"], "m": ["2020-01-02 12:30", "2020-01-02 12:45"]})
        ).schema.columns
    }
    assert steps == {"d": 1, "m": 1 / 1440}


NAMES = [f"{first} {last}" for first in "ABCDEFGH" for last in "abcdefgh"]


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("a", NAMES, "an identifier"),
        ("a", [f"the {i // 2} quick brown foxes jump" for i in range(64)], "free text"),
        ("a", list(range(64)), "a count of the rows"),
        ("a", [*range(1, 65)][::-1], "a count of the rows"),
        ("a", list(range(1000, 1200)), "a running number"),
        ("year", list(range(1960, 2024)), None),
        ("customer_id", [i * 7 + 1 for i in range(64)], "an identifier"),
        ("userId", [i * 7 + 1 for i in range(64)], "an identifier"),
        ("a", [2**60 + i for i in range(64)], "too large"),
        ("a", [None] * 64, "every cell is missing"),
        ("humid", [i * 7 + 1 for i in range(64)], None),
        ("a", [i * 7 + 1 for i in range(64)], None),
        ("id", [i % 5 for i in range(64)], None),
        ("a", [f"town {i // 3}" for i in range(64)], None),
        ("a", NAMES[:15] + [None] * 49, None),
        ("a", [i / 2 for i in range(64)], None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_columns_that_say_nothing_are_left_out_with_a_note(name, column, reason):
    dataset = read(pl.DataFrame({name: column, "other": RNG.normal(size=len(column))}))
    if reason is None:
        assert (dataset.schema.names, dataset.schema.excluded) == ((name, "other"), ())
        return
    ((left_out, why),) = dataset.schema.excluded
    assert dataset.schema.names == ("other",)
    assert left_out == name
    assert reason in why
    assert any(note.startswith(f"column {name!r} was left out: ") and reason in note for note in dataset.notes)


def test_arrays_keep_every_column():
    assert read(np.arange(64).reshape(64, 1)).values.shape == (64, 1)


def test_many_columns_left_out_are_noted_together():
    frame = pl.DataFrame({f"c{i}": [None, None] for i in range(30)} | {"a": [1, 2]})
    assert sum("left out" in note for note in read(frame).notes) == 11


def test_plain_tables_are_described_too_and_stay_as_they_were():
    dataset = read(pl.DataFrame({"a": [0.5, 1.5], "b": [0, 1], "c": [True, False], "d": [3, 3]}))
    assert (dataset.schema.value_kind, dataset.values.dtype) == ("real", np.float32)
    assert [column.kind for column in dataset.schema.columns] == ["continuous", "binary", "boolean", "ordinal"]
    assert dataset.values.tolist() == [[0.5, 0, 1, 3], [1.5, 1, 0, 3]]
    assert dataset.schema.summary().columns == dataset.schema.columns
    assert read("builtin:digits").schema.columns is None
    assert read("builtin:digits").schema.summary().columns == ()


def test_a_schema_of_a_mixed_table_survives_json():
    frame = pl.DataFrame(
        {"a": [0.5, None], "b": ["x", "y"], "c": [True, None], "d": [0, 1], "e": [0.0, 1.0], "f": [None] * 2}
    )
    schema = read(frame).schema
    back = msgspec.json.decode(msgspec.json.encode(schema), type=Schema)
    assert back == schema
    assert hash(back) == hash(schema)
    assert [list(map(type, column.categories)) for column in back.columns[1:]] == [
        [str, str], [bool, bool], [int, int], [float, float],
    ]  # fmt: skip


def test_every_number_of_a_schema_is_finite(shared_data):
    for name in ("adult", "titanic", "penguins", "mpg", "winequality-white"):
        schema = read(shared_data / "tables" / f"{name}.csv").schema
        for column in schema.columns:
            numbers = [column.missing, column.low, column.high, column.mean, column.std, column.step]
            assert all(map(math.isfinite, [*numbers, *column.quantiles, *column.spikes]))
            assert sum(column.category_fractions) == pytest.approx(1 if column.is_category else 0)
            assert sum(column.spike_fractions) <= 1 + 1e-9


REAL_TABLES = {
    "adult": "count categorical count categorical ordinal categorical categorical categorical categorical binary "
    "zero-inflated zero-inflated count categorical binary",
    "titanic": "binary ordinal binary continuous ordinal ordinal continuous categorical categorical categorical "
    "boolean categorical categorical binary boolean",
    "penguins": "categorical categorical continuous continuous count count binary",
    "mpg": "continuous ordinal continuous count count continuous ordinal categorical",
    "winequality-white": "continuous positive continuous positive positive continuous continuous continuous continuous "
    "continuous continuous ordinal",
}


@pytest.mark.parametrize("name", REAL_TABLES)
def test_real_tables(shared_data, name):
    dataset = read(shared_data / "tables" / f"{name}.csv")
    assert " ".join(column.kind for column in dataset.schema.columns) == REAL_TABLES[name]
    assert [left_out for left_out, _ in dataset.schema.excluded] == (["name"] if name == "mpg" else [])
    missing = {column.name for column in dataset.schema.columns if column.missing}
    assert (
        missing
        == {
            "adult": {"workclass", "occupation", "native-country"},
            "titanic": {"age", "deck", "embarked", "embark_town"},
            "penguins": {"sex", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"},
            "mpg": {"horsepower"},
            "winequality-white": set(),
        }[name]
    )


def test_columns_in_words(shared_data):
    lines = {line.name: line for line in column_lines(read(shared_data / "tables" / "titanic.csv").schema)}
    assert lines["sex"][1:] == ("binary", "", "male 65 %, female 35 %")
    assert lines["deck"][1:] == ("categorical", "77 %", "C 29 %, B 23 %, D 16 % and 4 more")
    assert lines["age"][1:] == ("continuous", "20 %", "0.42 to 80")
    assert lines["pclass"][1:] == ("ordinal", "", "1 to 3, 3 levels")
    frame = pl.DataFrame(
        {"d": ["2020-01-02", "2020-03-04"] * 20, "n": NAMES[:40], "z": [0.0, 0, 0, 2.5] * 9 + [1.0] * 4}
    )
    assert [line[1:] for line in column_lines(read(frame).schema)] == [
        ("datetime", "", "2020-01-02 to 2020-03-04"),
        ("ordinal", "", "0 to 2.5, 3 levels"),
        ("left out", "", "an identifier: every row has a different text"),
    ]
    assert column_lines(read("builtin:digits").schema) == []
