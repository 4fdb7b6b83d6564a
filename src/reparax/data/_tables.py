"""Tables from files: text, Parquet, Arrow and Feather; and from folders of them."""

from pathlib import Path
from typing import Any

from reparax.data._csv import Table, read_csv
from reparax.data._files import content_of, damaged, read_bytes, wrong_content
from reparax.data._frames import Frame, load_frame
from reparax.data._table_folders import read_tables

TEXT = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
ARROW = (".feather", ".arrow", ".ipc")


def table_suffix(path: Path) -> str:
    """The suffix of a file, that of gzip aside."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_csv_file(path: Path, label: str | Path | None) -> Frame:
    """A table from text; see `read_csv` for what is told from the text.

    Raises:
        DataError: Not such text.
    """
    table = read_csv(path)
    return load_frame(table.table, label, named=table.named, notes=table.notes)


def read_parquet_file(path: Path, label: str | Path | None) -> Frame:
    """A table from a Parquet file.

    Raises:
        DataError: Not such a file, or damaged.
    """
    return load_frame(read_parquet(path), label)


def read_arrow_file(path: Path, label: str | Path | None) -> Frame:
    """A table from an Arrow or Feather file.

    Raises:
        DataError: Not such a file, or damaged.
    """
    return load_frame(read_arrow(path), label)


def read_table_folder(folder: Path, files: list[Path], label: str | Path | None) -> Frame:
    """The tables of a folder, one under the other; see `read_tables`."""
    return read_tables(folder, files, label, _read_table)


def _read_table(path: Path) -> Table:
    import polars as pl

    suffix = table_suffix(path)
    if suffix in TEXT:
        return read_csv(path)
    frame = pl.from_arrow(read_parquet(path) if suffix in PARQUET else read_arrow(path))
    assert isinstance(frame, pl.DataFrame)
    return Table(frame, named=True, notes=[])


def read_parquet(path: Path) -> Any:
    """The arrow table of a Parquet file.

    Raises:
        DataError: Not such a file, or damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    content = read_bytes(path)
    name, words = content_of(content)
    if name != "parquet":
        raise wrong_content(path, "a Parquet file", words)
    try:  # without threads: those of arrow can abort the interpreter when it exits (apache/arrow issue 34314)
        return parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "a whole Parquet file", str(error).splitlines()[0] if str(error) else error) from None


def read_arrow(path: Path) -> Any:
    """The arrow table of an Arrow file or stream, or of a Feather file.

    Raises:
        DataError: Not such a file, or damaged.
    """
    import pyarrow as pa
    from pyarrow import feather, ipc

    content = read_bytes(path)
    name, words = content_of(content)
    if name != "arrow":
        raise wrong_content(path, "an Arrow or Feather file", words)
    source = pa.BufferReader(content)
    try:
        if content.startswith(b"FEA1"):
            return feather.read_table(source, use_threads=False)
        opened = ipc.open_file(source) if content.startswith(b"ARROW1") else ipc.open_stream(source)
        table = opened.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "a whole Arrow file", str(error).splitlines()[0] if str(error) else error) from None
    return table
