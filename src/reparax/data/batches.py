"""Writing a table batch by batch, with memory for one batch."""

import io
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from reparax.data.files import check_output
from reparax.disk import atomic_write
from reparax.errors import OutputError
from reparax.extras import extras

BATCHES = (".csv", ".tsv", ".parquet", ".npy")
"""The formats that are written batch by batch."""


class Batches(Protocol):
    """A table that is being written."""

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        """Writes more rows: one array of one axis for each column."""
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
            expected=f"a file ending in {', '.join(BATCHES)}, for data that are read in blocks",
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


class _Text:
    def __init__(self, stream: IO[bytes], separator: str) -> None:
        self._stream, self._separator, self._is_first = stream, separator, True

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        import polars as pl

        content = io.BytesIO()  # polars may abort if writing to a file fails
        pl.DataFrame(dict(columns)).write_csv(content, separator=self._separator, include_header=self._is_first)
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

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        table = pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
        writer: Any = self._writer or parquet.ParquetWriter(self._stream, table.schema)
        self._writer = writer
        writer.write_table(table)


class _Npy:
    def __init__(self, stream: IO[bytes], rows: int) -> None:
        self._stream, self._rows, self._is_first = stream, rows, True

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        matrix = np.ascontiguousarray(np.column_stack(list(columns.values())))
        if self._is_first:
            header = {"descr": matrix.dtype.str, "fortran_order": False, "shape": (self._rows, matrix.shape[1])}
            np.lib.format.write_array_header_1_0(self._stream, header)
        self._is_first = False
        self._stream.write(matrix.tobytes())
