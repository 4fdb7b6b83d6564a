"""What a fitted model keeps of its data, and what it accepts later."""

import msgspec
import numpy as np
import polars as pl
import pytest

from reparax.data import Schema, read, read_as, require_fit, split
from reparax.errors import DataError
from reparax.summary import Summary

TABLE = pl.DataFrame({"a": [1.5, 2, 3], "b": [10.0, 20, 40.5]})


def test_json_round_trip_and_tampering():
    for source in (TABLE, np.ones((3, 2)), "builtin:digits", np.arange(48.0).reshape(3, 2, 2, 2, 2)):
        schema = read(source).schema
        text = msgspec.json.encode(schema)
        assert msgspec.json.decode(text, type=Schema) == schema
    text = msgspec.json.encode(read(TABLE).schema)
    for old, new in (
        (b'"table"', b'"code"'),
        (b'["a","b"]', b'["a"]'),
        (b'"low":[1.5,', b'"low":['),
        (b"float32", b"O"),
    ):
        assert old in text
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text.replace(old, new), type=Schema)


def test_summary_of_a_table():
    summary = read(TABLE).schema.summary()
    assert isinstance(summary, Summary)
    assert (summary.event_shape, summary.kind, summary.num_examples) == ((2,), "real", 3)
    np.testing.assert_array_equal(summary.low, [1.5, 10])
    np.testing.assert_array_equal(summary.high, [3, 40.5])
    np.testing.assert_allclose(summary.mean, TABLE.mean().row(0))
    np.testing.assert_allclose(summary.std, TABLE.std(ddof=0).row(0))


def test_summary_of_images_and_arrays():
    summary = read("builtin:digits").schema.summary()
    assert summary.is_image
    assert all(field.shape == () for field in (summary.low, summary.high, summary.mean, summary.std))
    assert (float(summary.low), float(summary.high)) == (0, 16)
    assert read(np.arange(48.0).reshape(3, 2, 2, 2, 2)).schema.summary().std.shape == (2, 2, 2, 2)


def test_columns_are_matched_by_name():
    schema = read(TABLE).schema
    values = schema.check(read(TABLE.select("b", "a")))
    np.testing.assert_array_equal(values, TABLE.to_numpy())
    assert values.dtype == np.float32
    np.testing.assert_array_equal(schema.check(read(TABLE.to_numpy())), TABLE.to_numpy())
    np.testing.assert_array_equal(schema.check(TABLE.to_numpy()), TABLE.to_numpy())
    np.testing.assert_array_equal(schema.check(np.array([[-99, 1e6]])), [[-99, 1e6]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TABLE.rename({"a": "c"}), "no 'a' and also 'c'"),
        (TABLE.select("a"), "no 'b'"),
        (TABLE.with_columns(c=1), "also 'c'"),
        (np.ones((3, 5)), "expected 2 columns as in training; got 5 columns"),
        (np.ones((3, 8, 8)), "got images of 8x8x1"),
        (np.ones((3, 2, 2, 2, 2)), "got examples of shape"),
    ],
    ids=["renamed", "missing", "extra", "wide", "images", "array"],
)
def test_another_shape_than_at_fitting(data, message):
    with pytest.raises(DataError, match=message):
        read(TABLE).schema.check(read(data))


def test_many_missing_columns_are_not_all_listed():
    wide = pl.DataFrame({f"c{index}": [1.5, 2] for index in range(9)})
    with pytest.raises(DataError, match="'c0', 'c1', 'c2', 'c3', 'c4' and 4 more"):
        read(wide).schema.check(read(TABLE))


@pytest.mark.parametrize(
    ("fitted", "later", "message"),
    [
        (np.eye(2), np.array([[0, 2]]), "only the values 0 and 1"),
        (np.eye(2), np.array([[0.5, 1]]), "only the values 0 and 1"),
        (np.array([[1, 5], [2, 3]]), np.array([[0.5, 1]]), "whole numbers, as in training"),
        (np.array([[1, 5], [2, 3]]), np.array([[2**30, 1]]), "of size up to 16777216"),
        (
            np.full((2, 2, 2), 16),
            np.full((2, 2, 2), 17),
            "values from 0 to 16, as in training; got values from 17 to 17",
        ),
        (np.full((2, 2, 2), 0.5), np.full((2, 2, 2), 1.5), "values from 0 to 1"),
        (np.full((2, 2), 0.5), np.full((1, 2), np.nan), "column 'column_0', row 1"),
        (np.full((2, 2), 0.5), np.full((1, 2), 1e39), "rescale"),
        (np.full((2, 2), 0.5), np.full((1, 2), "a"), "strings"),
        (np.full((2, 2), 0.5), np.array(0.5), "a single number"),
    ],
)
def test_other_values_than_at_fitting(fitted, later, message):
    with pytest.raises(DataError, match=message):
        read(fitted).schema.check(later)


