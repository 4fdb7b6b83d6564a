"""Datasets from data frames: numeric columns by name, and a column of labels beside them."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data._csv import read_csv
from reparax.data._dataset import Dataset, from_array
from reparax.data._files import LabelNotFoundError, content_of, damaged, read_bytes, wrong_content
from reparax.data._labels import labels_of_column, read_labels
from reparax.errors import DataError

if TYPE_CHECKING:
    import narwhals as nw


PANDAS_INDEX = "__index_level_0__"


def read_csv_file(path: Path, label: str | Path | None) -> Dataset:
    """A numeric table from text; see `read_csv` for what is told from the text.

    Raises:
        DataError: Not such text, columns that are not numbers, missing values.
    """
    table = read_csv(path)
    return from_frame(table.table, label, named=table.named, notes=table.notes)


def read_parquet_file(path: Path, label: str | Path | None) -> Dataset:
    """A numeric table from a Parquet file.

    Raises:
        DataError: Not such a file, damaged, columns that are not numbers, missing values.
    """
    return from_frame(read_parquet(path), label)


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


def is_frame(source: Any) -> bool:
    """Whether an object is a data frame of a library that is known, lazy ones included."""
    import narwhals as nw

    try:
        return isinstance(nw.from_native(source, pass_through=True), nw.DataFrame | nw.LazyFrame)
    except nw.exceptions.DuplicateError:
        return True


def from_frame(frame: Any, label: str | Path | None, *, named: bool = True, notes: list[str] | None = None) -> Dataset:
    """A dataset from a pandas, polars or arrow frame: every column must be numeric or boolean, but for the labels.

    Args:
        frame: The frame.
        label: The column that holds the labels, or a file of labels.
        named: Whether the columns' names mean anything.
        notes: Sentences to keep with the dataset.

    Raises:
        DataError: Columns that are not numbers, names that occur twice, missing values, no such label.
    """
    table, notes = _open(frame), list(notes or ())
    if PANDAS_INDEX in table.columns:
        table = table.drop(PANDAS_INDEX)
        notes.append("the row index that pandas saved along was left out")
    names = [str(name) for name in table.columns]
    if named and names == [str(index) for index in range(len(names))]:
        named = False
    labels, key = None, None
    if label is not None:
        key = _label_column(names, label, named=named)
        labels = read_labels(Path(label), len(table)) if key is None else labels_of_column(table[:, names.index(key)])
    kept = [index for index, name in enumerate(names) if name != key]
    columns = [table[:, index] for index in kept]
    values = _stack(columns, [_shown(names[index], index, named=named) for index in kept], len(table))
    shown = _shown(key, names.index(key), named=named) if key is not None else None
    return from_array(
        values,
        names=tuple(names[index] for index in kept) if named else None,
        labels=labels,
        label=shown,
        notes=tuple(notes),
    )


def _open(frame: Any) -> "nw.DataFrame":
    import narwhals as nw

    try:
        opened = nw.from_native(frame)
    except nw.exceptions.DuplicateError as error:
        twice = ", ".join(line.removeprefix("- ").split(" ")[0] for line in str(error).splitlines()[1:6])
        raise DataError(
            expected="columns of different names", got=f"{twice} more than once", cure="rename or drop the others"
        ) from None
    if isinstance(opened, nw.LazyFrame):
        raise DataError(expected="a data frame", got="a lazy frame", cure="call .collect() on it first")
    return opened


def _shown(name: str, index: int, *, named: bool) -> str:
    return name if named else f"column_{index}"


def _label_column(names: list[str], label: str | Path, *, named: bool) -> str | None:
    """The name of the labels' column; None when ``label`` is a file."""
    wanted = str(label)
    if not named:
        numbers = {f"column_{index}": name for index, name in enumerate(names)}
        numbers |= {str(index): name for index, name in enumerate(names)} | {"-1": names[-1]}
        if wanted in numbers:
            return numbers[wanted]
    elif wanted in names:
        return wanted
    if Path(label).is_file():
        return None
    near = difflib.get_close_matches(wanted, names, n=3)
    known = (
        ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        if named
        else f"column_0 to column_{len(names) - 1}"
    )
    raise LabelNotFoundError(
        expected=f"labels in a column of the table ({known}) or in a file",
        got=repr(wanted),
        cure=f"did you mean {' or '.join(near)}?" if near else "give the name of a column, or the path of a file",
    )


def _is_numeric(column: "nw.Series") -> bool:
    import narwhals as nw

    return column.dtype.is_numeric() or column.dtype == nw.Boolean


def _stack(columns: list["nw.Series"], names: list[str], num_rows: int) -> np.ndarray:
    texts = [
        (name, column)
        for name, column in zip(names, columns, strict=True)
        if not _is_numeric(column) and column.null_count() < len(column)
    ]
    if texts:
        raise _not_numeric(texts)
    arrays = [_numbers(column) for column in columns]
    values = np.empty((num_rows, len(arrays)), np.result_type(*arrays) if arrays else np.float32)
    for index, array in enumerate(arrays):
        values[:, index] = array
    return values


def _numbers(column: "nw.Series") -> np.ndarray:
    """The values of a column, NaN where they are missing."""
    import narwhals as nw

    if column.null_count() == len(column):
        return np.full(len(column), np.nan)
    if column.null_count() or column.dtype.is_decimal() or column.dtype in (nw.Int128, nw.UInt128):
        column = column.cast(nw.Float64)
    return np.asarray(column.to_numpy())


def _not_numeric(texts: list[tuple[str, "nw.Series"]]) -> DataError:
    name, column = texts[0]
    found = column.drop_nulls().to_list()
    example = next((value for value in found if not _parses(value)), found[0])
    others = ", ".join(repr(other) for other, _ in texts[1:6]) + (", ..." if len(texts) > 6 else "")
    return DataError(
        expected="columns of numbers",
        got=f"column {name!r} with values such as {str(example)[:40]!r}{f' (likewise {others})' if others else ''}",
        cure="drop or encode them (columns of mixed types are not supported yet)"
        if len(texts) > 1
        else f"drop or encode it, or use it as the labels: --label {name}",
    )


def _parses(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
