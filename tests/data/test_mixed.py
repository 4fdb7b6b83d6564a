"""Tables of mixed columns: the matrix they become, and later data held against them."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from reparax.data import fill, read, read_as, require_fit, split, to_frame
from reparax.errors import DataError

FITTED = pl.DataFrame(
    {
        "n": [1.5, None, 3.0, 4.5],
        "k": [3, 1, 3, 2],
        "s": ["b", "a", "b", None],
        "t": [True, None, False, True],
        "d": ["2020-01-02", "2020-01-03", None, "2020-02-01"],
    }
)
MATRIX = [[1.5, 3, 0, 1, 18263], [np.nan, 1, 1, np.nan, 18264], [3, 3, 0, 0, np.nan], [4.5, 2, np.nan, 1, 18293]]


@pytest.fixture
def schema():
    return read(FITTED).schema


def test_the_matrix_of_a_mixed_table(schema):
    dataset = read(FITTED)
    np.testing.assert_array_equal(dataset.values, MATRIX)
    assert (dataset.values.dtype, schema.dtype, schema.value_kind) == (np.float32, "float32", "mixed")
    assert (schema.low, schema.high) == ((1.5, 1, 0, 0, 18263), (4.5, 3, 1, 1, 18293))
    assert schema.mean[2:4] == (0, 0)
    assert schema.std[2:4] == (1, 1)
    assert not dataset.values.flags.writeable
    assert dataset.notes == ("cells are missing in 4 of 5 columns: 'n' 25 %, 's' 25 %, 't' 25 %, 'd' 25 %",)
    summary = schema.summary()
    assert (summary.kind, summary.event_shape, summary.columns) == ("mixed", (5,), schema.columns)


def test_missing_cells_of_an_array():
    array = np.array([[1.0, np.nan, np.nan], [2.5, 7, np.nan]])
    dataset = read(array)
    np.testing.assert_array_equal(dataset.values, array[:, :2])
    assert dataset.schema.value_kind == "mixed"
    assert dataset.schema.excluded == (("column_2", "every cell is missing"),)
    np.testing.assert_array_equal(read_as(array, dataset.schema).values, array[:, :2])
    np.testing.assert_array_equal(read_as(array[:, :2], dataset.schema).values, array[:, :2])


def test_float64_where_float32_would_lose_digits():
    times = [f"2020-01-02 03:04:{second:02}" for second in range(60)]
    dataset = read(pl.DataFrame({"t": times, "s": ["x", "y"] * 30}))
    assert dataset.values.dtype == np.float64
    assert any("'t'" in note and "float64" in note for note in dataset.notes)
    assert to_frame(dataset.values, dataset.schema)["t"].to_list() == times
    cents = read(pl.DataFrame({"c": [1_000_000.01, 5_000_000.02, 2.53], "s": ["x", "y", "x"]}))
    assert cents.values.dtype == np.float64
    assert to_frame(cents.values, cents.schema)["c"].to_list() == [1_000_000.01, 5_000_000.02, 2.53]


def test_columns_are_matched_by_name_whatever_their_order(schema):
    later = FITTED.select("d", "t", "s", "n", "k")
    for source in (later, later.to_arrow(), read(later)):
        found = read_as(source, schema)
        np.testing.assert_array_equal(found.values, MATRIX)
        assert found.schema is schema
    np.testing.assert_array_equal(schema.check(read(later)), MATRIX)


def test_later_data_keep_their_codes_whatever_they_hold(schema):
    later = pl.DataFrame({"n": ["7"], "k": [9.5], "s": ["a"], "t": [None], "d": ["1999-12-31"]})
    np.testing.assert_array_equal(read_as(later, schema).values, [[7, 9.5, 1, np.nan, 10956]])
    np.testing.assert_array_equal(schema.check(read(later)), [[7, 9.5, 1, np.nan, 10956]])


def test_unseen_categories_have_a_code_of_their_own_and_are_noted(schema):
    later = FITTED.with_columns(s=pl.Series(["c", "a", "e", "c"]))
    for found in (read_as(later, schema), schema.match(read(later))):
        assert found.values[:, 2].tolist() == [2, 1, 2, 2]
        assert "column 's': 2 values that did not occur in training: 'c', 'e' (3 rows)" in found.notes
    one = read_as(FITTED.with_columns(s=pl.Series(["c", "a", "a", "b"])), schema)
    assert "column 's': 1 value that did not occur in training: 'c' (1 row)" in one.notes
    assert to_frame(one.values, schema)["s"].to_list() == [None, "a", "a", "b"]


@pytest.mark.parametrize(
    ("fitted", "later", "codes"),
    [
        ([3, 1, 3], ["3", "1", "4"], [0, 1, 2]),
        (["3", "x", "3"], [3, 4, 3], [0, 2, 0]),
        (["3", "x", "3"], [3.0, 4.5, 3.0], [0, 2, 0]),
        (["02139", "10001", "02139"], ["10001", "02139", "2139"], [1, 0, 2]),
        ([" x", " y", " x"], ["x", "y", " y"], [0, 1, 1]),
        (["True", "False", "True"], [True, False, None], [1, 0, np.nan]),
        ([True, False, True], ["FALSE", "true", ""], [0, 1, np.nan]),
        ([0, 1, 1], [True, False, None], [1, 0, np.nan]),
        ([True, False, True], [0, 1, 2], [0, 1, 2]),
        (["yes", "no", "yes"], ["no", "Yes", "maybe"], [1, 2, 2]),
    ],
)
def test_categories_of_another_data_type(fitted, later, codes):
    schema = read(pl.DataFrame({"c": fitted, "s": ["x", "y", "x"]}), schema={"c": "categorical"}).schema
    found = read_as(pl.DataFrame({"c": later, "s": ["x", "y", "x"]}), schema).values[:, 0]
    np.testing.assert_array_equal(found, codes)


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("n", ["1", "oops", "3", None], "numbers in column 'n', as in training; got 'oops' in row 2"),
        ("n", ["2020-01-02"] * 4, "numbers in column 'n', as in training; got dates"),
        ("d", [1.5, 2, 3, 4], "dates in column 'd', as in training; got numbers"),
        (
            "d",
            ["2020-01-02", "2020-01-02", "soon", "later"],
            "dates in column 'd', as in training; got 'soon' in row 3",
        ),
        ("n", [1, 2, float("inf"), 4], "1 infinite value, the first in column 'n', row 3"),
        ("n", [1, 2, 1e39, 4], "1e+39 in column 'n', row 3"),
    ],
)
def test_cells_of_another_kind_than_at_fitting(schema, column, cells, message):
    later = FITTED.with_columns(pl.Series(column, cells, strict=False))
    with pytest.raises(DataError, match=r"^expected .*; got .*; .") as caught:
        read_as(later, schema)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (FITTED.drop("k"), "no 'k'"),
        (FITTED.rename({"k": "kk"}), "no 'k' and also 'kk'"),
        (FITTED.with_columns(extra=1), "also 'extra'"),
        (FITTED.head(0), "at least one example; got none"),
        (np.ones((3, 4)), "5 columns as in training; got 4 columns"),
        (np.ones((3, 8, 8)), "images of 8x8x1"),
    ],
)
def test_missing_and_unexpected_columns(schema, later, message):
    with pytest.raises(DataError, match=message):
        read_as(later, schema)


def test_columns_left_out_at_fitting_may_come_or_not(schema):
    with_id = FITTED.with_columns(id=pl.Series(["a", "b", "c", "d"]))
    fitted = read(with_id, exclude=["id"]).schema
    assert fitted.excluded == (("id", "as asked"),)
    found = read_as(with_id, fitted)
    assert "left out, as in training: 'id'" in found.notes
    np.testing.assert_array_equal(found.values, MATRIX)
    np.testing.assert_array_equal(read_as(FITTED, fitted).values, MATRIX)


def test_labels_may_come_or_not(schema):
    labeled = FITTED.with_columns(y=pl.Series([1, 0, 1, 0]))
    fitted = read(labeled, label="y").schema
    assert (fitted.label, fitted.names) == ("y", ("n", "k", "s", "t", "d"))
    assert read_as(labeled, fitted).labels.tolist() == [1, 0, 1, 0]
    assert read_as(FITTED, fitted).labels is None


def test_data_that_were_held_against_a_schema_are_taken_as_they_are():
    fitted = read(FITTED).schema
    labeled = read(FITTED.with_columns(group=pl.Series([1, 0, 1, 0])), label="group")
    once = read_as(labeled, fitted)
    again = read_as(once, fitted)
    np.testing.assert_array_equal(again.values, once.values)
    assert again.labels.tolist() == [1, 0, 1, 0]


def test_a_matrix_is_taken_as_it_is_where_its_codes_exist(schema):
    values = np.asarray(MATRIX)
    np.testing.assert_array_equal(schema.check(values), MATRIX)
    assert schema.check(values).dtype == np.float32
    for column, value, message in ((2, 3, "codes from 0 to 2 in column 's'"), (0, np.inf, "infinity in column 'n'")):
        wrong = values.copy()
        wrong[0, column] = value
        with pytest.raises(DataError, match=message):
            schema.check(wrong)


def test_missing_cells_where_the_fit_had_none():
    fitted = read(pl.DataFrame({"a": [1.5, 2, 3], "b": [2, 3, 9]})).schema
    later = pl.DataFrame({"b": [None, 5], "a": [1.0, 2]})
    with pytest.raises(DataError, match="column 'b', row 1; fill them first, or fit a model on data in which"):
        read_as(later, fitted)
    for found in (read_as(later, fitted, allow_missing=True), fitted.match(read(later), allow_missing=True)):
        np.testing.assert_array_equal(found.values, [[1, np.nan], [2, 5]])
        assert found.values.dtype == np.float32
    whole = read(np.array([[1, 5], [2, 3]])).schema
    assert read_as(np.array([[1, 2]]), whole, allow_missing=True).values.dtype == np.int32
    with pytest.raises(DataError, match="whole numbers"):
        read_as(np.array([[1.5, np.nan]]), whole, allow_missing=True)


def test_split_takes_shares_and_quantiles_from_the_first_part():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "a": rng.normal(size=200),
            "z": np.where(rng.random(200) < 0.5, 0, rng.random(200)),
            "s": rng.choice(["x", "y", "z"], 200),
        }
    ).with_columns(pl.when(pl.col("a") > 1).then(None).otherwise(pl.col("a")).alias("a"))
    dataset = read(frame)
    train, valid = split(dataset, 0.3, seed=0)
    assert valid.schema is train.schema
    for before, after, cells in zip(dataset.schema.columns, train.schema.columns, train.values.T, strict=True):
        present = cells[~np.isnan(cells)].astype(float)
        assert (after.kind, after.low, after.high, after.step, after.spikes, after.categories) == (
            before.kind, before.low, before.high, before.step, before.spikes, before.categories,
        )  # fmt: skip
        assert after.missing == pytest.approx(np.isnan(cells).mean())
        if after.is_category:
            assert after.category_fractions == tuple(np.bincount(present.astype(int), minlength=3) / len(present))
        else:
            np.testing.assert_allclose([after.mean, after.std], [present.mean(), present.std()], rtol=1e-9)
            if after.spikes:
                assert after.spike_fractions == (np.mean(present == 0),)
                present = present[present != 0]
            np.testing.assert_allclose(after.quantiles[17], np.median(present), rtol=1e-6)
    np.testing.assert_allclose(train.schema.mean[0], train.schema.columns[0].mean)
    assert train.native is None


def test_decimal_atoms_are_found_again_in_single_precision():
    frame = pl.DataFrame({"a": [0.1] * 30 + list(np.random.default_rng(0).random(100)), "s": ["x", "y"] * 65})
    dataset = read(frame)
    assert (dataset.schema.columns[0].spikes, dataset.values.dtype) == ((0.1,), np.float32)
    train, _ = split(dataset, 0.1, seed=0)
    assert train.schema.columns[0].spike_fractions == (np.mean(train.values[:, 0] == np.float32(0.1)),)


def test_rows_that_are_equal_but_for_nothing():
    with pytest.raises(DataError, match="3 equal rows of 2 columns"):
        require_fit(read(pl.DataFrame({"a": ["x"] * 3, "b": [None, None, None], "c": [1, 1, 1]})))
    require_fit(read(pl.DataFrame({"a": ["x"] * 3, "c": [1, 1, None]})))


def test_the_frame_of_the_user_is_known():
    assert read(FITTED).frame_kind == "polars"
    assert read(FITTED.to_arrow()).frame_kind == "pyarrow"
    assert read(np.eye(2)).frame_kind == "numpy"
    assert read(FITTED).native is FITTED
    assert read("builtin:digits").native is None


def test_arrays_of_objects_and_of_text():
    array = np.array([[1, "a", None, True], [2.5, "b", "x", False], [np.nan, None, "y", True]], dtype=object)
    dataset = read(array)
    assert [column.kind for column in dataset.schema.columns] == ["continuous", "binary", "binary", "boolean"]
    np.testing.assert_array_equal(dataset.values, [[1, 0, np.nan, 1], [2.5, 1, 0, 0], [np.nan, np.nan, 1, 1]])
    assert (dataset.schema.names, dataset.frame_kind) == (None, "numpy")
    np.testing.assert_array_equal(read_as(array, dataset.schema).values, dataset.values)
    filled = fill(dataset, np.zeros((3, 4)))
    assert filled.tolist() == [[1, "a", "x", True], [2.5, "b", "x", False], [0, "a", "y", True]]
    assert np.isnan(array[2, 0])
    text = read(np.array([["a", "1"], ["b", "2"], ["a", "?"]]))
    np.testing.assert_array_equal(text.values, [[0, 1], [1, 2], [0, np.nan]])


def test_columns_of_arrow_types():
    table = pa.table(
        {
            "dictionary": pa.array(["x", None, "y", "x"]).dictionary_encode(),
            "day": pa.array([0, 1, None, 3], pa.date32()),
            "time": pa.array([0, 86_400_000_000, None, 43_200_000_000], pa.timestamp("us", tz="Europe/Berlin")),
            "small": pa.array([1, None, 3, 4], pa.int8()),
        }
    )
    dataset = read(table)
    np.testing.assert_array_equal(
        dataset.values, [[0, 0, 0, 1], [np.nan, 1, 1, np.nan], [1, np.nan, np.nan, 3], [0, 3, 0.5, 4]]
    )
    back = to_frame(dataset.values, dataset.schema, like="pyarrow")
    assert back.to_pylist() == table.to_pylist()
    assert [field.type for field in back.schema][1:] == [field.type for field in table.schema][1:]


@pytest.mark.parametrize("cells", [[[1], [2]], [{"a": 1}, {"a": 2}], [b"x", b"y"], [dt.timedelta(1)] * 2], ids=str)
def test_cells_that_have_no_place_in_a_table(cells):
    with pytest.raises(
        DataError, match=r"column 'a' with values such as .*convert it to text or numbers, or leave it out"
    ):
        read(pl.DataFrame({"a": cells, "b": [1, 2]}))


PERIODS = pd.period_range("2020-01", periods=2, freq="M")


@pytest.mark.parametrize("with_gap", [True, False])
@pytest.mark.parametrize(("categories", "shown"), [
    (pd.interval_range(0, 2), r"\(Interval\)"), (pd.date_range("2020-01-01", periods=2), "Timestamp"),
    ([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], r"\(date\)"), (PERIODS, "Period"),
    (pd.to_timedelta([1, 2], "D"), "Timedelta"), (pd.Index([("a", 1), ("b", 2)], tupleize_cols=False), "tuple"),
    (pd.Index([frozenset([1]), frozenset([2])]), "frozenset"), (["a", 1], r"\) and '(1|a)'"),
])  # fmt: skip
def test_categories_that_would_not_come_back_are_refused(categories, shown, with_gap):
    column = pd.Categorical.from_codes([1, 0, -1 if with_gap else 1] * 4, categories)
    with pytest.raises(DataError, match=f"column 'a' with values such as .*{shown}"):
        read(pd.DataFrame({"a": column, "b": np.arange(12.0)}))


@pytest.mark.parametrize("categories", [["u", "v"], [0.5, 1.5], [5, 7], [False, True]])
def test_categories_of_pandas_come_back_with_their_gaps_filled(categories):
    column = pd.Categorical.from_codes([1, 0, -1] * 4, categories)
    dataset = read(pd.DataFrame({"a": column, "b": np.arange(12.0)}))
    filled = fill(dataset, np.nan_to_num(dataset.values))
    assert filled["a"].dtype == column.dtype
    most = dataset.schema.columns[0].categories[0]
    assert filled["a"].to_list() == [categories[1], categories[0], most] * 4


def test_arrays_in_cells_are_refused():
    with pytest.raises(DataError, match="ndarray"):
        read(pd.DataFrame({"a": [np.arange(2.0)] * 3, "b": [1, 2, 3]}))


def test_large_whole_numbers_with_gaps_come_back_exactly_in_pandas():
    frame = pd.DataFrame({"a": pd.array([2**62 + 1, 2**62, None] * 6, dtype="Int64"), "b": np.arange(18.0)})
    dataset = read(frame)
    pd.testing.assert_frame_equal(to_frame(dataset.values, dataset.schema, like="pandas"), frame)


@pytest.mark.parametrize("dtype", ["Int64", "Int8", "UInt16", "boolean"])
def test_rows_in_pandas_have_the_data_types_of_columns_with_gaps(dtype):
    column = pd.array([1, 0, None, 1] * 4, dtype=dtype)
    frame = pd.DataFrame({"a": column, "b": np.arange(16.0)})
    dataset = read(frame)
    back = to_frame(dataset.values, dataset.schema, like="pandas")
    pd.testing.assert_frame_equal(back, frame)
    assert to_frame(dataset.values[:2], dataset.schema, like="pandas")["a"].dtype == dtype
