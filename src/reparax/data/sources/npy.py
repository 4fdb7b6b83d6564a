"""Arrays in ``.npy`` files, read in blocks of rows."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from reparax.data.arrays import Arrays, header_of
from reparax.data.files import damaged
from reparax.data.schema import Schema
from reparax.data.sources.source import Source
from reparax.data.values import refuse_non_numbers
from reparax.errors import DataError

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class NpySource(Source):
    """The rows of a ``.npy`` file.

    The file is read and not mapped: a mapped file counts as memory of the process while its pages are in use, and ends
    the process where it is cut short.

    Attributes:
        path: The file.
        block_bytes: The size of a block.
    """

    path: Path
    block_bytes: int = BLOCK_BYTES

    @cached_property
    def _header(self) -> tuple[tuple[int, ...], np.dtype, int]:
        """The shape, the dtype, and where the values begin.

        Raises:
            DataError: The file is damaged, holds no numbers, or is stored by columns.
        """
        shape, in_columns, dtype, start = header_of(self.path)
        refuse_non_numbers(np.empty(0, dtype))
        if in_columns:
            raise DataError(
                expected=f"an array in rows in {self.path}, to be read in blocks of rows",
                got="one in columns (Fortran order)",
                cure="save numpy.ascontiguousarray(array), or give it more --memory (memory=)",
            )
        expected = start + dtype.itemsize * int(np.prod(shape, dtype=object))
        if (size := self.path.stat().st_size) != expected:
            raise damaged(self.path, "a complete NumPy array", f"{size - start} bytes for shape {shape} of {dtype}")
        return shape, dtype, start

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows of each block."""
        shape, dtype, _ = self._header
        rows = max(1, self.block_bytes // (self.row_size * dtype.itemsize))
        return tuple(min(rows, shape[0] - first) for first in range(0, shape[0], rows))

    @property
    def row_size(self) -> int:
        """The number of values of a row."""
        return max(1, int(np.prod(self._header[0][1:], dtype=object)))

    @property
    def fingerprint(self) -> str:
        """The shape and the dtype."""
        shape, dtype, _ = self._header
        return f"npy {shape} {dtype.str}"

    def block(self, index: int) -> np.ndarray:
        """The rows of a block."""
        shape, dtype, start = self._header
        rows = self.sizes[index]
        try:
            start += int(self.starts[index]) * self.row_size * dtype.itemsize
            values = np.fromfile(self.path, dtype, rows * self.row_size, offset=start)
            return values.reshape(rows, *shape[1:])
        except (OSError, ValueError) as error:
            raise damaged(self.path, "the array that was opened", error) from None

    def loaded(self, raw: np.ndarray) -> Arrays:
        """Rows of blocks."""
        return Arrays(raw)

    def without(self, schema: Schema) -> "NpySource":
        """The same: all columns are read."""
        return self
