"""From the matrix of a model back to the user's table: names, types, categories, rounding, dates, missing cells."""

import difflib
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from reparax.data.dataset import Dataset, FrameKind
from reparax.data.match import TRUTH, spelling, truth_codes
from reparax.data.schema import Schema
from reparax.data.text import MICROSECONDS, dates_of, texts_of
from reparax.data.values import rounded
from reparax.data.zones import as_in_fit
from reparax.errors import DataError
from reparax.summary import Column, shown_category

if TYPE_CHECKING:
    import polars as pl


def to_frame(values: np.ndarray, schema: Schema, *, like: FrameKind = "polars", labels: Any = None) -> Any:
    """Rows of a model in the form of the user's table.

    Codes become categories and days become dates; numbers are rounded like those of the data, and to whole numbers for
    integer data types. NaN and the code for unseen categories become missing cells.

    Args:
        values: A matrix with the columns of the schema.
        schema: The schema of a table.
        like: The library of the frame; ``"numpy"`` gives an array of numbers if every column is numeric, else of
            objects.
        labels: `Dataset.frame_labels`, for frames of pandas.

    Raises:
        DataError: The values are not a matrix with these columns, or the schema is not that of a table.
    """
    made = polars_frame(values, schema)
    frame = as_kind(made, like)
    if like != "pandas":
        return frame
    declared = {column.name: "category" for column in schema.columns or () if column.dtype == "category"}
    frame = _with_gaps_as_such(frame.astype(declared), made, schema.columns or ())
    if labels is not None:
        places = {str(label): place for place, label in enumerate(labels)}
        own = [name if schema.names is not None else name.removeprefix("column_") for name in frame.columns]
        frame.columns = labels.take([places[name] for name in own])
    elif schema.names is None:
        numbers = [name.removeprefix("column_") for name in frame.columns]
        frame.columns = [int(name) if name.isdecimal() else name for name in numbers]
    return frame


def _with_gaps_as_such(frame: Any, made: "pl.DataFrame", columns: Iterable[Column]) -> Any:
    """The pandas frame with columns of whole numbers and booleans that have gaps in the data types of pandas for these.

    They are made from the polars frame, as pandas has made floating-point numbers or objects of them.
    """
    import pandas as pd

    for column in columns:
        if column.missing > 0 and column.dtype.startswith(("int", "uint")):
            dtype = column.dtype.replace("uint", "UInt").replace("int", "Int")
        elif column.missing > 0 and column.dtype == "boolean":
            dtype = "boolean"
        else:
            continue
        frame[column.name] = pd.array(made[column.name].to_list(), dtype=dtype)
    return frame


def polars_frame(values: np.ndarray, schema: Schema) -> "pl.DataFrame":
    """`to_frame` for polars."""
    import polars as pl

    if schema.columns is None or values.ndim != 2 or values.shape[1] != len(schema.columns):
        columns = "a table" if schema.columns is None else f"rows of {len(schema.columns)} columns"
        raise DataError(
            expected=columns,
            got=f"an array of shape {values.shape}",
            cure="use rows from the model",
        )
    return pl.DataFrame([restored(values[:, index], column) for index, column in enumerate(schema.columns)])


def as_kind(frame: "pl.DataFrame", like: FrameKind) -> Any:
    """A polars frame converted to another library."""
    if like == "pandas":
        return frame.to_pandas()
    if like == "pyarrow":
        return arrow_table(frame)
    if like == "numpy":
        numeric = all(dtype.is_numeric() for dtype in frame.dtypes)
        return frame.to_numpy() if numeric else np.column_stack([_objects(column) for column in frame.get_columns()])
    return frame


def _objects(column: "pl.Series") -> np.ndarray:
    array = np.empty(len(column), object)
    array[:] = column.to_list()
    return array


