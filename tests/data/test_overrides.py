"""What the user says of columns, and what a person writes of one cell."""

import json

import msgspec
import numpy as np
import polars as pl
import pytest

from reparax.data import cell_text, cell_value, column_lines, kinds_of, read, read_as
from reparax.errors import DataError

FRAME = pl.DataFrame(
    {
        "age": [30, 40, 30, 50] * 10,
        "zip": [10001, 2139, 10001, 10001] * 10,
        "id": range(40),
        "town": ["x", "y", "x", None] * 10,
        "paid": [0.0, 1.5, 0, 2.5] * 10,
        "flag": [True, False, True, True] * 10,
    }
)
SAID = {"age": "continuous", "zip": "categorical", "id": "count", "town": "exclude", "flag": "count"}


def kinds(dataset):
    return {column.name: str(column.kind) for column in dataset.schema.columns}


def test_without_a_word_of_the_user():
    dataset = read(FRAME)
    assert kinds(dataset) == {
        "age": "ordinal", "zip": "ordinal", "town": "binary", "paid": "ordinal", "flag": "boolean",
    }  # fmt: skip
    assert [name for name, _ in dataset.schema.excluded] == ["id"]


def test_a_model_of_other_data_is_refused_as_a_schema(tmp_path):
    path = tmp_path / "model.json"
    path.write_bytes(msgspec.json.encode({"data": read(pl.DataFrame({"height": [1.5, 2, 3] * 9})).schema}))
    with pytest.raises(DataError, match="'height'"):
        read(FRAME, schema=path)
    path.write_bytes(msgspec.json.encode({"data": read(np.zeros((9, 4, 4)) + np.eye(4)).schema}))
    with pytest.raises(DataError, match="a model of images"):
        read(FRAME, schema=path)


@pytest.mark.parametrize("form", ["mapping", "json", "toml", "saved", "model", "schema"])
def test_kinds_as_the_user_says(tmp_path, form):
    said = read(FRAME, schema=SAID)
    path = tmp_path / ("kinds.toml" if form == "toml" else "kinds.json")
    if form == "json":
        path.write_text("\ufeff" + json.dumps(SAID))
    elif form == "toml":
        path.write_text("\n".join(f'{name} = "{kind}"' for name, kind in SAID.items()))
    elif form == "saved":
        path.write_bytes(msgspec.json.encode(said.schema))
    elif form == "model":
        path.write_bytes(msgspec.json.encode({"format": "a model", "data": said.schema}))
    source = {"mapping": SAID, "schema": said.schema}.get(form, path)
    dataset = read(FRAME, schema=source)
    assert kinds(dataset) == {
        "age": "continuous", "zip": "categorical", "id": "count", "paid": "ordinal", "flag": "count",
    }  # fmt: skip
    assert dataset.schema.excluded == (("town", "as asked"),)
    assert "column 'town' was left out: as asked" in dataset.notes
    said_by_model = f"{path} describes the data of a model: the kinds of 5 columns are taken from there"
    assert any(note.startswith(said_by_model) for note in dataset.notes) is (form in {"saved", "model"})
    assert dataset.schema.value_kind == "mixed"
    age, zip_code, *_ = dataset.schema.columns
    assert (age.spikes, zip_code.categories, zip_code.dtype) == ((), (10001, 2139), "int64")
    assert dataset.values[:2].tolist() == [[30, 0, 0, 0, 1], [40, 1, 1, 1.5, 0]]
    np.testing.assert_array_equal(read_as(FRAME, dataset.schema).values, dataset.values)
    assert kinds_of(dataset.schema) == SAID | {"paid": "ordinal"}


def test_columns_to_leave_out_may_be_listed_with_commas():
    frame = FRAME.rename({"age": "age, years"})
    dataset = read(frame, exclude=["age, years", "town, zip"], schema={"zip": "categorical"})
    assert {name for name, reason in dataset.schema.excluded if reason == "as asked"} == {"age, years", "town", "zip"}
    with pytest.raises(DataError, match="got 'tow'; did you mean town"):
        read(frame, exclude=["tow,zip"])


def test_kinds_of_arrays():
    array = np.array([[1.5, 3], [2.5, 4], [3.5, 3]])
    dataset = read(array, schema={"column_1": "categorical"}, exclude=["column_0"])
    assert dataset.values.tolist() == [[0], [1], [0]]
    assert read_as(array, dataset.schema).values.tolist() == [[0], [1], [0]]
    assert read("builtin:iris", exclude=["petal length (cm)"]).values.shape == (150, 3)


