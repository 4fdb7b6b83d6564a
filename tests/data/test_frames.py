"""From the matrix back to the user's own table, and to files."""

import datetime as dt
import string

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

from reparax.data import fill, read, read_as, split, to_frame, write
from reparax.errors import DataError

TABLE = pl.DataFrame(
    {
        "whole": [1, 2, None, -4],
        "small": pl.Series([1, 250, 3, 4], dtype=pl.UInt8),
        "real": [0.1, None, 2.25, 1e5],
        "text": [" x", None, " y", " x"],
        "truth": [True, None, False, True],
        "words": ["TRUE", "FALSE", "TRUE", None],
        "category": pl.Series(["u", None, "v", "u"], dtype=pl.Categorical),
        "day": [dt.date(2020, 1, 2), None, dt.date(1969, 12, 31), dt.date(2020, 1, 1)],
        "time": [dt.datetime(2020, 1, 2, 3, 4, 5), None, dt.datetime(2021, 1, 1), dt.datetime(1960, 1, 1, 0, 0, 1)],
        "written": ["5/6/2020", "13/1/2021", None, "1/2/2020"],
        "constant": ["c", "c", "c", "c"],
    }
)


def test_the_table_comes_back_as_it_was():
    dataset = read(TABLE)
    assert to_frame(dataset.values, dataset.schema).equals(TABLE)
    assert to_frame(dataset.values, dataset.schema).schema == TABLE.schema
    arrow = to_frame(dataset.values, dataset.schema, like="pyarrow")
    assert isinstance(arrow, pa.Table)
    assert arrow.to_pylist() == TABLE.to_dicts()
    array = to_frame(dataset.values, dataset.schema, like="numpy")
    assert array.dtype == object
    assert array.tolist() == [list(row) for row in TABLE.rows()]


def test_numbers_come_back_as_an_array_of_numbers():
    array = np.array([[1.5, 2], [np.nan, 3]])
    dataset = read(array)
    back = to_frame(dataset.values, dataset.schema, like="numpy")
    assert back.dtype == np.float64
    np.testing.assert_array_equal(back, array)


def test_what_a_model_makes_is_rounded_to_what_the_data_may_be():
    dataset = read(TABLE.select("whole", "small", "real", "text", "truth", "day"))
    made = np.array([[1.4, 300, 0.123456, 0.4, 0.6, 1.2], [1.6, -7, np.nan, 2, np.nan, -0.6]])
    assert to_frame(made, dataset.schema).rows() == [
        (1, 255, 0.12, " x", True, dt.date(1970, 1, 2)),
        (2, 0, None, None, None, dt.date(1969, 12, 31)),
    ]


def test_numbers_written_as_text_stay_text():
    frame = pl.DataFrame({"a": ["1", "2", None], "b": ["0.5", "x", "x"]})
    dataset = read(frame)
    assert dataset.schema.columns[0].kind == "count"
    assert to_frame(dataset.values, dataset.schema).equals(frame)


@pytest.mark.parametrize("values", [np.ones((3, 2)), np.ones(11), np.ones((2, 3, 3, 1))])
def test_no_rows_of_the_table(values):
    with pytest.raises(DataError, match="rows of 11 columns"):
        to_frame(values, read(TABLE).schema)
    with pytest.raises(DataError, match="expected a table"):
        to_frame(values, read("builtin:digits").schema)


def test_only_missing_cells_are_filled():
    frame = TABLE.with_columns(id=pl.Series(["p", "q", "r", "s"]), y=pl.Series([1, None, 0, 1]))
    frame = frame.select("id", *TABLE.columns, "y").with_columns(text=pl.Series([" x", " ?", " y", " x"]))
    dataset = read(frame, label="y", exclude=["id"])
    filled = fill(dataset, np.tile([7.4, 9, 0.123, 1, 0, 1, 1, 0, 0.5, 0, 0], (4, 1)))
    assert filled.columns == frame.columns
    expected = frame.with_columns(
        pl.col("whole").fill_null(7),
        pl.col("real").fill_null(0.12),
        pl.Series("text", [" x", " y", " y", " x"]),
        pl.col("truth").fill_null(False),
        pl.Series("words", ["TRUE", "FALSE", "TRUE", "TRUE"]),
        pl.Series("category", ["u", "v", "v", "u"], dtype=pl.Categorical),
        pl.col("day").fill_null(dt.date(1970, 1, 1)),
        pl.col("time").fill_null(dt.datetime(1970, 1, 1, 12)),
        pl.col("written").fill_null("1/1/1970"),
    )
    assert filled.equals(expected)
    assert filled.schema == frame.schema
    part, _ = split(dataset, 0.25, seed=0)
    assert fill(part, np.zeros((3, 11))).columns == TABLE.columns