def arrow_table(frame: "pl.DataFrame") -> Any:
    """An arrow table with the usual string type of arrow."""
    import pyarrow as pa

    table = frame.to_arrow()
    plain = {pa.large_string(): pa.string(), pa.string_view(): pa.string()}

    def converted(dtype: Any) -> Any:
        if pa.types.is_dictionary(dtype):
            return pa.dictionary(pa.int32(), pa.string())
        return plain.get(dtype, dtype)

    fields = [pa.field(field.name, converted(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))


def restored(values: np.ndarray, column: Column) -> "pl.Series":
    """A column with the data type, categories, rounding and missing cells of the user's table."""
    values = np.asarray(values, np.float64)
    if column.is_category:
        return _categories(values, column)
    if column.kind == "datetime":
        return _dates(values, column)
    return _numbers(rounded(values, column.step), column)


def _categories(values: np.ndarray, column: Column) -> "pl.Series":
    import polars as pl

    seen = (values >= -0.5) & (values < len(column.categories) - 0.5)
    codes = np.where(seen, np.rint(np.where(seen, values, 0)), 0).astype(np.uint32)
    places = pl.Series(codes).set(pl.Series(~seen), None)
    categories = pl.Series(list(column.categories)) if column.categories else pl.Series([], dtype=pl.Null)
    series = categories.gather(places).alias(column.name)
    if column.dtype == "category" and series.dtype == pl.String:
        return series.cast(pl.Enum(sorted(map(str, column.categories)))).cast(pl.Categorical)
    if column.dtype.startswith("string") and series.dtype.is_numeric():
        texts = [_text(value, column) for value in series.cast(pl.Float64).fill_null(np.nan).to_list()]
        return pl.Series(column.name, texts, dtype=pl.String)
    if column.dtype in {"category", "string"} and series.dtype != pl.Boolean:
        return series
    if column.dtype == "string":
        return series.cast(pl.String)
    dtype = number_type(column.dtype)
    return series.cast(dtype) if dtype is not None else series


def _dates(values: np.ndarray, column: Column) -> "pl.Series":
    import polars as pl

    missing = np.isnan(values)
    micros = np.rint(np.where(missing, 0, rounded_days(values, column.step)) * MICROSECONDS)
    times = pl.Series(column.name, micros.astype(np.int64)).set(pl.Series(missing), None).cast(pl.Datetime("us"))
    if column.dtype == "date":
        return times.cast(pl.Date)
    if column.dtype.startswith("datetime["):
        unit, _, zone = column.dtype.removeprefix("datetime[").removesuffix("]").partition(", ")
        times = times.cast(pl.Datetime("ms" if unit == "s" else unit))  # ty: ignore[invalid-argument-type]
        return times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else times
    return texts_of(times, column.dtype.removeprefix("string:"))


def rounded_days(values: np.ndarray, step: float) -> np.ndarray:
    """Days rounded to multiples of a step in days; unchanged if it is 0."""
    return values if step <= 0 else np.rint(values / step) * step


def _numbers(values: np.ndarray, column: Column) -> "pl.Series":
    import polars as pl

    missing = np.isnan(values)
    dtype = number_type(column.dtype)
    if column.dtype.startswith("string"):
        texts = [_text(value, column) for value in values.tolist()]
        return pl.Series(column.name, texts, dtype=pl.String)
    if dtype is None or dtype.is_float():
        series = pl.Series(column.name, values + 0.0, dtype=dtype or pl.Float64)  # no negative zeros
    elif dtype == pl.Boolean:
        series = pl.Series(column.name, np.where(missing, 0, values) > 0.5)
    else:
        limits = np.iinfo(column.dtype)
        # The largest number of 64 bits is no floating-point number, and the nearest one is beyond it.
        most = np.nextafter(float(limits.max), 0) if float(limits.max) > limits.max else float(limits.max)
        bounded = np.clip(np.rint(np.where(missing, 0, values)), float(limits.min), most)
        series = pl.Series(column.name, bounded).cast(dtype, strict=False)
    return series.set(pl.Series(missing), None) if missing.any() else series


def _text(value: float, column: Column) -> str | None:
    """A number as the texts of the column are written: with their decimals, if all have the same number of these."""
    if np.isnan(value):
        return None
    _, colon, form = column.dtype.partition(":")
    if colon:
        return format(value + 0.0, form)
    return str(int(value)) if value == int(value) and (column.step >= 1 or column.is_category) else repr(value)


def number_type(name: str) -> "pl.DataType | None":
    """The polars data type with a name; None for text and categories."""
    import polars as pl

    known = {
        "int8": pl.Int8, "int16": pl.Int16, "int32": pl.Int32, "int64": pl.Int64, "uint8": pl.UInt8,
        "uint16": pl.UInt16, "uint32": pl.UInt32, "uint64": pl.UInt64, "float16": pl.Float32, "float32": pl.Float32,
        "float64": pl.Float64, "boolean": pl.Boolean,
    }  # fmt: skip
    return known[name]() if name in known else None


def unrounded(dataset: Dataset) -> Dataset:
    """The dataset with columns of real numbers that are not rounded when they are filled, as expectations are not.

    Whole numbers, texts and dates keep their rounding, as their data types ask for it.
    """
    columns = dataset.schema.columns or ()
    free = tuple(
        msgspec.structs.replace(column, step=0.0) if column.dtype.startswith("float") else column for column in columns
    )
    return replace(dataset, schema=msgspec.structs.replace(dataset.schema, columns=free or None))


SHOWN = 3

GRID_SLACK = 1e-3
"""A number this fraction of a step from a multiple of it is the multiple: texts of numbers and dates are cut off."""


class ColumnLine(NamedTuple):
    """A description of one column.

    Attributes:
        name: Its name.
        kind: Its kind, with ``", given"`` if it is not modeled; or ``"left out"``.
        missing: The fraction of missing cells, ``""`` if there are none.
        values: The range of its numbers, its most frequent categories, or why it is left out.
    """

    name: str
    kind: str
    missing: str
    values: str


def column_lines(schema: Schema) -> list[ColumnLine]:
    """A line for each column of a table, and for what is given of other examples, with columns left out last."""
    given = {column.name for column in schema.given_columns}
    columns = (schema.joint.columns if schema.columns else schema.given_columns) or ()
    lines = [
        ColumnLine(
            column.name,
            f"{column.kind}, given" if column.name in given else column.kind,
            _percent(column.missing) if column.missing else "",
            _values(column),
        )
        for column in columns
    ]
    return lines + [ColumnLine(name, "left out", "", reason) for name, reason in schema.excluded]


def _values(column: Column) -> str:
    if column.is_category:
        pairs = zip(column.categories[:SHOWN], column.category_fractions[:SHOWN], strict=True)
        listed = ", ".join(f"{shown_category(category)} {_percent(share)}" for category, share in pairs)
        more = len(column.categories) - SHOWN
        return f"{listed} and {more} more" if more > 0 else listed
    low, high = cell_text(column, column.low), cell_text(column, column.high)
    zero = next((share for spike, share in zip(column.spikes, column.spike_fractions, strict=True) if spike == 0), 0.0)
    if column.kind == "zero-inflated":
        return f"0 in {_percent(zero)}, {low} to {high}"
    if column.kind == "ordinal":
        return f"{low} to {high}, {len(column.spikes)} level{'s' if len(column.spikes) != 1 else ''}"
    return f"{low} to {high}"


def _percent(fraction: float) -> str:
    if 0 < fraction < 0.001:
        return "< 0.1 %"
    return f"{100 * fraction:.1f} %" if fraction < 0.1 else f"{100 * fraction:.0f} %"


def cell_text(column: Column, value: float) -> str:
    """One value of a matrix as the user would write it; empty if it is missing."""
    return cell_texts(column, np.asarray([value]))[0]


def cell_texts(column: Column, values: np.ndarray) -> list[str]:
    """`cell_text` of many values at once."""
    cells = restored(values, column).to_list()
    return ["" if c is None else f"{c:.6g}" if isinstance(c, float) else str(c).strip() for c in cells]


def cell_value(column: Column, text: str) -> float:
    """The value of a matrix for a cell as a person writes it: a number, a date, or the name of a category.

    Raises:
        DataError: There is no such category, or the text is not a number or a date.
    """
    if not column.is_category:
        return _day(column, text) if column.kind == "datetime" else _number(column, text)
    exact = {str(category): code for code, category in enumerate(column.categories)}
    alike = {spelling(category): code for code, category in reversed(list(enumerate(column.categories)))}
    truths = truth_codes(column.categories)
    code = exact.get(text, alike.get(spelling(text), truths.get(TRUTH.get(spelling(text)))))
    if code is not None:
        return float(code)
    names = [str(category).strip() for category in column.categories]
    near = difflib.get_close_matches(text, names, n=3) or [name for name in names if name.lower() == text.lower()]
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise DataError(
        expected=f"a value of column {column.name!r} ({listed})",
        got=repr(text),
        cure=f"did you mean {' or '.join(near)}?" if near else "use one that occurred in the fit",
    )


def possible_value(column: Column, text: str) -> float:
    """`cell_value` of a cell that new rows are to have: a number that the rounding of the column allows.

    Rows of another number would be weighted by its density and written as the nearest one that is possible.

    Raises:
        DataError: The text cannot be read, or numbers of the column are never like this.
    """
    value, step = cell_value(column, text), column.step
    if column.is_category or step <= 0 or not np.isfinite(value):
        return value
    near = _nearest(value, column)
    if abs(value - near) <= GRID_SLACK * step + 4 * np.finfo(np.float64).eps * abs(value):
        return near
    below, above = (_nearest(near + side * step, column) for side in (-1, 1))
    others = (near, above) if value > near else (below, near)
    numbers = "whole numbers" if step == 1 else f"multiples of {step:g}"
    raise DataError(
        expected=f"a value that column {column.name!r} can have: all of its values in the fit are "
        + (f"multiples of {_duration(step)}" if column.kind == "datetime" else numbers),
        got=repr(text),
        cure=f"use {' or '.join(_written(column, other) for other in others)}",
    )


def _nearest(value: float, column: Column) -> float:
    """The multiple of the column's step that is nearest."""
    values = np.asarray([value])
    near = rounded_days(values, column.step) if column.kind == "datetime" else rounded(values, column.step)
    return float(near[0]) + 0.0


def _written(column: Column, value: float) -> str:
    return cell_text(column, value) if column.kind == "datetime" else f"{value:.15g}"


def _duration(days: float) -> str:
    return f"{days:g} days" if days >= 1 else f"{days * 86400:g} seconds"


def _number(column: Column, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(
            expected=f"a number for column {column.name!r}", got=repr(text), cure=f"use one, such as {column.mean:g}"
        )
    return value


def _day(column: Column, text: str) -> float:
    import polars as pl

    form = column.dtype.removeprefix("string:") if "%" in column.dtype else None
    dates = dates_of(pl.Series([text.strip()]), form)
    if dates is None:
        raise DataError(
            expected=f"a date for column {column.name!r}",
            got=repr(text),
            cure=f"write one like {cell_text(column, column.high)}",
        )
    came = "datetime[us, UTC]" if text.strip().endswith(("+00:00", "+0000")) else f"string:{dates.format}"
    return float(as_in_fit(dates.days, came, column)[0])