@pytest.mark.parametrize(
    ("kind", "cells", "message"),
    [
        ("count", ["x", "y"], "column 'a' of kind count; got text such as 'x', 'y'"),
        ("datetime", [1, 2], "column 'a' of kind datetime; got numbers"),
        ("categorical", ["2020-01-02", "2020-01-03"], "got dates"),
        ("count", [1.5, 2], "whole numbers from 0 up in column 'a'"),
        ("count", [-1, 2], "whole numbers from 0 up in column 'a'"),
        ("positive", [0.0, 2], "numbers above 0"),
        ("zero-inflated", [1, 2], "some zeros"),
        ("binary", [1, 2, 3], "two different values in column 'a', to be binary; got 3"),
        ("ordinal", list(range(1500)), "at most 1000 different values"),
    ],
)
def test_kinds_that_cannot_be(kind, cells, message):
    with pytest.raises(DataError, match=r"^expected .*; got .*; .") as caught:
        read(pl.DataFrame({"a": cells}), schema={"a": kind})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "exclude", "message"),
    [
        ({"agee": "count"}, (), "got 'agee'; did you mean age?"),
        ({}, ["twon"], "did you mean town?"),
        ({"age": "continous"}, (), "got 'continous'; did you mean continuous?"),
        ({"age": 3}, (), "a kind of column for 'age': binary, boolean, categorical"),
    ],
)
def test_unknown_columns_and_kinds(schema, exclude, message):
    with pytest.raises(DataError) as caught:
        read(FRAME, schema=schema, exclude=exclude)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "JSON or TOML in the schema file"),
        ("a.json", "[1]", "kinds by column name in the schema file"),
        ("a.toml", "a = ", "JSON or TOML in the schema file"),
        ("a.json", '{"columns": [1]}', "columns with a name and a kind each"),
        ("a.json", "", "an empty file"),
    ],
)
def test_schema_files_that_are_none(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read(FRAME, schema=tmp_path / name)
    with pytest.raises(DataError, match="nothing there"):
        read(FRAME, schema=tmp_path / "absent.json")


def test_images_have_no_columns():
    with pytest.raises(DataError, match="a table, whose columns have kinds"):
        read("builtin:digits", exclude=["a"])
    with pytest.raises(DataError, match="a table, whose columns have kinds"):
        read(read(FRAME), exclude=["age"])


def test_labels_may_be_named_among_the_excluded():
    assert read(FRAME, label="town", exclude=["town"]).labels[0] == "x"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("town", "y", 1), ("town", " x ", 0), ("flag", "TRUE", 1), ("age", "40.0", 40), ("day", "2020-01-02", 18263),
        ("word", "3.0", 0), ("word", "x", 1), ("number", "1", 0), ("number", "1.0", 0),
    ],
)  # fmt: skip
def test_cells_as_a_person_writes_them(name, text, value):
    frame = FRAME.with_columns(
        day=pl.lit("2020-01-05"), word=pl.Series(["3", "x", "3", "3"] * 10), number=pl.Series([1.0, 0, 1, 1] * 10)
    )
    schema = read(frame, schema={"number": "categorical"}).schema
    if name == "number":
        value = schema.columns[-1].categories.index(1.0)
    column = next(column for column in schema.columns if column.name == name)
    assert cell_value(column, text) == value
    assert cell_value(column, cell_text(column, value)) == value
    assert cell_text(column, np.nan) == ""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("town", "X", "did you mean x?"),
        ("town", "q", "a value of column 'town' (x, y); got 'q'; use one that occurred"),
        ("age", "old", "a number for column 'age'; got 'old'"),
        ("age", "nan", "a number for column 'age'"),
        ("day", "soon", "a date for column 'day'; got 'soon'; write one like 2020-01-05"),
    ],
)
def test_cells_that_are_no_values_of_their_column(name, text, message):
    schema = read(FRAME.with_columns(day=pl.lit("2020-01-05"))).schema
    column = next(column for column in schema.columns if column.name == name)
    with pytest.raises(DataError) as caught:
        cell_value(column, text)
    assert message in str(caught.value)


def test_every_kind_has_a_line():
    assert [line.name for line in column_lines(read(FRAME).schema)] == [*FRAME.drop("id").columns, "id"]
