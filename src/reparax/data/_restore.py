"""From a model's matrix back to the user's table: names, order, data types, categories, rounding, dates, gaps."""

from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data._dataset import FrameKind
from reparax.data._dates import MICROSECONDS, texts_of
from reparax.data._schema import Schema
from reparax.errors import DataError
from reparax.summary import Column

if TYPE_CHECKING:
    import polars as pl


def to_frame(values: np.ndarray, schema: Schema, *, like: FrameKind = "polars") -> Any:
    """Rows of a model as the user's table has them.

    Codes become categories, days become dates; numbers are rounded as those of the data are, and to whole ones where
    the data type is one of whole numbers. NaN, and the code of a category that was never seen, become missing cells.

    Args:
        values: A matrix with the columns of the schema.
        schema: The schema of a table.
        like: The library of the frame; ``"numpy"`` gives an array, of numbers where every column is of numbers, else
            of objects.

    Raises:
        DataError: Not a matrix with these columns, or a schema of images.
    """
    frame = as_kind(polars_frame(values, schema), like)
    if like != "pandas":
        return frame
    declared = {column.name: "category" for column in schema.columns or () if column.dtype == "category"}
    frame = frame.astype(declared)
    if schema.names is None:
        frame.columns = [int(name.removeprefix("column_")) for name in frame.columns]
    return frame


def polars_frame(values: np.ndarray, schema: Schema) -> "pl.DataFrame":
    """As `to_frame`, for polars."""
    import polars as pl

    if schema.columns is None or values.ndim != 2 or values.shape[1] != len(schema.columns):
        columns = "a table" if schema.columns is None else f"rows of {len(schema.columns)} columns"
        raise DataError(expected=columns, got=f"an array of shape {values.shape}", cure="give rows as the model does")
    return pl.DataFrame([restored(values[:, index], column) for index, column in enumerate(schema.columns)])


def as_kind(frame: "pl.DataFrame", like: FrameKind) -> Any:
    """A polars frame as one of another library."""
    if like == "pandas":
        return frame.to_pandas()
    if like == "pyarrow":
        return _arrow(frame)
    if like == "numpy":
        numeric = all(dtype.is_numeric() for dtype in frame.dtypes)
        return frame.to_numpy() if numeric else np.column_stack([_objects(column) for column in frame.get_columns()])
    return frame


def _objects(column: "pl.Series") -> np.ndarray:
    array = np.empty(len(column), object)
    array[:] = column.to_list()
    return array


def _arrow(frame: "pl.DataFrame") -> Any:
    """An arrow table; its text is of the type that arrow users have."""
    import pyarrow as pa

    table = frame.to_arrow()
    plain = {pa.large_string(): pa.string(), pa.string_view(): pa.string()}

    def usual(dtype: Any) -> Any:
        if pa.types.is_dictionary(dtype):
            return pa.dictionary(pa.int32(), pa.string())
        return plain.get(dtype, dtype)

    fields = [pa.field(field.name, usual(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))


def restored(values: np.ndarray, column: Column) -> "pl.Series":
    """One column as it came: its data type, categories, rounding and gaps."""
    values = np.asarray(values, np.float64)
    if column.is_category:
        return _categories(values, column)
    if column.kind == "datetime":
        return _dates(values, column)
    return _numbers(rounded(values, column.step), column)


def rounded(values: np.ndarray, step: float) -> np.ndarray:
    """The nearest whole multiples of a step; the values themselves where it is 0."""
    if step <= 0:
        return values
    if step >= 1:
        return np.rint(values / step) * step
    scales = 10.0 ** np.arange(1, 16)
    scale = scales[np.argmin(np.abs(step * scales - np.rint(step * scales)) > 1e-6)]
    units = np.rint(step * scale)
    return np.rint(values / step) * units / scale if units else values


def _categories(values: np.ndarray, column: Column) -> "pl.Series":
    import polars as pl

    seen = (values >= -0.5) & (values < len(column.categories) - 0.5)
    codes = np.where(seen, np.rint(np.where(seen, values, 0)), 0).astype(np.uint32)
    places = pl.Series(codes).set(pl.Series(~seen), None)
    categories = pl.Series(list(column.categories)) if column.categories else pl.Series([], dtype=pl.Null)
    found = categories.gather(places).alias(column.name)
    if column.dtype == "category" and found.dtype == pl.String:
        return found.cast(pl.Enum(sorted(map(str, column.categories)))).cast(pl.Categorical)
    if column.dtype in {"category", "string"} and found.dtype != pl.Boolean:
        return found
    if column.dtype == "string":
        return found.cast(pl.String)
    dtype = number_type(column.dtype)
    return found.cast(dtype) if dtype is not None else found


def _dates(values: np.ndarray, column: Column) -> "pl.Series":
    import polars as pl

    missing = np.isnan(values)
    micros = np.rint(np.where(missing, 0, rounded_days(values, column.step)) * MICROSECONDS)
    times = pl.Series(column.name, micros.astype(np.int64)).cast(pl.Datetime("us")).set(pl.Series(missing), None)
    if column.dtype == "date":
        return times.cast(pl.Date)
    if column.dtype.startswith("datetime["):
        unit, _, zone = column.dtype.removeprefix("datetime[").removesuffix("]").partition(", ")
        times = times.cast(pl.Datetime("ms" if unit == "s" else unit))  # ty: ignore[invalid-argument-type]
        return times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else times
    return texts_of(times, column.dtype.removeprefix("string:"))


def rounded_days(values: np.ndarray, step: float) -> np.ndarray:
    """Days to whole multiples of a part of a day."""
    return values if step <= 0 else np.rint(values / step) * step


def _numbers(values: np.ndarray, column: Column) -> "pl.Series":
    import polars as pl

    missing = np.isnan(values)
    dtype = number_type(column.dtype)
    if column.dtype == "string":
        whole = column.step >= 1
        texts = [_text(value, whole=whole) for value in values.tolist()]
        return pl.Series(column.name, texts, dtype=pl.String)
    if dtype is None or dtype.is_float():
        series = pl.Series(column.name, values, dtype=dtype or pl.Float64)
    elif dtype == pl.Boolean:
        series = pl.Series(column.name, np.where(missing, 0, values) > 0.5)
    else:
        limits = np.iinfo(column.dtype)
        bounded = np.clip(np.rint(np.where(missing, 0, values)), float(limits.min), float(limits.max))
        series = pl.Series(column.name, bounded).cast(dtype, strict=False)
    return series.set(pl.Series(missing), None) if missing.any() else series


def _text(value: float, *, whole: bool) -> str | None:
    if np.isnan(value):
        return None
    return str(int(value)) if whole else repr(value)


def number_type(name: str) -> "pl.DataType | None":
    """The type of polars of that name; None for text and categories."""
    import polars as pl

    known = {
        "int8": pl.Int8, "int16": pl.Int16, "int32": pl.Int32, "int64": pl.Int64, "uint8": pl.UInt8,
        "uint16": pl.UInt16, "uint32": pl.UInt32, "uint64": pl.UInt64, "float16": pl.Float32, "float32": pl.Float32,
        "float64": pl.Float64, "boolean": pl.Boolean,
    }  # fmt: skip
    return known[name]() if name in known else None
