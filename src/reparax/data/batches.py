"""Writing a table or examples batch by batch, with memory for one batch."""

import io
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from reparax.data.files import check_output
from reparax.data.frames import is_frame
from reparax.data.values import column_name
from reparax.data.write import of_numbers
from reparax.disk import atomic_write
from reparax.errors import OutputError
from reparax.extras import extras

if TYPE_CHECKING:
    import polars as pl

BATCHES = (".csv", ".tsv", ".parquet", ".npy")
"""The formats that are written batch by batch."""


class Batches(Protocol):
    """A table that is being written."""

    def add(self, rows: Any) -> None:
        """Writes more rows.

        Args:
            rows: A mapping from names to columns, arrays of one axis; a data frame; or an array with an example in each
                row, whose columns get the names that `reparax.data.write` gives them.
        """
        ...


@extras()
@contextmanager
def batches_to(path: str | Path, rows: int) -> Generator[Batches]:
    """A table that is written batch by batch, completely or not at all, as `reparax.data.write` writes it at once.

    Args:
        path: A ``.csv``, ``.tsv``, ``.parquet`` or ``.npy`` file.
        rows: The number of all rows.

    Raises:
        OutputError: The file cannot be written, or has another format.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in BATCHES:
        raise OutputError(
            expected=f"a file ending in {', '.join(BATCHES)}, for rows that come in blocks",
            got=str(path),
            cure="the ending chooses the format: use one of those",
        )
    check_output(path, BATCHES)
    with atomic_write(path) as file, file.open("wb") as stream:
        if suffix == ".parquet":
            with _Parquet(stream) as table:
                yield table
        elif suffix == ".npy":
            yield _Npy(stream, rows)
        else:
            yield _Text(stream, "\t" if suffix == ".tsv" else ",")


def _table(rows: Any) -> "pl.DataFrame":
    """Rows as a polars frame."""
    import narwhals as nw
    import polars as pl

    if isinstance(rows, Mapping):
        return pl.DataFrame({name: np.ascontiguousarray(column) for name, column in rows.items()})
    if is_frame(rows):
        return nw.from_native(rows, eager_only=True).to_polars()
    flat = rows.reshape(len(rows), -1)
    return pl.DataFrame({column_name(None, place): np.ascontiguousarray(one) for place, one in enumerate(flat.T)})


class _Text:
    def __init__(self, stream: IO[bytes], separator: str) -> None:
        self._stream, self._separator, self._is_first = stream, separator, True

    def add(self, rows: Any) -> None:
        content = io.BytesIO()  # polars may abort if writing to a file fails
        _table(rows).write_csv(content, separator=self._separator, include_header=self._is_first)
        self._stream.write(content.getbuffer())
        self._is_first = False


class _Parquet:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._writer = stream, None

    def __enter__(self) -> "_Parquet":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, rows: Any) -> None:
        from pyarrow import parquet

        table = _table(rows).to_arrow()
        writer: Any = self._writer or parquet.ParquetWriter(self._stream, table.schema)
        self._writer = writer
        writer.write_table(table.cast(writer.schema))


class _Npy:
    def __init__(self, stream: IO[bytes], rows: int) -> None:
        self._stream, self._rows, self._dtype = stream, rows, np.dtype("V")

    def add(self, rows: Any) -> None:
        array = np.ascontiguousarray(self._array(rows))
        if self._dtype.kind == "V":
            self._dtype = array.dtype
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": (self._rows, *array.shape[1:])}
            np.lib.format.write_array_header_1_0(self._stream, header)
        self._stream.write(array.astype(self._dtype, casting="safe").tobytes())

    @staticmethod
    def _array(rows: Any) -> np.ndarray:
        if isinstance(rows, Mapping):
            return np.column_stack(list(rows.values()))
        if not is_frame(rows):
            return rows
        table = _table(rows)
        numbers = of_numbers(table, ".npy")
        # A later batch may have a missing cell in a column of whole numbers.
        return numbers if all(dtype.is_float() for dtype in table.dtypes) else numbers.astype(np.float64)
