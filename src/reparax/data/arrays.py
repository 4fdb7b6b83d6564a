"""Arrays as data: reading them from files without pickles, as datasets and as labels."""

import importlib.util
import io
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from reparax.data.dataset import Dataset, FrameKind, array_cells, as_matched, from_array, from_cells
from reparax.data.delimited import read_csv
from reparax.data.files import LabelNotFoundError, content_of, damaged, missing, read_bytes, wrong_content
from reparax.data.labels import label_text
from reparax.data.match import match_table
from reparax.data.overrides import NOTHING, Overrides
from reparax.data.schema import Schema
from reparax.data.values import Cells, by_columns, column_name
from reparax.errors import DataError
from reparax.summary import Column

VALUES = ("X", "x", "data", "images")
LABELS = ("y", "labels")

_BROKEN = (ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, tokenize.TokenError, RecursionError)
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PREFIX = "builtin:"
BUILTIN = ("digits", "iris", "wine", "breast_cancer", "diabetes")


def read_npy(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file.

    Raises:
        DataError: The file has another format, is damaged, or holds Python objects, which would need a pickle.
    """
    content = read_bytes(path)
    name, words = content_of(content)
    if name != "npy":
        raise wrong_content(path, "a NumPy array (.npy)", words)
    return parse_npy(content, path)


def parse_npy(content: bytes, source: Path | str) -> np.ndarray:
    """The array in the bytes of a ``.npy`` file.

    Raises:
        DataError: The bytes are damaged, or hold Python objects.
    """
    stream = io.BytesIO(content)
    expected = "a complete NumPy array"
    shape, in_columns, dtype = _header(stream, source)
    start, count = stream.tell(), 1
    for length in shape:
        count *= length
    if any(length < 0 for length in shape) or dtype.itemsize * count != len(content) - start:
        raise damaged(source, expected, f"{len(content) - start} bytes for shape {shape} of {dtype}")
    if dtype.itemsize == 0 or count == 0:
        return np.empty(shape, dtype)
    try:
        flat = np.frombuffer(content, dtype, count=count, offset=start)
        return flat.reshape(shape, order="F" if in_columns else "C")
    except _BROKEN as error:
        raise damaged(source, expected, error) from None


def header_of(path: Path) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """The shape of the array in a ``.npy`` file, whether it is in Fortran order, its dtype, and where its values begin.

    Raises:
        DataError: The file is damaged, has another format, or holds Python objects.
    """
    with path.open("rb") as stream:
        shape, in_columns, dtype = _header(stream, path)
        return shape, in_columns, dtype, stream.tell()


def _header(stream: BinaryIO, source: Path | str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, in_columns, dtype = read_header.get(version, _read_header_3)(stream)
    except _BROKEN as error:
        raise damaged(source, "a complete NumPy array", error) from None
    if dtype.hasobject:
        raise DataError(
            expected="an array of numbers",
            got=f"an array of Python objects in {source}",
            cure="save an array of one numeric dtype; unpickling objects could run code and is never done",
        )
    return shape, in_columns, dtype


def _read_header_3(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Version 3.0 differs from 2.0 only in the encoding of the header, which only names of record fields need."""
    raise ValueError("a header of a version that arrays of numbers do not use")


def read_npz(path: Path, label: str | None) -> tuple[np.ndarray, np.ndarray | None, str | None, list[str]]:
    """The values and labels of a ``.npz`` archive.

    The values are the array called X, x, data or images, or else the only array besides the labels. The labels are the
    array called ``label``, or else y or labels.

    Returns:
        The values, the labels or None, the name of the labels or None, and notes.

    Raises:
        DataError: The file has another format or is damaged, has no array called ``label``, or has several arrays that
            could be the values.
    """
    content = read_bytes(path)
    name, words = content_of(content)
    if name != "npz":
        raise wrong_content(path, "a NumPy archive (.npz)", words)
    members = _members(content, path)
    if label is not None and label not in members:
        raise LabelNotFoundError(
            expected=f"labels called {label!r} in {path}",
            got=f"arrays called {', '.join(members) or 'nothing'}",
            cure="use one of those names, or a file of labels",
        )
    key = label or next((name for name in LABELS if name in members), None)
    candidates = [name for name in members if name != key]
    chosen = next((name for name in VALUES if name in candidates), candidates[0] if len(candidates) == 1 else None)
    if chosen is None:
        raise DataError(
            expected=f"one array in {path}, or one called {', '.join(VALUES)}",
            got=f"arrays called {', '.join(candidates) or 'nothing'}",
            cure="save the values under the name X (numpy.savez(path, X=values, y=labels))",
        )
    unread = [name for name in candidates if name != chosen]
    notes = [f"arrays of {path.name} that were not read: {', '.join(unread)}"] if unread else []
    values = parse_npy(members[chosen](), f"{chosen} in {path}")
    labels = parse_npy(members[key](), f"{key} in {path}") if key is not None else None
    return values, labels, key, notes


def _members(content: bytes, path: Path) -> dict[str, Callable[[], bytes]]:
    """For each array, by name, a function that reads its bytes."""
    broken = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, KeyError, *_BROKEN)
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        names = [name for name in archive.namelist() if name.endswith(".npy")]
    except broken as error:
        raise damaged(path, "a complete NumPy archive (.npz)", error) from None
    if not names:
        raise DataError(
            expected=f"an archive of NumPy arrays (.npz), as {path} is a zip archive",
            got="one without any array",
            cure="unpack it and give a file in it, or save the arrays with numpy.savez (models of PyTorch are no data)",
        )

    def read_member(name: str) -> bytes:
        try:
            return archive.read(name)
        except broken as error:
            raise damaged(f"{name} in {path}", "a complete NumPy archive (.npz)", error) from None

    return {name.removesuffix(".npy"): partial(read_member, name) for name in names}


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file, which may be gzipped.

    The format is two zero bytes, a code for the dtype, the number of axes, the length of each axis as a big-endian
    32-bit number, then the values, big-endian, last axis fastest (LeCun, Cortes and Burges, "The MNIST database").

    Raises:
        DataError: The file has another format, or its size does not match its header.
    """
    content = read_bytes(path)
    name, words = content_of(content)
    if name != "idx" or content[2] not in _DTYPES:
        raise wrong_content(path, "an IDX file", words)
    dtype, num_axes = np.dtype(_DTYPES[content[2]]), content[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise damaged(path, "a complete IDX file", f"{len(content)} bytes, of which the header takes {start}")
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(num_axes))
    size = dtype.itemsize
    for length in shape:
        size *= length
    if len(content) - start != size or num_axes > 32:
        raise damaged(
            path, "a complete IDX file", f"{len(content) - start} bytes for shape {shape}, which takes {size}"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_builtin(name: str) -> tuple[np.ndarray, tuple[str, ...] | None, np.ndarray, str | None]:
    """One of scikit-learn's bundled data sets, with its target as labels.

    Digits are images of 8x8x1 with levels 0 to 16; the others are tables with named columns.

    Returns:
        The values, the names of the columns, the labels and the name of the label column.

    Raises:
        DataError: There is no data set of that name.
    """
    if name not in BUILTIN:
        raise DataError(
            expected=f"one of {', '.join(PREFIX + known for known in BUILTIN)}",
            got=repr(PREFIX + name),
            cure="choose one of those",
        )
    if name == "digits":
        return *_digits(), None
    bundle = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")()
    return bundle.data, tuple(map(str, bundle.feature_names)), np.asarray(bundle.target), "target"


def _digits() -> tuple[np.ndarray, None, np.ndarray]:
    """The handwritten digits; from scikit-learn's file where it is, as importing scikit-learn takes a second."""
    package = importlib.util.find_spec("sklearn")
    places = [] if package is None else package.submodule_search_locations or []
    for place in places:
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            rows = np.loadtxt(file, delimiter=",")
            return rows[:, :-1].reshape(-1, 8, 8), None, rows[:, -1].astype(np.int64)
    bundle = importlib.import_module("sklearn.datasets").load_digits()
    return bundle.images, None, bundle.target


