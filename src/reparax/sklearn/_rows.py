"""From a model's rows to the user's kind of table."""

from typing import Any, NamedTuple, Self

import numpy as np

from reparax.data import Dataset, FrameKind, Schema, to_frame


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
