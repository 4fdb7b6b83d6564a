"""Tables from text, Parquet and data frames."""

import gzip

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from reparax.data import read
from reparax.errors import DataError


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "table.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("a,b\n1,2.5\n3,4\n", ("a", "b"), [[1, 2.5], [3, 4]]),
        ("1,2.5\n3,4\n", None, [[1, 2.5], [3, 4]]),
        ("a;b\n1;2.5\n", ("a", "b"), [[1, 2.5]]),
        ("a\tb\n1\t2.5\n", ("a", "b"), [[1, 2.5]]),
        ("a;b\n1,5;2\n-3,25e1;4\n", ("a", "b"), [[1.5, 2], [-32.5, 4]]),
        ("\ufeffa,b\r\n1,2\r\n", ("a", "b"), [[1, 2]]),
        ("\ufeff1,2\n", None, [[1, 2]]),
        ('"a","b, c"\n"1","2"\n', ("a", "b, c"), [[1, 2]]),
        (" a , b \n 1 , 2 \n", ("a", "b"), [[1, 2]]),
        ("name,2019\n1,2\n3,4\n", ("name", "2019"), [[1, 2], [3, 4]]),
        ("NA,2019\n1,2\n3,4\n", None, [[np.nan, 2019], [1, 2], [3, 4]]),
        ("a,b\n1,2\n,4\n", ("a", "b"), [[1, 2], [np.nan, 4]]),
        ("a,b\n1,NA\n?,4\n", ("a", "b"), [[1, np.nan], [np.nan, 4]]),
        ("a\n1\n\n3\n", ("a",), [[1], [np.nan], [3]]),
        ("1,?\n2,3\n", None, [[1, np.nan], [2, 3]]),
        ("0,1,2\n5,6,7\n", None, [[5, 6, 7]]),
        (",0,1\n0,6.5,7\n", None, [[0, 6.5, 7]]),
        (",a\n0,6\n1,7\n", ("column_0", "a"), [[0, 6], [1, 7]]),
        ("a,b\nTrue,1\nFalse,0\n", ("a", "b"), [[1, 1], [0, 0]]),
        ("a,b\n1,2\n\n3,4\n\n", ("a", "b"), [[1, 2], [3, 4]]),
        ("a\n1\n2\n\n", ("a",), [[1], [2]]),
        ("1\n2", None, [[1], [2]]),
        ("a,b\r1,2\r", ("a", "b"), [[1, 2]]),
        ("a,b\n77371252455336267181195264,1\n1,2\n", ("a", "b"), [[2.0**86, 1], [1, 2]]),
        ("a;b\n 1,5;TRUE\n-,5;false \n", ("a", "b"), [[1.5, 1], [-0.5, 0]]),
    ],
)
def test_delimiter_and_header_are_told_from_the_text(table, text, names, values):
    dataset = read(table(text))
    assert dataset.schema.names == names
    np.testing.assert_array_equal(dataset.values, values)