@dataclass(frozen=True)
class Arrays:
    """An array with its labels and notes."""

    array: np.ndarray
    labels: np.ndarray | None = None
    label: str | None = None
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    kind: FrameKind | None = None

    def dataset(self, overrides: Overrides = NOTHING) -> Dataset:
        """The dataset of the array, whose axes and kinds of values are inferred."""
        if overrides:
            return self._table(overrides)
        dataset = from_array(self.array, names=self.names, labels=self.labels, label=self.label, notes=self.notes)
        return replace(dataset, frame_kind=self.kind, native=self.array if self.array.ndim == 2 else None)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of a table; ``column_0``, ... if they have none."""
        return tuple(column_name(self.names, index) for index in range(self.array.shape[1]))

    def _table(self, overrides: Overrides) -> Dataset:
        if self.array.ndim != 2 or self.array.dtype.kind not in "biuf":
            raise no_table()
        overrides = overrides.checked(self.columns, self.label)
        cells = {name: array_cells(self.array[:, index]) for index, name in enumerate(self.columns)}
        dataset = from_cells(
            cells, named=self.names is not None, labels=self.labels, label=self.label, notes=self.notes,
            kinds=overrides.kinds, excluded=overrides.excluded, array=self.array,
        )  # fmt: skip
        return replace(dataset, frame_kind=self.kind, native=self.array)

    def matched(self, schema: Schema, *, allow_missing: bool = False) -> Dataset:
        """The dataset of the array, matched to a schema: tables column by column, images unchanged."""
        if schema.columns is None or self.array.ndim != 2 or self.array.dtype.kind not in "biuf":
            dataset = self.dataset()
            match = schema.match(dataset, allow_missing=allow_missing)
            return as_matched(dataset, schema, match)

        array = by_columns(self.array)

        def cells(place: int, column: Column) -> Cells:
            return array_cells(array[:, place])

        named = self.names is not None
        table = match_table(schema, self.columns, len(self.array), cells, named=named, labels=self.labels)
        match = schema.finished(table, allow_missing=allow_missing)
        read = Dataset(match.values, schema, self.labels, notes=self.notes, frame_kind=self.kind, native=self.array)
        return as_matched(read, schema, match)


@dataclass(frozen=True)
class Read:
    """A complete dataset, such as one of images."""

    complete: Dataset

    def dataset(self, overrides: Overrides = NOTHING) -> Dataset:
        """The dataset."""
        if overrides:
            raise no_table()
        return self.complete

    def matched(self, schema: Schema, *, allow_missing: bool = False) -> Dataset:
        """The dataset, matched to a schema."""
        return as_matched(self.complete, schema, schema.match(self.complete, allow_missing=allow_missing))


def no_table() -> DataError:
    """The error for kinds of columns of data that are not a table."""
    return DataError(
        expected="a table, whose columns have kinds", got="images, or data that were already read",
        cure="leave out schema and exclude, or pass the table itself",
    )  # fmt: skip


def read_labels(path: Path, num_examples: int) -> np.ndarray:
    """One label for each example, a number or text, from a ``.npy``, IDX or one-column CSV file.

    Args:
        path: The file.
        num_examples: The expected number of labels.

    Raises:
        DataError: The file has another format, or another number of labels.
    """
    path = path.expanduser()
    if not path.is_file():
        raise LabelNotFoundError(**vars(missing(path)))
    format_name, _ = content_of(read_bytes(path))
    if format_name == "npy":
        labels = read_npy(path)
    elif format_name == "idx":
        labels = read_idx(path)
    else:
        labels = _from_csv(path, num_examples)
    if labels.shape == (num_examples, 1):
        labels = labels[:, 0]
    if labels.shape != (num_examples,):
        raise DataError(
            expected=f"one label for each of the {num_examples} examples",
            got=f"labels of shape {labels.shape} in {path}",
            cure="use the labels of these data",
        )
    return text_or_numbers(labels)


def _from_csv(path: Path, num_examples: int) -> np.ndarray:
    table = read_csv(path).table
    if table.height == num_examples - 1:  # no header after all: the first label looked like one
        table = read_csv(path, header=False).table
    if table.width != 1:
        raise DataError(
            expected=f"one column of labels in {path}",
            got=f"{table.width} columns",
            cure="keep only the column of the labels",
        )
    return labels_of_column(table.to_series())


def labels_of_column(column: Any) -> np.ndarray:
    """The labels in a column of a data frame: numbers if none is missing, else text, empty for missing cells.

    Args:
        column: A series of narwhals or polars.
    """
    numeric = column.dtype.is_numeric() or str(column.dtype) == "Boolean"
    if numeric and not column.null_count():
        return text_or_numbers(np.asarray(column.to_numpy()))
    texts = [label_text(value) or "" for value in column.to_list()]
    if {text.lower() for text in texts} <= {"true", "false"}:
        return np.array([int(text.lower() == "true") for text in texts])
    return np.array(texts)


def text_or_numbers(labels: np.ndarray) -> np.ndarray:
    """Labels as whole numbers, real numbers or text.

    Raises:
        DataError: The labels are neither numbers nor text.
    """
    if labels.dtype.kind == "b":
        return labels.astype(np.int64)
    if labels.dtype.kind in "iuf":
        return labels.astype(labels.dtype.newbyteorder("="), copy=False)
    if labels.dtype.kind in "USMm":
        return labels.astype(str)
    raise DataError(
        expected="labels that are numbers or text",
        got=f"labels of dtype {labels.dtype}",
        cure="save them as an array of numbers or strings",
    )
