"""The user's own table with its missing cells filled, everything else as it is."""

from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data._dataset import Dataset, FrameKind
from reparax.data._frame_cells import polars_series
from reparax.data._restore import as_kind, restored, to_frame
from reparax.errors import DataError
from reparax.summary import Column

if TYPE_CHECKING:
    import polars as pl


def fill(dataset: Dataset, values: np.ndarray, *, like: FrameKind | None = None) -> Any:
    """The table of a dataset, its missing cells taken from a matrix; no other cell is changed.

    Columns that are no part of the values (labels, identifiers) are there as they came, in the order they came.

    Args:
        dataset: What `reparax.data.read` or `read_as` gave.
        values: A matrix of the dataset's shape, without NaN where the dataset has gaps.
        like: The library of the frame; by default the user's own, polars for files.

    Raises:
        DataError: A matrix of another shape, or data that are no table.
    """
    columns = dataset.schema.columns
    if columns is None or values.shape != dataset.values.shape:
        raise DataError(
            expected=f"a matrix of shape {dataset.values.shape} that belongs to a table",
            got=f"shape {values.shape}",
            cure="give the table that the values were made from",
        )
    gaps = np.isnan(dataset.values) if dataset.values.dtype.kind == "f" else np.zeros(values.shape, bool)
    like = like or dataset.frame_kind or "polars"
    if dataset.native is None:
        return to_frame(np.where(gaps, values, dataset.values), dataset.schema, like=like)
    if isinstance(dataset.native, np.ndarray):
        return _filled_array(dataset, columns, values, gaps)
    return _filled_frame(dataset, columns, values, gaps, like)


def _filled_array(dataset: Dataset, columns: tuple[Column, ...], values: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    native = dataset.native.copy()
    places = [int(column.name.removeprefix("column_")) for column in columns]
    for index, (place, column) in enumerate(zip(places, columns, strict=True)):
        found = restored(values[:, index], column).to_numpy()
        native[gaps[:, index], place] = found[gaps[:, index]]
    return native


def _filled_frame(
    dataset: Dataset, columns: tuple[Column, ...], values: np.ndarray, gaps: np.ndarray, like: FrameKind
) -> Any:
    import narwhals as nw
    import polars as pl

    table = nw.from_native(dataset.native, eager_only=True)
    places = {column.name: index for index, column in enumerate(columns)}
    named = dataset.schema.names is not None
    changed: dict[int, pl.Series] = {}
    holes: dict[int, np.ndarray] = {}
    for place, name in enumerate(table.columns):
        index = places.get(str(name) if named else f"column_{place}")
        if index is not None and gaps[:, index].any():
            series = polars_series(table[:, place])
            changed[place] = _filled(series, restored(values[:, index], columns[index]), gaps[:, index])
            holes[place] = gaps[:, index]
    if like == "pandas" and dataset.frame_kind == "pandas":
        return _with_pandas_columns(dataset.native, changed, holes)
    if like == "pyarrow" and dataset.frame_kind == "pyarrow":
        return _with_arrow_columns(dataset.native, changed)
    whole = [changed.get(place, polars_series(table[:, place])) for place in range(table.shape[1])]
    names = [str(name) for name in table.columns]
    return as_kind(pl.DataFrame([series.alias(name) for series, name in zip(whole, names, strict=True)]), like)


def _with_pandas_columns(native: Any, changed: "dict[int, pl.Series]", gaps: dict[int, np.ndarray]) -> Any:
    frame = native.copy()
    for place, found in changed.items():
        series, filled = frame.iloc[:, place].copy(), found.to_list()
        series.iloc[np.flatnonzero(gaps[place])] = [filled[row] for row in np.flatnonzero(gaps[place])]
        frame.isetitem(place, series)
    return frame


def _with_arrow_columns(native: Any, changed: "dict[int, pl.Series]") -> Any:
    for place, found in changed.items():
        field = native.schema.field(place)
        native = native.set_column(place, field, found.to_arrow().cast(field.type))
    return native


def _filled(series: "pl.Series", found: "pl.Series", gaps: np.ndarray) -> "pl.Series":
    """The series with its gaps filled, in its own data type."""
    import polars as pl

    choose = pl.Series(gaps)
    if series.dtype in (pl.Categorical, pl.Enum, pl.String):
        return found.cast(pl.String).zip_with(choose, series.cast(pl.String)).cast(series.dtype)
    if series.dtype.is_integer() and found.dtype.is_float():
        found = found.round()
    return found.cast(series.dtype, strict=False).zip_with(choose, series)
