"""Tables in Parquet files, read in row groups."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reparax.data.files import damaged
from reparax.data.frames import Frame, load_frame
from reparax.data.match import quoted
from reparax.data.schema import Schema
from reparax.data.sources.source import Source
from reparax.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

LARGEST_GROUP = 1 << 29
"""Bytes of a row group; one is decoded at once."""
BYTES_PER_CELL = 8


class _Group(NamedTuple):
    """A row group: its file, its number there, and its rows."""

    path: Path
    number: int
    rows: int


@dataclass(frozen=True)
class ParquetSource(Source):
    """The rows of Parquet files with the same columns, one after another.

    Attributes:
        paths: The files.
        label: A column of labels, which is not among the values.
        dropped: Columns that are not read.
    """

    paths: tuple[Path, ...]
    label: str | None = None
    dropped: tuple[str, ...] = ()

    @cached_property
    def _groups(self) -> tuple[_Group, ...]:
        groups = []
        for path in self.paths:
            opened = _opened(path)
            _refuse_other(self.paths[0], self.schema, path, opened.schema_arrow)
            rows = [opened.metadata.row_group(number).num_rows for number in range(opened.metadata.num_row_groups)]
            groups += [_Group(path, number, count) for number, count in enumerate(rows) if count]
        largest = max((group.rows for group in groups), default=0)
        most = LARGEST_GROUP // (len(self.columns) * BYTES_PER_CELL)
        if largest > most:
            raise DataError(
                expected=f"row groups of at most {most:,} rows, as one is decoded at once",
                got=f"one of {largest:,} rows",
                cure="write the file with smaller ones (row_group_size=100_000), or give it more --memory (memory=)",
            )
        return tuple(groups)

    @cached_property
    def schema(self) -> "pa.Schema":
        """The columns of the first file."""
        return _opened(self.paths[0]).schema_arrow

    @cached_property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [name for name in self.schema.names if name not in self.dropped]

    @cached_property
    def num_rows(self) -> int:
        """The number of all rows."""
        return sum(_opened(path).metadata.num_rows for path in self.paths)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows of each row group."""
        return tuple(group.rows for group in self._groups)

    @property
    def row_size(self) -> int:
        """The number of values of a row."""
        return max(1, len(self.columns))

    @cached_property
    def fingerprint(self) -> str:
        """The sizes of the files and of their row groups."""
        text = " ".join(f"{group.path.name} {group.number} {group.rows}" for group in self._groups)
        sizes = " ".join(str(path.stat().st_size) for path in self.paths)
        return f"parquet {hashlib.sha256(f'{text} {sizes}'.encode()).hexdigest()[:16]}"

    def block(self, index: int) -> "pa.Table":
        """The rows of a row group."""
        import pyarrow as pa

        group = self._groups[index]
        try:  # no threads, as those of arrow can abort the interpreter at exit (apache/arrow issue 34314)
            table = _opened(group.path).read_row_group(group.number, columns=self.columns, use_threads=False)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(group.path, "a complete Parquet file", error) from None
        if len(table) != group.rows:
            raise damaged(group.path, "the Parquet file that was opened", f"{len(table)} rows, not {group.rows}")
        return _takeable(table.select(self.columns))

    def loaded(self, raw: Any) -> Frame:
        """Rows of row groups."""
        return load_frame(raw, self.label)

    def without(self, schema: Schema) -> "ParquetSource":
        """The same rows without the columns that are left out, and without the labels."""
        label = () if self.label is None else (self.label,)
        unread = tuple(name for name, _ in schema.excluded if name in self.schema.names)
        return replace(self, label=None, dropped=(*self.dropped, *unread, *label))


def _takeable(table: "pa.Table") -> "pa.Table":
    """The same with views of text as text: arrow cannot take rows of views."""
    import pyarrow as pa

    fields = [field.with_type(pa.large_string()) if field.type == pa.string_view() else field for field in table.schema]
    return table.cast(pa.schema(fields))


def _opened(path: Path) -> "parquet.ParquetFile":
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "a complete Parquet file", str(error).splitlines()[0] if str(error) else error) from None


def _refuse_other(first: Path, expected: "pa.Schema", path: Path, found: "pa.Schema") -> None:
    """Refuses files of a folder whose columns or types differ.

    Raises:
        DataError: They do.
    """
    if {field.name: field.type for field in expected} == {field.name: field.type for field in found}:
        return
    types = {field.name: field.type for field in found}
    other = [name for name in types if name not in expected.names]
    other += [field.name for field in expected if types.get(field.name) != field.type]
    raise DataError(
        expected=f"the columns and types of {first.name} in every file, to be read in blocks",
        got=f"others in {path.name}: {quoted(other)}",
        cure="write all files with the same types, or give them more --memory (memory=)",
    )
