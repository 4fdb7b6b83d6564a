"""The same column in every form in which tables write it: a fit on one form, gaps to fill in a table of another."""

import datetime
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from reparax.data import cell_value, fill, possible_value, read, read_as, to_frame
from reparax.errors import DataError

ROWS, GAPS = 200, 20
RNG = np.random.default_rng(0)
OTHER = pl.Series("x", RNG.normal(size=ROWS).round(2))
TRUTH = pl.Series(RNG.random(ROWS) < 0.4)
WHOLE = pl.Series(RNG.integers(1, 40, ROWS) * 3)
REAL = pl.Series((RNG.normal(size=ROWS) * 30).round(2) + 0.0)
WORDS = pl.Series(RNG.choice(["a", "b", "c"], ROWS))
DAYS = pl.Series([datetime.date(2024, 1, 1) + datetime.timedelta(days=int(day)) for day in RNG.integers(0, 800, ROWS)])
TIMES = pl.Series(
    [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=int(h)) for h in RNG.integers(0, 900, ROWS)]
)
BERLIN = TIMES.dt.replace_time_zone("Europe/Berlin")


def written(numbers, form):
    return pl.Series([format(number, form) for number in numbers])


FORMS = {
    "truth": [
        TRUTH, TRUTH.cast(pl.Int64), TRUTH.cast(pl.Float64), TRUTH.cast(pl.String),
        TRUTH.cast(pl.String).str.to_uppercase(), TRUTH.cast(pl.String).str.to_titlecase(),
        TRUTH.cast(pl.Int8).cast(pl.String), TRUTH.cast(pl.String).cast(pl.Categorical),
    ],
    "whole numbers": [
        WHOLE, WHOLE.cast(pl.UInt8), WHOLE.cast(pl.Int8), WHOLE.cast(pl.Float64), WHOLE.cast(pl.String),
        written(WHOLE, ".2f"),
    ],
    "real numbers": [REAL, written(REAL, ".2f"), written(REAL, "")],
    "words": [WORDS, WORDS.cast(pl.Categorical), WORDS.cast(pl.Enum(["a", "b", "c", "d"])), " " + WORDS],
    "days": [
        DAYS, DAYS.cast(pl.Datetime("us")), DAYS.cast(pl.String), DAYS.dt.strftime("%m/%d/%Y"),
        DAYS.dt.strftime("%-m/%-d/%Y"),
    ],
    "times": [
        TIMES, TIMES.cast(pl.Datetime("ms")), TIMES.dt.strftime("%Y-%m-%dT%H:%M:%S"),
        TIMES.dt.strftime("%Y-%m-%d %H:%M:%S.000"), TIMES.dt.strftime("%d.%m.%Y %H:%M"),
        TIMES.dt.strftime("%Y-%m-%d %H:%M:%SZ"), TIMES.dt.replace_time_zone("UTC"),
    ],
    "times with offsets": [
        TIMES.dt.strftime("%Y-%m-%d %H:%M:%S+00:00"), TIMES.dt.strftime("%Y-%m-%dT%H:%M:%S.000000+0000"),
        TIMES.dt.strftime("%Y-%m-%dT%H:%M:%S.000Z"), TIMES.dt.replace_time_zone("UTC"),
    ],
    "times of a zone": [BERLIN, BERLIN.dt.convert_time_zone("UTC"), BERLIN.dt.convert_time_zone("America/New_York")],
    "times on clocks": [BERLIN, TIMES, TIMES.dt.strftime("%d.%m.%Y %H:%M")],
}  # fmt: skip
PAIRS = {
    f"{name} {a} to {b}": (forms[a], forms[b])
    for name, forms in FORMS.items()
    for a, b in itertools.permutations(range(len(forms)), 2)
    if name != "times on clocks" or a == 0
}


def table(series, *, gaps=False):
    frame = pl.DataFrame({"x": OTHER, "t": series})
    missing = pl.Series(np.arange(ROWS) < GAPS)
    return frame.with_columns(t=pl.when(missing).then(None).otherwise(pl.col("t"))) if gaps else frame


@pytest.mark.parametrize("library", ["polars", "pandas"])
@pytest.mark.parametrize("pair", PAIRS)
def test_gaps_are_filled_in_the_form_of_the_table(pair, library):
    fitted_to, wanted = PAIRS[pair]
    data = read(table(fitted_to))
    holed = table(wanted, gaps=True)
    dataset = read_as(holed if library == "polars" else holed.to_pandas(), data.schema, allow_missing=True)
    np.testing.assert_array_equal(dataset.values[GAPS:], data.values[GAPS:])
    values = np.array(dataset.values)
    values[:GAPS] = data.values[:GAPS]
    found = fill(dataset, values)["t"]
    if library == "polars":
        assert found.dtype == wanted.dtype or wanted.dtype == pl.Enum
        assert found.to_list() == wanted.to_list()
    else:
        assert found.dtype == holed.to_pandas()["t"].dtype
        assert [str(cell) for cell in found] == [str(cell) for cell in _in_pandas(wanted, found.dtype)]


def _in_pandas(series, dtype):
    """A column as pandas holds it beside gaps."""
    return table(series).to_pandas()["t"].astype(dtype if dtype.kind == "f" else object)


EMPTY = {
    "polars": [pl.Null, pl.Float64, pl.Float32, pl.Boolean, pl.Datetime("us"), pl.String],
    "pandas": [None, np.nan, pd.NA, pd.NaT],
    "pyarrow": [pl.Null, pl.Float64, pl.Boolean],
    "file": ["", "NA", " none "],
    "folder": ["", "NA"],
    "workbook": [None],
}