def test_images_may_come_without_their_channel_axis():
    schema = read(np.full((2, 3, 4), 9)).schema
    assert schema.check(np.full((5, 3, 4), 9.0)).shape == (5, 3, 4, 1)
    assert schema.check(np.full((0, 3, 4), 9.0)).shape == (0, 3, 4, 1)


def test_real_images_outside_the_range_seen_are_accepted():
    schema = read(np.array([[[-1.5, 3]], [[2, 4]]])).schema
    np.testing.assert_array_equal(schema.check(np.full((1, 1, 2, 1), 99.5)), np.full((1, 1, 2, 1), 99.5))


def test_read_as_takes_the_labels_out_where_they_are(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,kind,b\n1.5,x,2\n3,y,4\n")
    schema = read(path, label="kind").schema
    dataset = read_as(path, schema)
    assert dataset.labels.tolist() == ["x", "y"]
    assert dataset.schema is schema
    path.write_text("b,a\n2,1.5\n")
    np.testing.assert_array_equal(read_as(path, schema).values, [[1.5, 2]])
    assert read_as(path, schema).labels is None
    np.testing.assert_array_equal(read_as(np.array([[1.5, 2]]), schema).values, [[1.5, 2]])


def test_read_as_for_tables_without_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("7,1.5,2\n8,3,4\n")
    schema = read(path, label="0").schema
    assert read_as(path, schema).labels.tolist() == [7, 8]
    path.write_text("1.5,2\n")
    np.testing.assert_array_equal(read_as(path, schema).values, [[1.5, 2]])


def test_read_as_gives_the_dtype_of_the_fit():
    schema = read(np.array([[1.5, 2], [3, 4]])).schema
    assert read_as(np.array([[1, 0]]), schema).values.dtype == np.float32
    schema = read("builtin:digits").schema
    assert read_as(np.zeros((1, 8, 8)), schema).values.dtype == np.uint8


def test_require_fit():
    require_fit(read(TABLE))
    require_fit(read(np.array([[1, 2], [1, 3]])))
    with pytest.raises(DataError, match="at least 2 examples to fit a model; got 1"):
        require_fit(read(np.ones((1, 3))))
    with pytest.raises(DataError, match="9 equal rows of 3 columns"):
        require_fit(read(np.ones((9, 3))))
    with pytest.raises(DataError, match="9 equal examples of images of 3x3x1"):
        require_fit(read(np.ones((9, 3, 3))))


def test_split_is_a_partition_that_depends_on_the_seed_alone():
    dataset = read("builtin:iris")
    numbered = read(np.arange(300.0).reshape(150, 2) + 0.5, label=None)
    train, valid = split(numbered, 0.2, seed=3)
    assert (len(train), len(valid)) == (120, 30)
    rows = np.concatenate([train.values, valid.values])
    np.testing.assert_array_equal(np.sort(rows[:, 0]), numbered.values[:, 0])
    assert (np.diff(train.values[:, 0]) > 0).all()
    np.testing.assert_array_equal(split(numbered, 0.2, seed=3)[1].values, valid.values)
    assert not np.array_equal(split(numbered, 0.2, seed=4)[1].values, valid.values)
    train, valid = split(dataset, 0.1, seed=0)
    indices = [int(np.flatnonzero((dataset.values == row).all(axis=1))[0]) for row in valid.values]
    np.testing.assert_array_equal(valid.labels, dataset.labels[indices])


def test_split_standardizes_by_the_first_part_alone():
    dataset = read(np.random.default_rng(0).normal(size=(50, 3)))
    train, valid = split(dataset, 0.2, seed=0)
    np.testing.assert_allclose(train.schema.mean, train.values.mean(axis=0), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(train.schema.std, train.values.std(axis=0), rtol=1e-5)
    assert valid.schema == train.schema
    assert train.schema.num_examples == 40
    assert (train.schema.low, train.schema.high) == (dataset.schema.low, dataset.schema.high)


def test_split_of_few_rows_and_bad_fractions():
    two = read(np.array([[1.0], [2.5]]))
    for fraction in (0.01, 0.99):
        assert [len(part) for part in split(two, fraction, seed=0)] == [1, 1]
    assert split(two, 0.5, seed=0)[0].schema.std == (1.0,)
    for fraction in (0, 1, -0.5, 2, float("nan")):
        with pytest.raises(DataError, match="above 0 and below 1"):
            split(two, fraction, seed=0)
    with pytest.raises(DataError, match="at least 2 examples to split"):
        split(read(np.ones((1, 2))), 0.5, seed=0)
