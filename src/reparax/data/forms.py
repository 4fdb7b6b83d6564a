"""Cells of a model as another table writes its own: data types, formats of dates, decimals, the names of categories."""

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reparax.data.frames import cells_of
from reparax.data.match import TRUTH, codes_of, spelling, truth_codes
from reparax.data.restore import restored
from reparax.data.text import spelled_like
from reparax.data.values import Category, Cells
from reparax.data.zones import OFFSETS, UTC, as_clocks_show, zone_of
from reparax.summary import Column

if TYPE_CHECKING:
    import polars as pl


def restored_like(values: np.ndarray, column: Column, series: "pl.Series") -> "pl.Series":
    """`restored` in the form of a table that may come from elsewhere than that of the fit: a file, not a data frame.

    Args:
        values: The values of a model.
        column: The column in the fit.
        series: The column of the table, which was matched to that of the fit.
    """
    import narwhals as nw
    import polars as pl

    if has_no_type(series, own := restored(values, column)):
        return own
    cells = cells_of(nw.from_native(series, series_only=True), column.name, column)
    is_text = series.dtype in (pl.String, pl.Categorical, pl.Enum)
    if is_text and cells.num_missing == len(cells.values):
        form = _text_form(column)
    else:
        form = "string" if cells.dtype == "category" else cells.dtype
    if column.is_category:
        written = _written(column, cells, is_text=is_text)
        form = "string" if any(isinstance(name, str) for name in written) else form
        return restored(values, msgspec.structs.replace(column, categories=written, dtype=form))
    if column.kind == "datetime":
        # Text of which the model knows the format, although not all of it looks like dates.
        form = column.dtype if cells.kind == "category" else form
        values = _on_clocks(np.asarray(values, np.float64), column, form)
    return restored(values, msgspec.structs.replace(column, dtype=form))


def has_no_type(series: "pl.Series", filling: "pl.Series") -> bool:
    """Whether a column of a table has no value, and no type, or one of another kind than what fills it.

    Libraries and files give columns without a value a type that nobody chose: pandas numbers to missing words. Text
    holds everything, and numbers hold truth values.

    Args:
        series: The column of the table.
        filling: What fills it, in the form of the fit.
    """
    import polars as pl

    if series.dtype == pl.Null:
        return True
    present = series.drop_nulls()
    if len(present.drop_nans() if series.dtype.is_float() else present):
        return False
    asked, found = _kind_of_type(filling.dtype), _kind_of_type(series.dtype)
    return found not in {asked, "text"} and (asked, found) != ("truth", "number")


def _kind_of_type(dtype: "pl.DataType") -> str:
    import polars as pl

    if dtype.is_temporal():
        return "time"
    return "truth" if dtype == pl.Boolean else "number" if dtype.is_numeric() else "text"


def _text_form(column: Column) -> str:
    """The data type of a column in a table of text that says nothing of it: that of the fit, if this was text."""
    if column.dtype.startswith("string") or column.kind != "datetime":
        return column.dtype if column.dtype.startswith("string") else "string"
    days = "string:%Y-%m-%d"
    return days if column.step >= 1 else f"{days} %H:%M:%S{'%z' if zone_of(column.dtype) else ''}"


def _on_clocks(values: np.ndarray, column: Column, form: str) -> np.ndarray:
    """Days as the clocks in the zone of the fit show them, if the table names no zone."""
    zone = zone_of(column.dtype)
    if zone is None or zone == OFFSETS or zone in UTC or zone_of(form) is not None:
        return values
    return as_clocks_show(values, zone)


def _written(column: Column, cells: Cells, *, is_text: bool) -> tuple[Category, ...]:
    """The categories of the fit, each as the table writes it."""
    present = cells if cells.kind in {"category", "boolean"} else cells.as_categories()
    own = {code: name for name, code in zip(present.categories, codes_of(present.categories, column), strict=True)}
    truths = {code: truth for truth, code in truth_codes(column.categories).items()}

    def written(code: int, name: Category) -> Category:
        if code in own:
            return own[code]
        if code not in truths or (is_text and not own):
            return name
        return _opposite(own[1 - code]) if own else bool(truths[code])

    names = [written(code, name) for code, name in enumerate(column.categories)]
    if is_text and any(isinstance(name, str | bool) for name in names):
        return tuple(str(name).lower() if isinstance(name, bool) else str(name) for name in names)
    return tuple(names)


def _opposite(truth: Category) -> Category:
    """False for true and true for false, in whatever way it is written."""
    is_true = TRUTH[spelling(truth)]
    if not isinstance(truth, str):
        return type(truth)(not is_true)
    text = truth.strip()
    if text[0].isdigit():
        return text.replace("1", "0", 1) if is_true else text.replace("0", "1", 1)
    return spelled_like(text)[not is_true]
