"""Where scikit-learn's data come in: arrays, lists and frames, checked as its own estimators check theirs."""

from typing import Any

import narwhals as nw
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from reparax.errors import DataError

FEWEST_ROWS = 2


def admitted(estimator: BaseEstimator, data: Any, *, fitting: bool) -> Any:
    """Data as `reparax.data.read` takes them: a data frame as it is, anything else as a two-dimensional array.

    Sets ``n_features_in_`` and ``feature_names_in_`` when fitting, and checks them later. Missing cells may come in,
    infinities may not. A frame whose columns come in another order is put in the order of the fit.

    Args:
        estimator: The estimator that the data are for.
        data: An array, lists of rows, or a data frame.
        fitting: Whether the estimator is being fitted.

    Raises:
        ValueError: Another number of columns or other names than at fitting, infinities, too few rows.
        DataError: A lazy frame, or names that occur twice.
        TypeError: Sparse data, or cells that are neither numbers nor strings.
    """
    if not fitting:
        check_is_fitted(estimator)
    if _is_frame(data):
        frame = data if fitting else _ordered(estimator, data)
        return validate_data(estimator, frame, reset=fitting, skip_check_array=True)
    array = validate_data(
        estimator,
        _unmasked(data),
        reset=fitting,
        dtype=None,
        ensure_all_finite="allow-nan",
        ensure_min_samples=FEWEST_ROWS if fitting else 1,
    )
    if array.dtype.hasobject:
        _refuse_strange(array)
    return array


def _is_frame(data: Any) -> bool:
    if nw.dependencies.is_polars_lazyframe(data):
        raise DataError(expected="a data frame", got="a lazy frame", cure="call .collect() on it first")
    if not nw.dependencies.is_into_dataframe(data):
        return False
    try:
        nw.from_native(data)
    except nw.exceptions.DuplicateError:
        raise DataError(
            expected="columns of different names", got="some name more than once", cure="rename or drop the others"
        ) from None
    return True


def _unmasked(data: Any) -> Any:
    """A masked array of numbers with NaN in the cells that are masked."""
    if not isinstance(data, np.ma.MaskedArray) or data.dtype.kind not in "biuf":
        return data
    return data.astype(np.result_type(data.dtype, np.float32)).filled(np.nan)


def _ordered(estimator: BaseEstimator, frame: Any) -> Any:
    """The frame with its columns in the order of the fit, where they are the same ones."""
    wanted = list(getattr(estimator, "feature_names_in_", ()))
    table = nw.from_native(frame, eager_only=True)
    if not wanted or table.columns == wanted or sorted(map(str, table.columns)) != sorted(wanted):
        return frame
    return table.select(wanted).to_native()


def _refuse_strange(array: np.ndarray) -> None:
    """Raises `TypeError` where a cell is a list, a record or the like.

    Raises:
        TypeError: There is one.
    """
    strange = next((kind for kind in set(map(type, array.flat)) if issubclass(kind, list | tuple | dict | set)), None)
    if strange is not None:
        raise TypeError(f"argument must be a string or a number, not {strange.__name__!r}")
