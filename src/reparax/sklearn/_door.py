"""From what scikit-learn passes to what models take, and back: arrays, lists and frames in, the same kind out."""

from typing import Any, NamedTuple, Self

import narwhals as nw
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from reparax import applications
from reparax.data import Dataset, FrameKind, Schema, Views, read, to_frame
from reparax.errors import DataError
from reparax.recipe import FittedModel
from reparax.sklearn._settings import chosen

FEWEST_ROWS = 2


def admitted(estimator: BaseEstimator, data: Any, *, fitting: bool) -> Any:
    """Data as `reparax.data.read` takes them: a data frame unchanged, anything else as a two-dimensional array.

    Sets ``n_features_in_`` and ``feature_names_in_`` when fitting, and checks them later. Missing cells are allowed,
    infinities are not. The columns of a frame are put in the order that they had in the fit.

    Args:
        estimator: The estimator that the data are for.
        data: An array, lists of rows, or a data frame.
        fitting: Whether the estimator is being fitted.

    Raises:
        ValueError: A different number of columns or different names than in the fit, infinities, or too few rows.
        DataError: A lazy frame, or a column name that occurs twice.
        TypeError: Sparse data, or cells that are neither numbers nor strings.
    """
    if isinstance(data, Views):
        raise DataError(
            expected="a table for scikit-learn", got="several views",
            cure="use rx.fit(rx.Views({...})), whose codes are rx.encode(fitted, rx.Views({...}))",
        )  # fmt: skip
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
            expected="columns with different names", got="a name that occurs twice", cure="rename or drop one of them"
        ) from None
    return True


def _unmasked(data: Any) -> Any:
    """A masked array of numbers with NaN in its masked cells; any other data unchanged."""
    if not isinstance(data, np.ma.MaskedArray) or data.dtype.kind not in "biuf":
        return data
    return data.astype(np.result_type(data.dtype, np.float32)).filled(np.nan)


def _ordered(estimator: BaseEstimator, frame: Any) -> Any:
    """The frame with its columns in the order that they had in the fit, if it has the same columns."""
    wanted = list(getattr(estimator, "feature_names_in_", ()))
    table = nw.from_native(frame, eager_only=True)
    if not wanted or table.columns == wanted or sorted(map(str, table.columns)) != sorted(wanted):
        return frame
    return table.select(wanted).to_native()


def _refuse_strange(array: np.ndarray) -> None:
    """Refuses cells that are containers.

    Raises:
        TypeError: A cell is a list, a tuple, a dictionary or a set.
    """
    strange = next((kind for kind in set(map(type, array.flat)) if issubclass(kind, list | tuple | dict | set)), None)
    if strange is not None:
        raise TypeError(f"argument must be a string or a number, not {strange.__name__!r}")


class Shape(NamedTuple):
    """What the table given to `fit` looked like, so that rows can be returned in the same form.

    Attributes:
        kind: The library of the frame.
        numbers: Whether it was an array of numbers.
        width: The number of its columns, including those that are not modeled.
        dtype: The data type of an array of numbers.
        labels: The labels of the columns of a pandas frame.
    """

    kind: FrameKind
    numbers: bool
    width: int
    dtype: str
    labels: Any

    @classmethod
    def of(cls, dataset: Dataset, width: int) -> Self:
        """The shape of the table from which a dataset was read."""
        native = dataset.native
        numbers = isinstance(native, np.ndarray) and native.dtype.kind in "biuf"
        return cls(
            dataset.frame_kind or "numpy", numbers, width, native.dtype.name if numbers else "", dataset.frame_labels
        )

    def expected(self, values: np.ndarray, schema: Schema) -> Any:
        """Expected rows: unrounded numbers if `fit` was given an array of numbers, else a frame of the user's kind."""
        if not self.numbers:
            return to_frame(values, schema, like=self.kind, labels=self.labels)
        dtype = np.float32 if self.dtype == "float32" else np.float64
        return self._widened(np.column_stack(_numbers(values, schema)).astype(dtype), schema)

    def drawn(self, values: np.ndarray, schema: Schema) -> Any:
        """Sampled rows with the data types, rounding and categories of the user's table."""
        frame = to_frame(values, schema, like=self.kind, labels=self.labels)
        return self._widened(frame.astype(self.dtype), schema) if self.numbers else frame

    def _widened(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        """An array with columns of NaN where columns were empty in the fit."""
        if rows.shape[1] == self.width:
            return rows
        assert schema.columns is not None
        wide = np.full((len(rows), self.width), np.nan, np.result_type(rows, np.float32))
        wide[:, [int(column.name.removeprefix("column_")) for column in schema.columns]] = rows
        return wide


def _numbers(values: np.ndarray, schema: Schema) -> list[np.ndarray]:
    """The columns of a matrix, with the codes of categories replaced by the numbers that they stand for."""
    columns = schema.columns or ()
    if schema.value_kind != "mixed":
        return list(values.T)
    return [
        np.asarray(column.categories, np.float64)[np.rint(cells).astype(np.int64)] if column.is_category else cells
        for cells, column in zip(values.T, columns, strict=True)
    ]


SEEDS = 1_000_000_000


def fitted_model(estimator: BaseEstimator, data: Any) -> tuple[FittedModel, Dataset]:
    """Fits the model that an estimator's parameters describe; returns it with the data as they were read.

    Args:
        estimator: An estimator with the parameters of `with_settings`, ``schema``, ``exclude``, ``given`` and
            ``random_state``.
        data: What `admitted` takes.

    Raises:
        ValueError: Data that cannot be read, or a parameter out of its range.
    """
    parameters = estimator.get_params(deep=False)
    rows = admitted(estimator, data, fitting=True)
    dataset = read(
        rows, schema=parameters["schema"], exclude=parameters["exclude"] or (), given=parameters["given"] or ()
    )
    return applications.fit(dataset, seed=seed_of(parameters["random_state"]), **chosen(parameters)), dataset


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """An integer unchanged; otherwise a number drawn from the random state, or from NumPy's global one for None."""
    if isinstance(random_state, int | np.integer) and 0 <= random_state <= SEEDS:
        return int(random_state)
    return int(check_random_state(random_state).randint(SEEDS))
