"""A table with its missing cells filled from the matrix of a model; no other cell is changed."""

from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data.dataset import Dataset, FrameKind
from reparax.data.forms import has_no_type, restored_like
from reparax.data.frames import polars_series
from reparax.data.restore import arrow_table, as_kind, restored, to_frame
from reparax.errors import DataError
from reparax.summary import Column

if TYPE_CHECKING:
    import polars as pl


def fill(dataset: Dataset, values: np.ndarray, *, like: FrameKind | None = None) -> Any:
    """The table of a dataset with its missing cells filled from a matrix; no other cell is changed.

    Columns that are not among the values (labels, identifiers) are kept, and so is the order of the columns.

    Args:
        dataset: A dataset from `reparax.data.read` or `read_as`.
        values: A matrix of the shape of the dataset. Missing cells for which it has NaN stay as they are.
        like: The library of the frame; by default that of the user's frame, and polars for files.

    Raises:
        DataError: The matrix has another shape, or the data are not a table.
    """
    columns = dataset.schema.columns
    if columns is None or values.shape != dataset.values.shape:
        raise DataError(
            expected=f"a matrix of shape {dataset.values.shape} that belongs to a table",
            got=f"shape {values.shape}",
            cure="use the table that the values were computed from",
        )
    gaps = np.isnan(dataset.values) if dataset.values.dtype.kind == "f" else np.zeros(values.shape, bool)
    gaps &= ~np.isnan(values)
    like = like or dataset.frame_kind or "polars"
    if dataset.native is None:
        whole = np.where(gaps, values, dataset.values)
        return to_frame(whole, dataset.schema, like=like, labels=dataset.frame_labels)
    if isinstance(dataset.native, np.ndarray):
        return _filled_array(dataset, columns, values, gaps)
    return _filled_frame(dataset, columns, values, gaps, like)


def _filled_array(dataset: Dataset, columns: tuple[Column, ...], values: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    native = dataset.native.copy()
    places = [int(column.name.removeprefix("column_")) for column in columns]
    for index, (place, column) in enumerate(zip(places, columns, strict=True)):
        cells = restored(values[:, index], column).to_numpy()
        native[gaps[:, index], place] = cells[gaps[:, index]]
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
    untyped: set[int] = set()
    for place, name in enumerate(table.columns):
        index = places.get(str(name) if named else f"column_{place}")
        if index is not None and gaps[:, index].any():
            series = polars_series(table[:, place])
            filling = restored_like(values[:, index], columns[index], series)
            changed[place] = filled_series(series, filling, gaps[:, index])
            holes[place] = gaps[:, index]
            if has_no_type(series, filling):
                untyped.add(place)
    if like == "pandas" and dataset.frame_kind == "pandas":
        return _with_pandas_columns(dataset.native, changed, holes, untyped)
    if like == "pyarrow" and dataset.frame_kind == "pyarrow":
        return _with_arrow_columns(dataset.native, changed, untyped)
    filled = [changed.get(place, polars_series(table[:, place])) for place in range(table.shape[1])]
    names = [str(name) for name in table.columns]
    return as_kind(pl.DataFrame([series.alias(name) for series, name in zip(filled, names, strict=True)]), like)


def _with_pandas_columns(
    native: Any, changed: "dict[int, pl.Series]", gaps: dict[int, np.ndarray], untyped: set[int]
) -> Any:
    frame = native.copy()
    for place, column in changed.items():
        if place in untyped:
            frame.isetitem(place, column.to_pandas().set_axis(frame.index))
            continue
        series, filled = frame.iloc[:, place].copy(), column.to_list()
        values = [filled[row] for row in np.flatnonzero(gaps[place])]
        if hasattr(series, "cat"):
            known = set(series.cat.categories)
            series = series.cat.add_categories([each for each in dict.fromkeys(values) if each not in known])
        series.iloc[np.flatnonzero(gaps[place])] = values
        frame.isetitem(place, series)
    return frame


def _with_arrow_columns(native: Any, changed: "dict[int, pl.Series]", untyped: set[int]) -> Any:
    for place, column in changed.items():
        field, filled = native.schema.field(place), column.to_arrow()
        if place in untyped:
            filled = arrow_table(column.to_frame()).column(0)
            field = field.with_type(filled.type)
        native = native.set_column(place, field, filled.cast(field.type))
    return native


def filled_series(series: "pl.Series", filling: "pl.Series", gaps: np.ndarray) -> "pl.Series":
    """The series with its missing cells filled, in its data type.

    Raises:
        DataError: The data type cannot hold what fills a cell.
    """
    import polars as pl

    choose = pl.Series(gaps)
    if has_no_type(series, filling):
        return filling.zip_with(choose, pl.Series([None] * len(filling), dtype=filling.dtype))
    if isinstance(series.dtype, pl.Enum):  # which may lack what occurred in the fit
        texts = filling.cast(pl.String).filter(choose).drop_nulls().unique(maintain_order=True)
        known = series.dtype.categories
        series = series.cast(pl.Enum(pl.concat([known, texts.filter(~texts.is_in(known.implode()))])))
    if series.dtype in (pl.Categorical, pl.Enum, pl.String):
        return filling.cast(pl.String).zip_with(choose, series.cast(pl.String)).cast(series.dtype)
    if series.dtype.is_integer() and filling.dtype.is_float():
        filling = filling.round()
    try:
        cells = filling.cast(series.dtype, strict=False)
    except pl.exceptions.PolarsError:
        cells = pl.Series([None] * len(filling), dtype=series.dtype)
    lost = cells.is_null() & filling.is_not_null() & choose
    if lost.any():
        raise DataError(
            expected=f"a column {filling.name!r} that can hold what it held in the fit",
            got=f"cells of type {series.dtype}, of which one would become {filling.filter(lost)[0]!r}",
            cure="convert the column to the type that it had in the fit, or to text",
        )
    return cells.zip_with(choose, series)
