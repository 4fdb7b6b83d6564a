"""Excel workbooks: read and written where the libraries are installed, refused with their names where they are not."""

import datetime
import importlib.util
import sys

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reparax.data import check_output, read, write
from reparax.errors import DataError, MissingExtra

INSTALLED = all(importlib.util.find_spec(name) for name in ("fastexcel", "xlsxwriter"))
needs_excel = pytest.mark.skipif(not INSTALLED, reason="fastexcel and xlsxwriter (the extra excel) are not installed")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    count = 60
    return pl.DataFrame(
        {
            "zip": [f"0{index % 7}01" for index in range(count)],
            "price": pl.Series(rng.normal(10, 3, count).round(2)).set(pl.Series(rng.random(count) < 0.1), None),
            "rooms": rng.integers(1, 9, count),
            "kind": pl.Series(rng.choice(["flat", "house"], count), dtype=pl.Categorical),
            "day": [datetime.date(2024, 1, 1) + datetime.timedelta(days=index) for index in range(count)],
            "new": rng.random(count) < 0.5,
            "at": pl.Series(
                [datetime.datetime(2024, 3, 30) + datetime.timedelta(hours=index) for index in range(count)]
            ).dt.replace_time_zone("America/New_York"),
        }
    )


@pytest.mark.parametrize("library", ["fastexcel", "xlsxwriter"])
def test_what_is_missing_is_named(library, table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04")

    def use():
        if library == "fastexcel":
            return read(tmp_path / "table.xlsx")
        check_output(tmp_path / "out.xlsx", (".xlsx",))
        return write(tmp_path / "out.xlsx", table)

    with pytest.raises(MissingExtra, match=rf"{library} to be installed.*pip install 'reparax\[excel\]'"):
        use()
    assert not (tmp_path / "out.xlsx").exists()


@needs_excel
def test_a_workbook_is_the_table_that_was_written(table, tmp_path):
    path = tmp_path / "table.xlsx"
    write(path, table)
    given, found = read(table), read(path)
    np.testing.assert_allclose(found.values, given.values)
    kinds = [
        [(column.name, column.kind, column.categories) for column in some.schema.columns] for some in (given, found)
    ]
    assert kinds[0] == kinds[1]
    assert_frame_equal(pl.read_excel(path, engine="calamine").select("zip", "rooms"), table.select("zip", "rooms"))
    path.rename(tmp_path / "without-suffix")
    np.testing.assert_array_equal(read(tmp_path / "without-suffix").values, found.values)


@needs_excel
def test_the_first_sheet_is_read_and_said(table, tmp_path):
    import xlsxwriter

    with xlsxwriter.Workbook(tmp_path / "two.xlsx") as book:
        for name in ("prices", "other"):
            sheet = book.add_worksheet(name)
            sheet.write_row(0, 0, ["a", "b"])
            for row in range(1, 30):
                sheet.write_row(row, 0, [row, row * 0.5 if name == "prices" else 1])
    dataset = read(tmp_path / "two.xlsx")
    assert dataset.values[:, -1].max() == 14.5
    assert "sheet 'prices' was read, the first of 2" in dataset.notes


@needs_excel
def test_damaged_workbooks_are_refused(tmp_path):
    for content in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"hello"):
        (tmp_path / "table.xlsx").write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            read(tmp_path / "table.xlsx")