def test_gzipped_table(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    np.testing.assert_array_equal(read(tmp_path / "a.csv.gz").values, [[1, 2]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("\n \n", "blank lines only"),
        ("a,b\n", "a header and no rows"),
        ("a,b\n1,2\n3\n", "2 cells in every row; got 1 cell in row 3: '3'"),
        ("a,b\n1,2\n3,4,5\n", "2 cells in every row; got 3 cells in row 3: '3,4,5'"),
        ("a,b\n1,inf\n3,4\n", "column 'b', row 1"),
        ("a,b\n1,1e39\n3,4\n", "column 'b', row 1; rescale"),
        ("a,a\n1,2\n", "'a' more than once"),
        ('"a",b\n1,2,3\n', "2 cells in every row"),
        (b"a,b\n1,\xe9\n", "text in UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "text in UTF-8"),
        (b"a,b\n1,\x002\n", "binary content"),
        ('"a,b\n1,2\n', "a header and no rows"),
        ("a," + "x" * 200_000 + "\n1,2\n", "field larger than field limit"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused(table, text, message):
    with pytest.raises(DataError, match=r"^expected .*; got .*; .") as caught:
        read(table(text))
    assert message in str(caught.value)


def test_bytes_that_are_not_utf8_beyond_the_first_rows(table):
    text = b"a,b\n" + b"1,2\n" * 100_000 + b"1,\xe9\n"
    with pytest.raises(DataError, match="probably Latin-1"):
        read(table(text))


def test_a_column_that_is_whole_for_long_and_then_is_not(table):
    dataset = read(table("a,b\n" + "1,2\n" * 400_000 + "0.5,2\n"))
    assert dataset.schema.value_kind == "real"
    assert dataset.values[-1].tolist() == [0.5, 2]
    dataset = read(table("a,b\n" + "1,2\n" * 400_000 + "x,2\n"))
    assert dataset.schema.columns[0].categories == ("1", "x")


def test_labels_never_enter_the_values(table):
    path = table("a,kind,b\n1,x,2.5\n3,y,4\n")
    dataset = read(path, label="kind")
    np.testing.assert_array_equal(dataset.values, [[1, 2.5], [3, 4]])
    np.testing.assert_array_equal(dataset.labels, ["x", "y"])
    assert (dataset.schema.names, dataset.schema.label) == (("a", "b"), "kind")
    with pytest.raises(DataError, match=r"did you mean kind\?"):
        read(path, label="knid")
    with pytest.raises(DataError, match="2 examples of no values"):
        read(table("a\n1\n2\n"), label="a")


@pytest.mark.parametrize("label", ["2", "-1", "column_2"])
def test_labels_of_a_table_without_names(table, label):
    dataset = read(table("5.1,3.5,setosa\n4.9,3,virginica\n"), label=label)
    assert dataset.labels.tolist() == ["setosa", "virginica"]
    assert dataset.values.shape == (2, 2)
    assert dataset.schema.label == "column_2"


def test_missing_and_boolean_labels(table):
    assert read(table("a,b\n1,x\n2,\n"), label="b").labels.tolist() == ["x", ""]
    assert read(table("a,b\n1,5\n2,\n"), label="b").labels.tolist() == ["5", ""]
    assert read(table("a,b\n1,true\n2,false\n"), label="b").labels.tolist() == [1, 0]


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table], ids=["polars", "arrow"])
def test_frames(make):
    frame = make({"a": [1, 2], "kind": ["x", "y"], "b": [True, False], "c": [0.5, 2.5]})
    dataset = read(frame, label="kind")
    np.testing.assert_array_equal(dataset.values, [[1, 1, 0.5], [2, 0, 2.5]])
    assert dataset.schema.names == ("a", "b", "c")
    assert dataset.labels.tolist() == ["x", "y"]


def test_columns_of_uncommon_types():
    frame = pl.DataFrame(
        {
            "decimal": pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)),
            "long": pl.Series([2**70, 5], dtype=pl.Int128),
            "small": pl.Series([1, 2], dtype=pl.UInt8),
        }
    )
    np.testing.assert_allclose(read(frame).values, [[1.5, 2.0**70, 1], [2.5, 5, 2]])
    labels = pl.DataFrame({"kind": pl.Series(["x", "y"], dtype=pl.Categorical), "b": [1, 2]})
    assert read(labels, label="kind").labels.tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"a": [None, None]}), "every cell is missing"),
        (pl.DataFrame({"a": [[1], [2]]}), "such as"),
        (pl.DataFrame({"a": []}), "got none"),
        (pl.DataFrame({"a": [1]}).lazy(), "collect"),
        (pl.Series([1.0, 2.0]), "one axis"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), "'a' more than once"),
    ],
    ids=str,
)
def test_refused_frames(frame, message):
    with pytest.raises(DataError, match=message):
        read(frame)


def test_parquet(tmp_path):
    pl.DataFrame({"a": [1, 2], "b": [0.5, 2.5], "kind": ["x", "y"]}).write_parquet(tmp_path / "a.parquet")
    dataset = read(tmp_path / "a.parquet", label="kind")
    np.testing.assert_array_equal(dataset.values, [[1, 0.5], [2, 2.5]])
    content = (tmp_path / "a.parquet").read_bytes()
    for end in (5, len(content) // 2, len(content) - 1):
        (tmp_path / "b.parquet").write_bytes(content[:end])
        with pytest.raises(DataError, match="cut short"):
            read(tmp_path / "b.parquet")


def test_the_index_that_pandas_saves_is_left_out(tmp_path):
    pl.DataFrame({"a": [1, 2], "__index_level_0__": [0, 1]}).write_parquet(tmp_path / "a.parquet")
    dataset = read(tmp_path / "a.parquet")
    assert dataset.schema.names == ("a",)
    assert "pandas" in dataset.notes[0]


def test_columns_that_are_numbered_have_no_names():
    assert read(pl.DataFrame({"0": [1.5, 2], "1": [3, 4]})).schema.names is None


def test_wine(shared_data):
    path = shared_data / "tables" / "winequality-white.csv"
    dataset = read(path, label="column_11")
    assert dataset.values.shape == (4898, 11)
    assert dataset.schema.names is None
    np.testing.assert_allclose(dataset.values[0], [7, 0.27, 0.36, 20.7, 0.045, 45, 170, 1.001, 3, 0.45, 8.8], rtol=1e-6)
    assert np.bincount(dataset.labels).tolist() == [0, 0, 0, 20, 163, 1457, 2198, 880, 175, 5]
