"""The door for data: whatever the user has becomes a `Dataset`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reparax.data._builtin import PREFIX, read_builtin
from reparax.data._dataset import Dataset, from_array
from reparax.data._files import LabelNotFoundError, content_of, missing, read_bytes
from reparax.data._idx import read_idx
from reparax.data._images import read_folder
from reparax.data._labels import read_labels, text_or_numbers
from reparax.data._numpy_files import read_npy, read_npz
from reparax.data._schema import Schema
from reparax.data._tables import from_frame, is_frame, read_csv_file, read_parquet_file
from reparax.errors import DataError

READABLE = ".npy, .npz, .csv, .tsv, .parquet or IDX files, folders of PNG and JPEG images, or builtin:digits"

_Reader = Callable[[Path, str | Path | None], Dataset]


def read(source: Any, *, label: str | Path | None = None) -> Dataset:
    """Reads data from a file, a folder, an array or a data frame.

    Sources: ``.npy`` and ``.npz`` files (never a pickle); IDX files, gzipped or not; folders of PNG and JPEG images
    (see `read_folder`); CSV (comma, semicolon or tab; header or none) and Parquet tables of numbers;
    ``builtin:digits`` and other sets of scikit-learn; NumPy arrays and whatever converts to one; pandas, polars and
    arrow frames.

    Two axes are a table, three are gray images, four are images with channels last (or first, where that is the only
    reading), more stay an array. Values that are all 0 or 1 are binary; values that are all whole are integer, whatever
    their dtype; others are real. Images of dtype uint8 have levels 0 to 255; whole numbers of other dtypes have
    levels 0 to their highest where that is below 128 (digits: 16), else to the next 2**bits - 1 (255, 4095, 65535);
    real images within [0, 1] are intensities between 0 and 1. Columns of tables have the bounds that were seen.

    Args:
        source: A path, ``builtin:NAME``, an array, a data frame, or a dataset (returned as it is).
        label: Where the labels are: a column of a table (``column_0``, ... or its number where it has no names), an
            array of an npz, or a file (``.npy``, IDX, one-column CSV). Labels never enter the values.

    Raises:
        DataError: The source is missing, damaged, or not numbers throughout; it says what to do about it.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str) and source.startswith(PREFIX):
        return _with_labels(read_builtin(source.removeprefix(PREFIX)), label)
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        return _reader(path)(path, label)
    if not isinstance(source, np.ndarray) and is_frame(source):
        return from_frame(source, label)
    return _with_labels(from_array(_to_array(source)), label)


def read_as(source: Any, schema: Schema) -> Dataset:
    """Reads data for a model fitted on data of another source, as its schema has it: columns by name, the same dtype.

    The column or array that held the labels at fitting is taken for the labels where it is present.

    Args:
        source: As of `read`.
        schema: The schema that the model was fitted on.

    Returns:
        A dataset that carries ``schema``.

    Raises:
        DataError: As of `read`; or the data do not have the shape, columns or kind of values of the fit.
    """
    dataset = _read_with_any_label(source, schema)
    return replace(dataset, values=schema.check(dataset), schema=schema)


def _read_with_any_label(source: Any, schema: Schema) -> Dataset:
    if schema.label is None:
        return read(source)
    try:
        dataset = read(source, label=schema.label)
    except LabelNotFoundError:
        return read(source)
    if schema.names is None and len(schema.event_shape) == 1 and len(dataset.schema.event_shape) == 1:
        (fitted,), (found,) = schema.event_shape, dataset.schema.event_shape
        return read(source) if found == fitted - 1 else dataset  # the columns have no names, and none are labels
    return dataset


def _reader(path: Path) -> _Reader:
    """The function that reads a path: by its suffix, or else by the first bytes of the file."""
    if path.is_dir():
        return read_folder
    if not path.exists():
        raise missing(path)
    by_suffix = {
        ".npy": _npy, ".npz": _npz, ".parquet": read_parquet_file, ".pq": read_parquet_file, ".idx": _idx,
        ".csv": read_csv_file, ".tsv": read_csv_file, ".txt": read_csv_file,
    }  # fmt: skip
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in by_suffix:
        return by_suffix[suffix]
    by_content = {"npy": _npy, "npz": _npz, "idx": _idx, "parquet": read_parquet_file}
    found, words = content_of(read_bytes(path))
    if found in by_content:
        return by_content[found]
    if found == "image":
        raise DataError(
            expected="a folder of images", got=f"{words}, {path}", cure="put the images in a folder, and give its path"
        )
    raise DataError(expected=READABLE, got=f"{path}, {words}", cure="convert the data to one of those")


def _npy(path: Path, label: str | Path | None) -> Dataset:
    return _with_labels(from_array(read_npy(path)), label)


def _npz(path: Path, label: str | Path | None) -> Dataset:
    try:
        values, labels, key, notes = read_npz(path, None if label is None else str(label))
    except LabelNotFoundError:
        if label is None or not Path(label).expanduser().is_file():
            raise
        values, _, _, notes = read_npz(path, None)
        return _with_labels(from_array(values, notes=tuple(notes)), label)
    if labels is None:
        return from_array(values, notes=tuple(notes))
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if label is None and (values.ndim == 0 or labels.shape != (len(values),)):
        notes.append(f"the array {key} was not read: its shape {labels.shape} is not that of labels")
        return from_array(values, notes=tuple(notes))
    return from_array(values, labels=text_or_numbers(labels), label=key, notes=tuple(notes))


def _idx(path: Path, label: str | Path | None) -> Dataset:
    array = read_idx(path)
    if array.ndim == 1:
        raise DataError(
            expected=f"images or a table in {path}",
            got=f"{len(array)} single values, as of labels",
            cure="give the file of images as the data, and this one as --label",
        )
    return _with_labels(from_array(array), label)


def _with_labels(dataset: Dataset, label: str | Path | None) -> Dataset:
    """The dataset with the labels of a file."""
    return dataset if label is None else replace(dataset, labels=read_labels(Path(label), len(dataset)))


def _to_array(source: Any) -> np.ndarray:
    """An array of what the user gave.

    Raises:
        DataError: Not an array, lists of different lengths, masked or sparse arrays.
    """
    if isinstance(source, np.ma.MaskedArray) and np.ma.is_masked(source):
        raise DataError(
            expected="values for every cell", got="a masked array", cure="fill it first (missing values come later)"
        )
    if hasattr(source, "toarray") and not isinstance(source, np.ndarray):
        raise DataError(expected="a dense array", got="a sparse one", cure="call .toarray() on it first")
    try:
        array = np.asarray(source)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            expected="an array, a data frame or a path",
            got=f"a {type(source).__name__} that is none ({str(error).split('. ')[0]})",
            cure="give rows of the same length, or numpy.asarray(...) of your data",
        ) from None
    if array.ndim == 0 and array.dtype.hasobject:
        raise DataError(
            expected="an array, a data frame or a path", got=f"a {type(source).__name__}", cure=f"give {READABLE}"
        )
    return array
