"""Tables as people have them: each sentence says what is wrong and where, and no other exception comes out."""

import gzip
import os

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reparax.data import left_out, read, to_frame
from reparax.errors import DataError, ReparaxError

ROWS = 200


def frame(**columns) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame({"x": rng.normal(size=ROWS), "y": rng.gamma(2.0, size=ROWS), **columns})


def test_codes_with_leading_zeros_are_categories():
    rng = np.random.default_rng(1)
    table = frame(zip=[f"{code:05d}" for code in rng.integers(100, 140, ROWS)])
    data = read(table)
    (column,) = [column for column in data.schema.columns if column.name == "zip"]
    assert column.kind == "categorical"
    assert any("zeros, as codes do" in note for note in data.notes)
    assert to_frame(data.values, data.schema)["zip"].to_list() == table["zip"].to_list()


def unsupported() -> pl.DataFrame:
    return frame(
        took=pl.Series([1] * ROWS).cast(pl.Duration("us")), at=pl.Series([1] * ROWS).cast(pl.Time), tags=[[1]] * ROWS
    )


def test_unsupported_columns_are_named_together_with_the_cure():
    with pytest.raises(DataError, match=r"'took', 'at', 'tags'.*--exclude took,at,tags") as raised:
        read(unsupported())
    assert "exclude=['took', 'at', 'tags']" in str(raised.value)
    with pytest.raises(DataError, match="--exclude tags"):
        read(unsupported().drop("took", "at"))


@pytest.mark.parametrize(
    "settings",
    [{"exclude": ["took", "at", "tags"]}, {"schema": {"took": "exclude", "at": "exclude", "tags": "exclude"}}],
)
def test_unsupported_columns_can_be_excluded(settings):
    data = read(unsupported(), **settings)
    assert data.schema.names == ("x", "y")
    assert left_out(data.schema) == []
    assert dict(data.schema.excluded).keys() == {"took", "at", "tags"}


def test_a_typo_among_numbers_is_named_with_its_row():
    prices = [f"{price:.2f}" for price in np.random.default_rng(2).gamma(2, 10, ROWS)]
    prices[123] = "oops"
    with pytest.raises(DataError, match=r"numbers in column 'price'.*'oops' in row 124"):
        read(frame(price=prices))
    assert read(frame(price=prices), schema={"price": "categorical"}).schema.columns[2].kind == "categorical"
    prices[123] = ""
    assert read(frame(price=prices)).schema.columns[2].missing == 1 / ROWS


@pytest.mark.parametrize("form", ["parquet", "feather", "pyarrow", "polars"])
def test_large_integers_with_gaps_are_names(form, tmp_path):
    codes = [None, *(10**17 + np.arange(ROWS - 1) % 5).tolist()]
    table = frame(code=codes)
    path = tmp_path / f"table.{form}"
    if form == "parquet":
        table.write_parquet(path)
    elif form == "feather":
        table.write_ipc(path)
    source = {"pyarrow": table.to_arrow(), "polars": table}.get(form, path)
    data = read(source)
    assert data.schema.columns[2].kind == "categorical"
    assert to_frame(data.values, data.schema)["code"].to_list() == codes


def test_large_identifiers_with_gaps_are_left_out():
    data = read(frame(code=[None, *range(10**17, 10**17 + ROWS - 1)]))
    assert data.schema.names == ("x", "y")
    assert "too large" in left_out(data.schema)[0]


def test_small_integers_with_gaps_are_numbers(tmp_path):
    counts = [None, *range(ROWS - 1)]
    frame(count=counts).write_parquet(tmp_path / "t.parquet")
    data = read(tmp_path / "t.parquet")
    assert to_frame(data.values, data.schema)["count"].to_list() == counts


def test_json_lines_and_gzipped_text(tmp_path):
    table = frame(sex=["a", "b"] * (ROWS // 2))
    table.write_ndjson(tmp_path / "t.jsonl")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(table.write_csv().encode()))
    for name in ("t.jsonl", "t.csv.gz"):
        data = read(tmp_path / name)
        assert data.schema.names == ("x", "y", "sex")
        np.testing.assert_allclose(data.values[:, 0], table["x"], rtol=1e-6)
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a": ')
    with pytest.raises(DataError, match="JSON"):
        read(tmp_path / "bad.jsonl")


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path, words in (
        (tmp_path / "pipe.csv", "a pipe or a device"),
        ("/dev/zero", "a pipe or a device"),
        ("", "empty"),
    ):
        with pytest.raises(DataError, match=words):
            read(path)


cells = st.one_of(
    st.none(), st.text(max_size=6), st.integers(-(10**20), 10**20).map(str), st.floats(width=32).map(str),
    st.sampled_from(["NA", "0", "007", "1,5", "1.234,5", "2020-01-02", "true", "12:30", "$5", "5%", "1e400", "-0.0"]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=30))
def test_whatever_the_text_only_our_own_errors_come_out(rows):
    table = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")
    try:
        data = read(table)
    except ReparaxError:
        return
    assert to_frame(np.asarray(data.values, np.float64), data.schema).height == len(rows)