@pytest.mark.parametrize("library", EMPTY)
@pytest.mark.parametrize("form", FORMS)
def test_columns_without_a_value_hold_what_fills_them(form, library, tmp_path):
    """Whatever type a library or a file gives them: what is filled is read as the same values again."""
    data = read(table(FORMS[form][0]))
    for empty in EMPTY[library]:
        rows = pl.DataFrame({"x": OTHER, "t": [None] * ROWS})
        if library == "pandas":
            rows = rows.to_pandas()
            rows["t"] = empty
        elif library == "workbook":
            for name in ("fastexcel", "xlsxwriter"):
                pytest.importorskip(name)
            rows.write_excel(tmp_path / "t.xlsx")
            rows = tmp_path / "t.xlsx"
        elif library in {"file", "folder"}:
            rows = rows.with_columns(t=pl.lit(empty))
            rows[:5].write_csv(tmp_path / "1.csv")
            rows[5:].write_csv(tmp_path / "2.csv")
            rows.write_csv(tmp_path.with_suffix(".csv"))
            rows = tmp_path if library == "folder" else tmp_path.with_suffix(".csv")
        else:
            rows = rows.with_columns(pl.col("t").cast(empty))
            rows = rows.to_arrow() if library == "pyarrow" else rows
        dataset = read_as(rows, data.schema, allow_missing=True)
        assert np.isnan(dataset.values[:, 1]).all()
        filled = fill(dataset, data.values)
        if isinstance(rows, Path):
            assert filled["t"].dtype == FORMS[form][0].dtype
        again = read_as(filled, data.schema, allow_missing=True)
        tolerance = 1e-6 if empty == pl.Float32 else 1e-12
        np.testing.assert_allclose(again.values, data.values, rtol=tolerance, err_msg=str(empty))


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt8, pl.Int64, pl.UInt64])
def test_what_a_data_type_cannot_hold_becomes_its_limit(dtype):
    data = read(table(pl.Series(RNG.normal(size=ROWS) * 1e25)))
    dataset = read_as(
        table(pl.Series(RNG.integers(0, 100, ROWS)).cast(dtype), gaps=True), data.schema, allow_missing=True
    )
    values = np.array(dataset.values)
    values[:GAPS, 1] = 1e30 * (-1) ** np.arange(GAPS)
    found = fill(dataset, values)["t"]
    assert found.dtype == dtype
    assert found.null_count() == 0
    assert 0.99 < found[0] / np.iinfo(str(dtype).lower()).max <= 1
    assert found[1] == np.iinfo(str(dtype).lower()).min


def test_a_data_type_that_cannot_hold_a_word_is_refused():
    data = read(table(WORDS))
    numbers = read_as(table(pl.Series(np.arange(ROWS)), gaps=True), data.schema, allow_missing=True)
    with pytest.raises(DataError, match="cells of type Int64, of which one would become '"):
        fill(numbers, np.where(np.isnan(numbers.values), data.values, numbers.values))


def test_whatever_is_written_for_truth_is_one_of_two_categories():
    for series in (*FORMS["truth"][:5], FORMS["truth"][6]):
        column = read(table(series)).schema.columns[1]
        for true, false in (("True", "False"), ("true", "FALSE"), ("1", "0"), ("1.0", "0.0")):
            assert (cell_value(column, true), cell_value(column, false)) == (1.0, 0.0)
    words = read(table(pl.Series(["yes", "no"] * (ROWS // 2)))).schema.columns[1]
    with pytest.raises(DataError, match="no, yes"):
        cell_value(words, "1")


def test_times_without_a_zone_are_those_of_the_clocks_of_the_column():
    berlin, naive, offsets = (
        read(table(series)).schema.columns[1] for series in (BERLIN, TIMES, BERLIN.dt.strftime("%Y-%m-%d %H:%M:%S%z"))
    )
    noon = datetime.datetime(2024, 1, 20, 12)
    for text in ("2024-01-20 12:00", "2024-01-20T11:00:00Z", "2024-01-20 13:00:00+02:00"):
        days = possible_value(berlin, text)
        assert to_frame(np.array([[0.0, days]]), read(table(BERLIN)).schema)["t"].dt.replace_time_zone(None)[0] == noon
    with pytest.raises(DataError, match="2024-03-31 02:00:00, when these are set"):
        cell_value(berlin, "2024-03-31 02:00")
    with pytest.raises(DataError, match="that the clocks of Europe/Berlin show once"):
        cell_value(berlin, "2024-10-27 02:00")
    assert possible_value(naive, "2024-01-20 12:00:00+00:00") == possible_value(naive, "2024-01-20 12:00")
    with pytest.raises(DataError, match="times without a zone"):
        cell_value(naive, "2024-01-20 13:00:00+02:00")
    with pytest.raises(DataError, match="their offset from UTC"):
        cell_value(offsets, "2024-01-20 13:00:00")


@pytest.mark.parametrize("zone", ["+01:00", "-05:00", "UTC", "Europe/Berlin"])
def test_times_of_pandas_come_back_in_any_zone(zone):
    frame = pd.DataFrame({"t": pd.date_range("2024-01-01", periods=60, freq="7h", tz=zone), "x": np.arange(60.0)})
    data = read(frame)
    found = to_frame(data.values, data.schema, like="pandas")
    assert (found["t"] == frame["t"]).all()
    holed = frame.assign(t=frame["t"].where(np.arange(60) > 5))
    dataset = read_as(holed, data.schema, allow_missing=True)
    pd.testing.assert_frame_equal(fill(dataset, data.values), frame)


def test_an_offset_without_a_name_is_refused():
    times = pd.date_range("2024-01-01", periods=60, freq="7h", tz="+05:30")
    with pytest.raises(DataError, match=r"got UTC\+05:30; convert them"):
        read(pd.DataFrame({"t": times, "x": np.arange(60.0)}))
