"""Between scikit-learn and models: arrays, lists and frames in, rows of the user's kind out."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import msgspec
import narwhals as nw
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from reparax import applications
from reparax.data import Dataset, FrameKind, Schema, read, to_frame
from reparax.errors import DataError
from reparax.recipe import FittedModel, Recipe

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


class Shape(NamedTuple):
    """What the user's own table was like at fitting.

    Attributes:
        kind: The library of the frame.
        numbers: Whether it was an array of numbers.
        width: The number of its columns, those that are left out of the model included.
        dtype: The data type of an array of numbers.
    """

    kind: FrameKind
    numbers: bool
    width: int
    dtype: str

    @classmethod
    def of(cls, dataset: Dataset, width: int) -> Self:
        """The shape of the table that a dataset was read from."""
        native = dataset.native
        numbers = isinstance(native, np.ndarray) and native.dtype.kind in "biuf"
        return cls(dataset.frame_kind or "numpy", numbers, width, native.dtype.name if numbers else "")

    def expected(self, values: np.ndarray, schema: Schema) -> Any:
        """Expected rows: numbers as they are in an array of numbers, else what a frame of the user's has."""
        if not self.numbers:
            return to_frame(values, schema, like=self.kind)
        dtype = np.float32 if self.dtype == "float32" else np.float64
        return self._widened(np.column_stack(_numbers(values, schema)).astype(dtype), schema)

    def drawn(self, values: np.ndarray, schema: Schema) -> Any:
        """Rows as the user's table has them: data types, rounding and categories included."""
        frame = to_frame(values, schema, like=self.kind)
        return self._widened(frame.astype(self.dtype), schema) if self.numbers else frame

    def _widened(self, rows: np.ndarray, schema: Schema) -> np.ndarray:
        """An array with NaN in the columns that were empty at fitting."""
        if rows.shape[1] == self.width:
            return rows
        assert schema.columns is not None
        wide = np.full((len(rows), self.width), np.nan, np.result_type(rows, np.float32))
        wide[:, [int(column.name.removeprefix("column_")) for column in schema.columns]] = rows
        return wide


def _numbers(values: np.ndarray, schema: Schema) -> list[np.ndarray]:
    """The columns of a matrix, codes of categories replaced by the numbers that they stand for."""
    columns = schema.columns or ()
    if schema.value_kind != "mixed":
        return list(values.T)
    return [
        np.asarray(column.categories, np.float64)[np.rint(cells).astype(np.int64)] if column.is_category else cells
        for cells, column in zip(values.T, columns, strict=True)
    ]


SEEDS = 1_000_000_000

RENAMED: Mapping[str, str] = {
    "gradient_estimator": "objective.estimator",
    "beta": "objective.beta",
    "free_bits": "objective.free_bits",
    "num_samples": "objective.num_samples",
    "num_components": "prior.num_components",
}
"""Parameters that are options of the recipe's parts."""


def fitted_model(estimator: BaseEstimator, data: Any) -> tuple[FittedModel, Dataset]:
    """Fits what an estimator's parameters describe; the model, and the data as they were read.

    Args:
        estimator: An estimator whose parameters are fields of `reparax.Recipe`, ``schema``, ``exclude`` and
            ``random_state``.
        data: As of `admitted`.

    Raises:
        ValueError: Data that cannot be read, or a parameter out of its range.
    """
    parameters = estimator.get_params(deep=False)
    rows = admitted(estimator, data, fitting=True)
    dataset = read(rows, schema=parameters["schema"], exclude=parameters["exclude"] or ())
    return applications.fit(dataset, seed=seed_of(parameters["random_state"]), **chosen(parameters)), dataset


def chosen(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that parameters decide; None leaves one open."""
    known = {field.name for field in msgspec.structs.fields(Recipe)} | set(RENAMED.values())
    fields = {RENAMED.get(name, name): value for name, value in parameters.items()}
    return {name: value for name, value in fields.items() if name in known and value is not None}


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """An integer as it is; else a number drawn from the random state, or from NumPy's own for None."""
    if isinstance(random_state, int | np.integer) and 0 <= random_state <= SEEDS:
        return int(random_state)
    return int(check_random_state(random_state).randint(SEEDS))