def test_filled_tables_are_of_the_library_they_came_in():
    arrow = TABLE.to_arrow()
    dataset = read(arrow)
    filled = fill(dataset, np.zeros((4, 11)))
    assert filled.schema == arrow.schema
    assert filled.column("whole").to_pylist() == [1, 2, 0, -4]
    assert isinstance(fill(dataset, np.zeros((4, 11)), like="polars"), pl.DataFrame)
    array = np.array([[1.0, np.nan, 3], [np.nan, np.nan, 5.5]])
    dataset = read(array)
    np.testing.assert_array_equal(fill(dataset, np.full((2, 2), 9.0)), [[1, np.nan, 3], [9, np.nan, 5.5]])
    assert np.isnan(array[1, 0])
    with pytest.raises(DataError, match=r"a matrix of shape \(2, 2\)"):
        fill(dataset, np.zeros((1, 2)))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "feather", "arrow"])
def test_files(tmp_path, suffix):
    dataset = read(TABLE)
    path = tmp_path / f"a.{suffix}"
    write(path, dataset.values, schema=dataset.schema)
    back = read(path)
    np.testing.assert_array_equal(back.values, dataset.values)
    assert back.schema.names == dataset.schema.names
    assert [column.kind for column in back.schema.columns] == [column.kind for column in dataset.schema.columns]
    if suffix not in {"csv", "tsv"}:
        assert [column.dtype for column in back.schema.columns] == [column.dtype for column in dataset.schema.columns]
    write(path, TABLE)
    np.testing.assert_array_equal(read(path).values, dataset.values)


def test_text_is_no_array(tmp_path):
    dataset = read(TABLE)
    for suffix in ("npy", "npz"):
        with pytest.raises(DataError, match=r"only columns of numbers for .*column 'text' of text.*parquet"):
            write(tmp_path / f"a.{suffix}", dataset.values, schema=dataset.schema)
    with pytest.raises(DataError, match="write tables as csv"):
        write(tmp_path / "a.png", dataset.values, schema=dataset.schema)
    numbers = read(np.array([[1.5, np.nan], [2, 3]]))
    write(tmp_path / "a.npy", numbers.values, schema=numbers.schema)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), [[1.5, np.nan], [2, 3]])


def test_arrow_files_of_every_kind(tmp_path):
    table = TABLE.to_arrow()
    values = read(TABLE).values
    feather.write_feather(table.select(["whole", "real"]), tmp_path / "a.feather", compression="zstd")
    np.testing.assert_array_equal(read(tmp_path / "a.feather").values, values[:, [0, 2]].astype(np.float32))
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    np.testing.assert_array_equal(read(tmp_path / "b.arrow").values, values)
    (tmp_path / "b.arrow").rename(tmp_path / "c.bin")
    np.testing.assert_array_equal(read(tmp_path / "c.bin").values, values)
    content = (tmp_path / "a.feather").read_bytes()
    for end in (7, len(content) // 2, len(content) - 1):
        (tmp_path / "d.feather").write_bytes(content[:end])
        with pytest.raises(DataError, match="a complete Arrow file"):
            read(tmp_path / "d.feather")
    (tmp_path / "e.feather").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="an Arrow or Feather file"):
        read(tmp_path / "e.feather")


