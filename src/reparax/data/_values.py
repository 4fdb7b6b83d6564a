"""Facts about numbers: are they numbers, finite, whole; their moments; the dtype that carries them."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import DTypeLike

from reparax.data._cells import Cells
from reparax.errors import DataError
from reparax.summary import Column, Kind

LARGEST_INTEGER = 2**24  # float32 carries every whole number up to here
LARGEST_REAL = 1e37  # a tenth of float32's range, so that differences of two values still fit
LOST_DIGITS = 1e-4  # the rounding error allowed for float32, in standard deviations of the column
SMALLEST_STD = float(np.finfo(np.float32).tiny)
VALUES_AT_ONCE = 2**22
ROWS_IN_CACHE = 4096


def chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of rows small enough for temporary copies to cost little memory."""
    rows = max(1, VALUES_AT_ONCE // max(1, values[:1].size))
    return (values[start : start + rows] for start in range(0, len(values), rows))


def by_columns(table: np.ndarray) -> np.ndarray:
    """The same table, each column contiguous: what is asked of single columns is then ten times as fast."""
    made = np.empty(table.shape, table.dtype, order="F")
    for start in range(0, len(table), ROWS_IN_CACHE):
        made[start : start + ROWS_IN_CACHE] = table[start : start + ROWS_IN_CACHE]
    return made


def by_rows(columns: Sequence[np.ndarray], dtype: DTypeLike) -> np.ndarray:
    """The matrix of columns, so many rows at a time as stay in the cache: a tenth of the time of whole columns."""
    made = np.empty((len(columns[0]), len(columns)), dtype)
    for start in range(0, len(made), ROWS_IN_CACHE):
        for index, column in enumerate(columns):
            made[start : start + ROWS_IN_CACHE, index] = column[start : start + ROWS_IN_CACHE]
    return made


def refuse_non_numbers(values: np.ndarray) -> None:
    """Raises `DataError` unless the dtype is boolean, integer or floating.

    Raises:
        DataError: Strings, objects, dates, complex numbers, records.
    """
    if values.dtype.kind in "biuf":
        return
    got, cure = {
        "c": ("complex numbers", "give real and imaginary parts as columns of their own"),
        "U": ("strings", "convert them to numbers, or leave these columns out"),
        "S": ("byte strings", "convert them to numbers, or leave these columns out"),
        "M": ("dates", "convert them to numbers (say, days since the first), or leave them out"),
        "m": ("durations", "convert them to numbers (say, seconds)"),
        "V": ("records", "give a plain two-dimensional array, or a data frame"),
    }.get(values.dtype.kind, ("Python objects", "give an array of one numeric dtype, all rows of the same length"))
    raise DataError(expected="an array of numbers", got=got, cure=cure)


def refuse_non_finite(values: np.ndarray, names: tuple[str, ...] | None, ids: np.ndarray | None = None) -> None:
    """Raises `DataError` that says where the first NaN or infinity is.

    Raises:
        DataError: A value is NaN or infinite.
    """
    if values.dtype.kind != "f":
        return
    num_missing = sum(chunk.size - int(np.isfinite(chunk).sum()) for chunk in chunks(values))
    if not num_missing:
        return
    row = next(index for index, example in enumerate(values) if not np.isfinite(example).all())
    inside = tuple(map(int, np.argwhere(~np.isfinite(values[row]))[0]))
    if values.ndim == 2:
        place = f"column {column_name(names, inside[0])!r}, row {row + 1}"
        cure = "fill them first, or fit a model on data in which cells are missing, too"
    else:
        cure = "drop or fill them first"
        place = f"example {row + 1}{f' ({ids[row]})' if ids is not None else ''} at {inside}"
    raise DataError(
        expected="finite numbers only",
        got=f"{num_missing} missing, NaN or infinite value{'s' if num_missing > 1 else ''}, the first in {place}",
        cure=cure,
    )


def column_name(names: tuple[str, ...] | None, index: int) -> str:
    """The name of a column; ``column_0``, ``column_1``, ... where the table has no names."""
    return names[index] if names is not None else f"column_{index}"


def whole(values: np.ndarray) -> bool:
    """Whether every value is a whole number."""
    if values.dtype.kind != "f":
        return True
    return all(bool((chunk == np.rint(chunk)).all()) for chunk in chunks(values))


def kind_of(values: np.ndarray) -> Kind:
    """``"binary"``, ``"integer"`` or ``"real"``: the narrowest that holds every (finite) value."""
    if values.size == 0 or not whole(values):
        return "real"
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return "binary"
    return "integer" if max(-low, high) <= LARGEST_INTEGER else "real"


def moments(values: np.ndarray, *, per_dimension: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in float64, in two passes over blocks of rows.

    Args:
        values: An array of shape ``(n, *event_shape)``, n at least 1.
        per_dimension: Whether to average over examples only, or over everything.
    """
    axis = 0 if per_dimension else None
    count = len(values) if per_dimension else values.size
    mean = sum(chunk.sum(axis=axis, dtype=np.float64) for chunk in chunks(values)) / count
    squares = sum(np.square(chunk - mean, dtype=np.float64).sum(axis=axis) for chunk in chunks(values))
    return np.asarray(mean), np.sqrt(squares / count)


def as_real(values: np.ndarray, names: tuple[str, ...] | None) -> np.ndarray:
    """Float32, or float64 where float32 would lose digits that distinguish one row from another.

    A column of times near 1.7e9 that differ by seconds has no more than noise left in float32: such an array stays
    float64. The rule: rounding may cost at most 1e-4 standard deviations of its column.

    Raises:
        DataError: A value is too large for float32.
    """
    if values.dtype.kind == "f":
        _refuse_too_large(values, names)
    if values.dtype == np.float32 or values.dtype == np.float16:
        return values.astype(np.float32, copy=False)
    single = values.astype(np.float32)
    _, std = moments(values, per_dimension=True)
    pairs = zip(chunks(values), chunks(single), strict=True)
    lost = np.max([np.abs(exact - rounded.astype(np.float64)).max(axis=0) for exact, rounded in pairs], axis=0)
    constant = values.min(axis=0) == values.max(axis=0)
    return single if bool(((lost <= LOST_DIGITS * std) | constant).all()) else values.astype(np.float64)


def loses_digits(cells: Cells, column: Column) -> bool:
    """Whether float32 would lose digits of a column: more than 1e-4 standard deviations, or a quarter of its step."""
    if column.is_category:
        return False
    exact = cells.present().astype(np.float64)
    lost = float(np.abs(exact - exact.astype(np.float32)).max(initial=0.0))
    return lost > LOST_DIGITS * column.std or (column.step > 0 and lost > column.step / 4)


def _refuse_too_large(values: np.ndarray, names: tuple[str, ...] | None) -> None:
    if max(-float(values.min()), float(values.max())) <= LARGEST_REAL:
        return
    row, *inside = map(int, np.argwhere(np.abs(values) > LARGEST_REAL)[0])
    place = f"column {column_name(names, inside[0])!r}, " if values.ndim == 2 else ""
    raise DataError(
        expected=f"values of size up to {LARGEST_REAL:g}",
        got=f"{values[(row, *inside)]:g} in {place}row {row + 1}",
        cure="rescale these values (another unit, or a logarithm)",
    )
