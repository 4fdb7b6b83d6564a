"""Views as they were given, whose observed cells come back exactly: the matrix of all views is in single precision."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from reparax.data.dataset import Dataset, as_examples
from reparax.data.fill import filled_series
from reparax.data.forms import restored_like
from reparax.data.frames import cells_of, kind_of_frame, object_series, polars_series
from reparax.data.match import match
from reparax.data.restore import as_kind

if TYPE_CHECKING:
    import polars as pl


class Observed(NamedTuple):
    """A view as it was given.

    Attributes:
        native: The frame or the array.
        rows: Which examples its rows are.
    """

    native: Any
    rows: Int[np.ndarray, " m"]


def worth_keeping(native: Any) -> bool:
    """Whether single precision could lose something of what was given; images of 8 bits need not be kept twice."""
    is_plain = isinstance(native, np.ndarray) and native.dtype.kind in "biuf"
    return native is not None and not (is_plain and np.can_cast(native.dtype, np.float32))


def with_observed(filled: Any, view: Dataset, observed: Observed | None) -> Any:
    """A view whose missing values were filled, with its observed ones as they were given.

    Args:
        filled: The frame or the array of all examples.
        view: The view, NaN where values are missing.
        observed: What was given; None if it was not kept.
    """
    if observed is None:
        return filled
    if isinstance(filled, np.ndarray):
        return _array(filled, view, observed) if filled.dtype.kind in "biuf" else filled
    return _frame(filled, view, observed)


def _array(filled: np.ndarray, view: Dataset, observed: Observed) -> np.ndarray:
    given = _numbers(view, observed)
    if given is None or given.shape[1:] != filled.shape[1:]:
        return filled
    is_it = ~np.isnan(view.values[observed.rows])
    fits = (given[is_it].astype(filled.dtype) == given[is_it]).all()
    result = filled.astype(filled.dtype if fits else np.result_type(filled.dtype, given.dtype))
    result[observed.rows] = np.where(is_it, given, filled[observed.rows])
    return result


def _numbers(view: Dataset, observed: Observed) -> np.ndarray | None:
    """What was given as an array with the axes of the examples; None if it is not one of these numbers."""
    columns, native, stored = view.schema.columns, observed.native, view.values[observed.rows]
    if columns is None:
        is_plain = isinstance(native, np.ndarray) and native.dtype.kind in "biuf"
        given = as_examples(native).values if is_plain else None
        return given if given is not None and given.shape == stored.shape and _are(given, stored) else None
    series = [_column(view, native, place) for place in range(len(columns))]
    kept = [each for each in series if each is not None and each.dtype.is_numeric()]
    if len(kept) < len(series):
        return None
    given = np.stack([each.to_numpy() for each in kept], axis=1)
    return given if _are(given, stored) else None


def _are(given: np.ndarray, stored: np.ndarray) -> bool:
    """Whether numbers are what was stored of them, where this is not missing."""
    close = np.isclose(given.astype(np.float64), stored, rtol=1e-6, atol=1e-30)
    return bool((close | np.isnan(stored)).all())


def _frame(filled: Any, view: Dataset, observed: Observed) -> Any:
    import narwhals as nw
    import polars as pl

    table, fitted = nw.from_native(filled, eager_only=True), view.schema.columns
    assert fitted is not None
    places = np.full(len(view), len(observed.rows))
    places[observed.rows] = np.arange(len(observed.rows))
    columns = []
    for place, (name, stored) in enumerate(zip(table.columns, view.values.T, strict=True)):
        series, given = polars_series(table[:, place]), _column(view, observed.native, place)
        if given is not None and _is_column(view, given, stored[observed.rows], place):
            whole = given.extend_constant(None, 1).gather(pl.Series(places, dtype=pl.UInt32))
            column = fitted[place]
            cells = cells_of(nw.from_native(series, series_only=True), column.name, column)
            filling = restored_like(match(cells, column).values, column, whole)
            series = filled_series(whole, filling, np.isnan(stored))
        columns.append(series.alias(str(name)))
    result = as_kind(pl.DataFrame(columns), kind_of_frame(filled))
    if nw.dependencies.is_pandas_dataframe(result):
        result.columns = filled.columns
    return result


def _is_column(view: Dataset, given: "pl.Series", stored: Float[np.ndarray, " m"], place: int) -> bool:
    """Whether a column was found: by its name, or by its numbers."""
    assert view.schema.columns is not None
    if given.dtype.is_numeric() and not view.schema.columns[place].is_category:
        return _are(given.cast(float, strict=False).to_numpy(), stored)
    return view.schema.names is not None


def _column(view: Dataset, native: Any, place: int) -> "pl.Series | None":
    """A modeled column as it was given: by its name, or its place where columns have none; None if it is not there."""
    import narwhals as nw
    import polars as pl

    assert view.schema.columns is not None
    name, is_array = view.schema.columns[place].name, isinstance(native, np.ndarray)
    table = native if is_array else nw.from_native(native, eager_only=True)
    if view.schema.names is None:
        at = int(name.removeprefix("column_"))
    elif is_array:
        at = place if native.shape[1] == len(view.schema.columns) else -1
    else:
        names = [str(each) for each in table.columns]
        at = names.index(name) if name in names else -1
    if not 0 <= at < table.shape[1]:
        return None
    if not is_array:
        return polars_series(table[:, at])
    column = native[:, at]
    return pl.Series(name, column) if column.dtype.kind in "biuf" else object_series(name, column.tolist())
