"""Tables from files (text, Parquet, Arrow, Feather) and from folders of files with the same columns."""

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reparax.data.delimited import Table, read_csv
from reparax.data.files import content_of, damaged, read_bytes, wrong_content
from reparax.data.frames import Frame, load_frame
from reparax.data.match import quoted
from reparax.errors import DataError

if TYPE_CHECKING:
    import polars as pl


TEXT = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
ARROW = (".feather", ".arrow", ".ipc")
JSON_LINES = (".jsonl", ".ndjson")
EXCEL = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def table_suffix(path: Path) -> str:
    """The suffix of a file, ignoring that of gzip."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_csv_file(path: Path, label: str | Path | None) -> Frame:
    """A table from text; see `read_csv` for what is inferred.

    Raises:
        DataError: The text is not a table.
    """
    table = read_csv(path)
    return load_frame(table.table, label, named=table.named, notes=table.notes)


def read_parquet_file(path: Path, label: str | Path | None) -> Frame:
    """A table from a Parquet file.

    Raises:
        DataError: The file has another format, or is damaged.
    """
    return load_frame(read_parquet(path), label)


def read_arrow_file(path: Path, label: str | Path | None) -> Frame:
    """A table from an Arrow or Feather file.

    Raises:
        DataError: The file has another format, or is damaged.
    """
    return load_frame(read_arrow(path), label)


def read_json_lines(path: Path, label: str | Path | None) -> Frame:
    """A table from a file with one JSON object per line.

    Raises:
        DataError: The file is not such.
    """
    return load_frame(_json_lines(path), label)


def _json_lines(path: Path) -> "pl.DataFrame":
    import polars as pl

    try:
        return pl.read_ndjson(read_bytes(path), infer_schema_length=None)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise damaged(path, "one JSON object per line", str(error).splitlines()[0]) from None


def read_excel_file(path: Path, label: str | Path | None) -> Frame:
    """A table from the first sheet of a workbook, whose first row has the names of the columns.

    Raises:
        DataError: The file has another format, or is damaged.
        MissingExtra: fastexcel is not installed.
    """
    import polars as pl

    fastexcel = importlib.import_module("fastexcel")
    content = read_bytes(path)
    try:
        sheets = fastexcel.read_excel(content).sheet_names
        table = pl.read_excel(io.BytesIO(content), sheet_name=sheets[0], engine="calamine", infer_schema_length=None)
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError, ValueError, IndexError) as error:
        raise damaged(path, "a workbook with a table in its first sheet", str(error).splitlines()[0]) from None
    # What is read as text where there is no value says nothing of the column.
    table = table.with_columns(pl.col(name).cast(pl.Null) for name in table.columns if not table[name].count())
    notes = [f"sheet {sheets[0]!r} was read, the first of {len(sheets)}"] if len(sheets) > 1 else []
    return load_frame(table, label, named=True, notes=notes)


def read_table_folder(folder: Path, files: list[Path], label: str | Path | None) -> Frame:
    """The tables of a folder, concatenated; see `read_tables`."""
    return read_tables(folder, files, label, _read_table)


def _read_table(path: Path) -> Table:
    import polars as pl

    suffix = table_suffix(path)
    if suffix in TEXT:
        return read_csv(path)
    if suffix in JSON_LINES:
        return Table(_json_lines(path), named=True, notes=[])
    frame = pl.from_arrow(read_parquet(path) if suffix in PARQUET else read_arrow(path))
    assert isinstance(frame, pl.DataFrame)
    return Table(frame, named=True, notes=[])


def read_parquet(path: Path) -> Any:
    """The arrow table of a Parquet file.

    Raises:
        DataError: The file has another format, or is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    content = read_bytes(path)
    name, words = content_of(content)
    if name != "parquet":
        raise wrong_content(path, "a Parquet file", words)
    try:  # no threads, as those of arrow can abort the interpreter at exit (apache/arrow issue 34314)
        return parquet.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "a complete Parquet file", str(error).splitlines()[0] if str(error) else error) from None


def read_arrow(path: Path) -> Any:
    """The arrow table of an Arrow file or stream, or of a Feather file.

    Raises:
        DataError: The file has another format, or is damaged.
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
        raise damaged(path, "a complete Arrow file", str(error).splitlines()[0] if str(error) else error) from None
    return table


def read_tables(
    folder: Path, files: list[Path], label: str | Path | None, read_table: Callable[[Path], Table]
) -> Frame:
    """The rows of all files, in the order of their names.

    Args:
        folder: The folder, for errors.
        files: The files of the tables.
        label: Where the labels are.
        read_table: Reads one file.

    Raises:
        DataError: A file cannot be read, or its columns are not those of the first file.
    """
    import polars as pl

    tables = [read_table(file) for file in files]
    first, columns = files[0], tables[0].table.columns
    for file, table in zip(files, tables, strict=True):
        if set(table.table.columns) != set(columns) or table.named != tables[0].named:
            raise _other_columns(first, columns, file, table.table.columns)
    frames = _of_one_type([table.table.select(columns) for table in tables], files)
    joined = pl.concat(frames, how="vertical")
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    notes.append(f"{len(files)} files of {folder.name} were read and concatenated")
    return load_frame(joined, label, named=tables[0].named, notes=notes)


def _of_one_type(frames: "list[pl.DataFrame]", files: list[Path]) -> "list[pl.DataFrame]":
    """The frames with equal column types: text if a column is text in any of them, else real numbers."""
    import polars as pl

    for name in frames[0].columns:
        dtypes = {frame[name].dtype: file for frame, file in zip(frames, files, strict=True) if frame[name].count()}
        if len(dtypes) < 2 and all(frame[name].dtype in dtypes for frame in frames):
            continue
        if len(dtypes) <= 1:
            target = next(iter(dtypes), pl.Null())
        elif all(dtype.is_numeric() for dtype in dtypes):
            target = pl.Float64()
        elif all(dtype.is_numeric() or dtype in (pl.String, pl.Categorical, pl.Enum) for dtype in dtypes):
            target = pl.String()
        else:
            (one, first), (two, other) = list(dtypes.items())[:2]
            raise DataError(
                expected=f"column {name!r} of one type in all files",
                got=f"{one} in {first.name} and {two} in {other.name}",
                cure="convert one of them",
            )
        frames = [frame.with_columns(pl.col(name).cast(target)) for frame in frames]
    return frames


def _other_columns(first: Path, columns: list[str], other: Path, names: list[str]) -> DataError:
    missing = [name for name in columns if name not in names]
    extra = [name for name in names if name not in columns]
    parts = [f"{word} {quoted(some)}" for word, some in (("no", missing), ("also", extra)) if some]
    return DataError(
        expected=f"the columns of {first.name} in every file of the folder",
        got=f"{other.name} with {' and '.join(parts) or 'no header'}",
        cure="rename, add or drop columns, or move that file to another folder",
    )
