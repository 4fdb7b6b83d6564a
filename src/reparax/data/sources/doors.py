"""Opening data: in memory where they fit, else as a stream."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from reparax.data.columns import notes_on
from reparax.data.dataset import Dataset
from reparax.data.overrides import Overrides, overrides
from reparax.data.read import read, table_files
from reparax.data.schema import Schema
from reparax.data.sources.memory import bytes_of
from reparax.data.sources.npy import NpySource
from reparax.data.sources.parquet import BYTES_PER_CELL, ParquetSource
from reparax.data.sources.source import Source
from reparax.data.sources.stream import Stream, streamed
from reparax.data.tables import PARQUET, table_suffix
from reparax.errors import DataError
from reparax.extras import extras


@extras()
def opened(
    data: Any,
    *,
    memory: str | float | None = None,
    label: str | Path | None = None,
    schema: str | Path | Mapping[str, Any] | Schema | None = None,
    exclude: Iterable[str] = (),
    given: Iterable[str] = (),
    context: Any = None,
) -> Dataset | Stream:
    """Data in memory, or as a stream if they would take more memory than they may.

    A ``.npy`` file of numbers, a Parquet file, or a folder of Parquet files is a stream if its values take more than
    ``memory``; other data are read by `reparax.data.read`.

    Args:
        data: As of `reparax.data.read`, or a stream.
        memory: The most memory that the values may take: a number of bytes, or ``"2GB"``; by default a quarter of what
            is available.
        label: As of `reparax.data.read`; of a stream a column.
        schema: As of `reparax.data.read`; of a stream without statements.
        exclude: As of `reparax.data.read`.
        given: As of `reparax.data.read`; not for a stream.
        context: As of `reparax.data.read`; not for a stream.

    Raises:
        DataError: As of `reparax.data.read`; or a stream cannot be read with these options.
        RecipeError: The amount of memory is none.
    """
    most = bytes_of(memory)
    chosen = {"label": label, "schema": schema, "exclude": exclude, "given": given, "context": context}
    if isinstance(data, Stream):
        return data
    source = source_of(data)
    if source is None or size_of(source) <= most:
        return read(data, **chosen)
    said = overrides(schema, exclude)
    _refuse(said, given, context)
    source = _with_columns(source, label, said)
    if not isinstance(source, ParquetSource):
        return streamed(source, said)
    said = said.checked(source.schema.names, source.label)
    unread = {name: reason for name, reason in said.excluded.items() if name in source.dropped}
    others = {name: reason for name, reason in said.excluded.items() if name not in unread}
    stream = streamed(source, said._replace(excluded=others))
    excluded = (*stream.schema.excluded, *unread.items())
    notes = (*stream.notes, *notes_on(unread))
    return replace(stream, schema=structs.replace(stream.schema, excluded=excluded), notes=notes)


def source_of(data: Any) -> Source | None:
    """The source of a path, if it can be read in blocks."""
    if not isinstance(data, str | Path) or not str(data):
        return None
    path = Path(data).expanduser()
    if path.is_dir():
        files = table_files(path)
        is_parquet = bool(files) and all(table_suffix(file) in PARQUET for file in files)
        return ParquetSource(tuple(files)) if is_parquet else None
    if not path.is_file():
        return None
    if path.suffix.lower() == ".npy":
        return NpySource(path)
    return ParquetSource((path,)) if path.suffix.lower() in PARQUET else None


def without_columns(source: Source, names: Iterable[str]) -> Source:
    """A source of which some columns are not read."""
    if not isinstance(source, ParquetSource):
        return source
    return replace(source, dropped=tuple(name for name in names if name in source.schema.names))


def size_of(source: Source) -> float:
    """The bytes of the values in memory, about."""
    if isinstance(source, NpySource):
        return source.path.stat().st_size
    assert isinstance(source, ParquetSource)
    return source.num_rows * len(source.columns) * BYTES_PER_CELL


def _with_columns(source: Source, label: str | Path | None, said: Overrides) -> Source:
    """The source with its labels named, without the columns that the user leaves out.

    Raises:
        DataError: The labels are in a file.
    """
    if isinstance(source, ParquetSource):
        unread = tuple(name for name in said.excluded if name in source.schema.names)
        if label is None or str(label) in source.schema.names:
            return ParquetSource(source.paths, None if label is None else str(label), unread)
        if not Path(label).expanduser().is_file():
            return ParquetSource(source.paths, str(label), unread)
    if label is None:
        return source
    raise DataError(
        expected="labels in a column, for data that are read in blocks", got=f"the file {label}",
        cure="leave --label (label=) out, or give the data more --memory (memory=)",
    )  # fmt: skip


def _refuse(said: Overrides, given: Iterable[str], context: Any) -> None:
    """Refuses what needs all rows in memory.

    Raises:
        DataError: It is asked for.
    """
    asked = {
        "statements on columns (--schema)": bool(said.statements),
        "columns that are given (--given)": bool(list(given)),
        "a context": context is not None,
    }
    named = [name for name, is_asked in asked.items() if is_asked]
    if named:
        raise DataError(
            expected="no options that need all rows in memory, for data that are read in blocks",
            got=", ".join(named),
            cure="leave them out, or give the data more --memory (memory=)",
        )
