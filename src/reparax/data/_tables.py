"""Tables from files: text and Parquet."""

from pathlib import Path
from typing import Any

from reparax.data._csv import read_csv
from reparax.data._files import content_of, damaged, read_bytes, wrong_content
from reparax.data._frames import Frame, load_frame


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
