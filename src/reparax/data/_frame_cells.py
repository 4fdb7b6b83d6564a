"""The cells of a data frame's column, whatever its data type."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data._cells import Cells
from reparax.data._dates import datetime_cells_days
from reparax.data._text import text_cells
from reparax.errors import DataError
from reparax.summary import Column

if TYPE_CHECKING:
    import narwhals as nw
    import polars as pl


def cells_of(column: "nw.Series", name: str, fitted: Column | None = None) -> Cells:
    """The cells of a column.

    Args:
        column: A column of a pandas, polars or arrow frame.
        name: Its name, for errors.
        fitted: What the column was at fitting, where it is known; it says how dates are written.

    Raises:
        DataError: Cells of a type that has no place in a table: lists, records, durations.
    """
    import narwhals as nw

    dtype = column.dtype
    if dtype.is_decimal() or dtype in (nw.Int128, nw.UInt128):
        return Cells("number", _numbers(column.cast(nw.Float64)), "float64")
    if dtype.is_numeric():
        return Cells("number", _numbers(column), str(dtype).lower())
    if dtype == nw.Boolean:
        values = column.cast(nw.Float64) if column.null_count() else column.cast(nw.UInt8)
        return Cells("boolean", _numbers(values), "boolean", (False, True))
    if dtype == nw.Date or dtype == nw.Datetime:
        days, step = datetime_cells_days(column.to_polars())
        return Cells("datetime", days, _name_of(dtype), step=step)
    if dtype in (nw.Categorical, nw.Enum):
        return _declared(column)
    if dtype == nw.String:
        form = fitted.dtype.removeprefix("string:") if fitted is not None and "%" in fitted.dtype else None
        return text_cells(column.to_polars(), form)
    if column.null_count() == len(column):
        return Cells("number", np.full(len(column), np.nan), "float64")
    if dtype == nw.Object:
        return cells_of(nw.from_native(polars_series(column), series_only=True), name, fitted)
    raise _no_place(name, column.drop_nulls()[0])


def _no_place(name: str, example: object) -> DataError:
    return DataError(
        expected="columns of numbers, text, truth values, categories or dates",
        got=f"column {name!r} with values such as {str(example)[:40]!r} ({type(example).__name__})",
        cure="convert or drop it",
    )


def _numbers(column: "nw.Series") -> np.ndarray:
    """Numbers, in their own data type where none is missing, else float64 with NaN."""
    import narwhals as nw

    if column.null_count():
        column = column.cast(nw.Float64).fill_null(float("nan"))
    values = np.asarray(column.to_numpy())
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _name_of(dtype: "nw.dtypes.DType") -> str:
    import narwhals as nw

    if not isinstance(dtype, nw.Datetime):
        return "date"
    zone = f", {dtype.time_zone}" if dtype.time_zone else ""
    return f"datetime[{dtype.time_unit}{zone}]"


def _declared(column: "nw.Series") -> Cells:
    """Categories that were declared as such; the most frequent first, unused ones left out."""
    array = column.to_arrow()
    chunk = array.combine_chunks() if hasattr(array, "combine_chunks") else array
    if not hasattr(chunk, "dictionary"):
        chunk = chunk.dictionary_encode()
    codes = np.asarray(chunk.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False))
    declared = chunk.dictionary.to_pylist()
    counts = np.bincount(codes[codes >= 0], minlength=len(declared))
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], str(declared[code])))
    rank = np.full(len(declared) + 1, np.nan)
    rank[order] = np.arange(len(order))
    plain = [value if isinstance(value, str | int | float) else str(value) for value in declared]
    return Cells("category", rank[codes], "category", tuple(plain[code] for code in order))


def polars_series(column: "nw.Series") -> "pl.Series":
    """A column as a series of polars; see `object_series` for columns of Python objects."""
    import narwhals as nw

    if column.dtype != nw.Object:
        return column.to_polars()
    return object_series(str(column.name), column.to_list())


def object_series(name: str, objects: Sequence[Any]) -> "pl.Series":
    """Python objects as a series: as what they are where they are alike, mixtures as text.

    Raises:
        DataError: Objects that have no place in a table: lists, records, bytes.
    """
    import polars as pl

    values = [None if value is None or value != value else value for value in objects]
    strange = next((value for value in values if isinstance(value, list | tuple | dict | set | bytes)), None)
    if strange is not None:
        raise _no_place(name, strange)
    kinds = {type(value) for value in values if value is not None}
    numbers = all(issubclass(kind, int | float | np.number) and kind is not bool for kind in kinds)
    if len(kinds) > 1 and not numbers:
        values = [None if value is None else str(value) for value in values]
    try:
        series = pl.Series(name, values, strict=False)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    if series.dtype == pl.Object:
        raise _no_place(name, next(value for value in values if value is not None))
    return series