def test_folders_of_tables_are_read_in_the_order_of_their_names(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.csv").write_text("n,s,e\n1,x,\n2,y,\n")
    (tmp_path / "b" / "c.tsv").write_text("s\tn\te\nz\t3.5\t7\n")
    pl.DataFrame({"e": [8], "n": [4], "s": ["x"]}).write_parquet(tmp_path / "d.parquet")
    dataset = read(tmp_path)
    assert dataset.values[:, 0].tolist() == [1, 2, 3.5, 4]
    assert to_frame(dataset.values, dataset.schema)["s"].to_list() == ["x", "y", "z", "x"]
    np.testing.assert_array_equal(dataset.values[:, 2], [np.nan, np.nan, 7, 8])
    assert "3 files" in dataset.notes[0]
    np.testing.assert_array_equal(read_as(tmp_path, dataset.schema).values, dataset.values)
    assert read(tmp_path, label="s").labels.tolist() == ["x", "y", "z", "x"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("n,t\n1,2\n", "the columns of a.csv in every file of the folder; got b.csv with no 's' and also 't'"),
        ("1,2\n3,4\n", "b.csv with no 'n', 's'"),
        ("n,s\ntrue,x\nfalse,y\n", "column 'n' of one type in all files; got Int64 in a.csv and Boolean in b.csv"),
        ("n,s\n1\n", "b.csv with 2 cells in every row"),
    ],
)
def test_folders_of_tables_that_do_not_fit(tmp_path, second, message):
    (tmp_path / "a.csv").write_text("n,s\n1,x\n2,y\n")
    (tmp_path / "b.csv").write_text(second)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert message in str(caught.value)


def test_a_column_that_is_text_in_one_file_is_text_in_all(tmp_path):
    (tmp_path / "a.csv").write_text("n,s\n1,x\n2,y\n")
    (tmp_path / "b.csv").write_text("n,s\none,x\n2,y\n")
    assert read(tmp_path).schema.columns[0].categories == ("2", "1", "one")


def test_pandas_frames():
    pandas = pytest.importorskip("pandas")
    frame = TABLE.drop("words", "small").to_pandas()
    frame["object"] = [1, "x", None, 1]
    frame["integer category"] = pandas.Categorical([3, 1, None, 3])
    frame["nullable"] = pandas.array([1, None, 3, 4], dtype="Int64")
    frame.index = [5, 6, 7, 8]
    dataset = read(frame, exclude=["constant"])
    assert dataset.frame_kind == "pandas"
    back = to_frame(dataset.values, dataset.schema, like="pandas")
    assert list(back.columns) == list(frame.columns.drop("constant"))
    kept = ["whole", "real", "text", "category", "day", "time", "written"]
    pandas.testing.assert_frame_equal(
        back[kept], frame[kept].reset_index(drop=True), check_categorical=False, check_dtype=True
    )
    assert back["integer category"].tolist()[0] == 3
    assert back["integer category"].dtype == "category"
    filled = fill(dataset, np.zeros(dataset.values.shape))
    assert filled.dtypes.tolist() == frame.dtypes.tolist()
    assert filled.index.tolist() == [5, 6, 7, 8]
    assert filled["integer category"].tolist() == [3, 1, 3, 3]
    assert filled["nullable"].tolist() == [1, 0, 3, 4]
    assert filled["whole"].tolist() == [1, 2, 0, -4]
    numbered = pandas.DataFrame([[1.5, "x"], [2.5, None]])
    dataset = read(numbered)
    assert dataset.schema.names is None
    assert to_frame(dataset.values, dataset.schema, like="pandas").columns.tolist() == [0, 1]


WORDS = {"na", "nan", "inf", "null", "none", "true", "false", "infinity"}
words = st.text(string.ascii_letters, min_size=1, max_size=4).filter(lambda text: text.lower() not in WORDS)
COLUMNS = {
    pl.Int16(): st.integers(-(2**15), 2**15 - 1),
    pl.UInt8(): st.integers(0, 255),
    pl.Int64(): st.integers(-(2**24), 2**24),
    pl.Float64(): st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    pl.Float32(): st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    pl.String(): words,
    pl.Boolean(): st.booleans(),
    pl.Categorical(): words,
    pl.Date(): st.dates(dt.date(1500, 1, 1), dt.date(2500, 1, 1)),
    pl.Datetime("us"): st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)).map(
        lambda time: time.replace(microsecond=0)
    ),
}


@st.composite
def frames(draw):
    dtypes = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=5))
    rows = draw(st.integers(1, 9))
    names = draw(st.lists(words, min_size=len(dtypes), max_size=len(dtypes), unique=True))
    columns = []
    for name, dtype in zip(names, dtypes, strict=True):
        cells = draw(st.lists(st.one_of(COLUMNS[dtype], st.none()), min_size=rows, max_size=rows))
        columns.append(pl.Series(name, cells, dtype=dtype))
    return pl.DataFrame(columns)


@settings(max_examples=200, deadline=None)
@given(frame=frames(), order=st.randoms())
def test_every_table_comes_back_as_it_was(frame, order):
    empty = [name for name in frame.columns if frame[name].null_count() == len(frame)]
    if len(empty) == frame.width:
        with pytest.raises(DataError, match="every cell is missing"):
            read(frame)
        return
    dataset = read(frame)
    assert [name for name, _ in dataset.schema.excluded] == empty
    back = to_frame(dataset.values, dataset.schema)
    assert back.equals(frame.drop(empty))
    assert back.schema == frame.drop(empty).schema
    np.testing.assert_array_equal(np.isnan(dataset.values), frame.drop(empty).select(pl.all().is_null()).to_numpy())
    names = frame.columns
    order.shuffle(names)
    np.testing.assert_array_equal(read_as(frame.select(names), dataset.schema).values, dataset.values)
    np.testing.assert_array_equal(dataset.schema.check(dataset), dataset.values)
    assert fill(dataset, dataset.values).equals(frame)


@st.composite
def texts_of_numbers(draw):
    """A column of numbers written as text, all with the same number of decimals, with gaps."""
    decimals, largest = draw(st.integers(0, 4)), draw(st.sampled_from([1, 3, 1000, 10**6]))
    numbers = draw(st.lists(st.one_of(st.integers(-largest, largest), st.none()), min_size=1, max_size=12))
    texts = [None if number is None else f"{number / 10**decimals:.{decimals}f}" for number in numbers]
    return pl.Series("a", texts, dtype=pl.String)


@settings(max_examples=150, deadline=None)
@given(column=texts_of_numbers())
def test_numbers_written_as_text_come_back_with_their_decimals(column):
    frame = pl.DataFrame([column, pl.Series("b", [float(place) for place in range(len(column))])])
    dataset = read(frame)
    kept = frame.drop([name for name, _ in dataset.schema.excluded])
    back = to_frame(dataset.values, dataset.schema)
    assert back.equals(kept)
    assert back.schema == kept.schema


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "UTC"])
@pytest.mark.parametrize("form", [pl.DataFrame.clone, pl.DataFrame.to_pandas, pl.DataFrame.to_arrow])
def test_times_of_any_zone_come_back(zone, form):
    times = pl.Series("t", np.datetime64("2024-01-01T00:00:00.000000") + np.arange(20).astype("timedelta64[h]"))
    table = pl.DataFrame({"t": times.dt.replace_time_zone(zone), "x": np.arange(20.0)})
    dataset = read(form(table.with_columns(t=pl.when(pl.col("x") > 0).then("t"))))
    assert dataset.schema.columns[0].kind == "datetime"
    filled = fill(dataset, read(table).values)
    assert type(filled) is type(form(table))
    back = pl.from_pandas(filled) if hasattr(filled, "iloc") else pl.DataFrame(filled)
    assert back.equals(table)


@pytest.mark.parametrize("values", [["a", "b", "c"], [3, 1, 2]])
def test_categories_that_the_data_do_not_declare_can_be_filled_in(values):
    """Of pandas categories and polars enums, which refuse values that they do not list."""
    fitted = read(pd.DataFrame({"g": pd.Categorical(values * 5), "x": np.arange(15.0)})).schema
    cells = [None, values[0], None]
    frames = [pd.DataFrame({"g": pd.Categorical(cells, categories=values[:1]), "x": [1.0, 2.0, 3.0]})]
    if values[0] == "a":
        frames.append(pl.DataFrame({"g": pl.Series(cells, dtype=pl.Enum(["a"])), "x": [1.0, 2.0, 3.0]}))
    codes = {category: code for code, category in enumerate(fitted.columns[0].categories)}
    for frame in frames:
        dataset = read_as(frame, fitted, allow_missing=True)
        whole = np.array([[codes[values[1]], 1.0], [codes[values[0]], 2.0], [codes[values[2]], 3.0]])
        filled = fill(dataset, whole)["g"]
        assert list(filled) == [values[1], values[0], values[2]]
        assert str(filled.dtype).lower().startswith(("category", "enum"))
