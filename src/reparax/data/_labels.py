"""Labels from files of their own."""

from pathlib import Path
from typing import Any

import numpy as np

from reparax.data._array_files import read_idx, read_npy
from reparax.data._csv import read_csv
from reparax.data._files import LabelNotFoundError, content_of, missing, read_bytes
from reparax.errors import DataError


def read_labels(path: Path, num_examples: int) -> np.ndarray:
    """One label per example, numbers or text, from a ``.npy``, IDX or one-column CSV file.

    Args:
        path: The file.
        num_examples: How many labels there must be.

    Raises:
        DataError: Not such a file, or another number of labels.
    """
    path = path.expanduser()
    if not path.is_file():
        raise LabelNotFoundError(**vars(missing(path)))
    found, _ = content_of(read_bytes(path))
    if found == "npy":
        labels = read_npy(path)
    elif found == "idx":
        labels = read_idx(path)
    else:
        labels = _from_csv(path, num_examples)
    if labels.shape == (num_examples, 1):
        labels = labels[:, 0]
    if labels.shape != (num_examples,):
        raise DataError(
            expected=f"one label for each of the {num_examples} examples",
            got=f"labels of shape {labels.shape} in {path}",
            cure="give the labels that belong to these data",
        )
    return text_or_numbers(labels)


def _from_csv(path: Path, num_examples: int) -> np.ndarray:
    table = read_csv(path).table
    if table.height == num_examples - 1:  # text without a header: the first label looked like one
        table = read_csv(path, header=False).table
    if table.width != 1:
        raise DataError(
            expected=f"one column of labels in {path}",
            got=f"{table.width} columns",
            cure="keep the labels' column alone",
        )
    return labels_of_column(table.to_series())


def labels_of_column(column: Any) -> np.ndarray:
    """The labels in a column of a data frame; empty text where text is missing, text where numbers are.

    Args:
        column: A series of narwhals or polars.
    """
    numeric = column.dtype.is_numeric() or str(column.dtype) == "Boolean"
    if numeric and not column.null_count():
        return text_or_numbers(np.asarray(column.to_numpy()))
    texts = ["" if value is None else str(value).strip() for value in column.to_list()]
    if {text.lower() for text in texts} <= {"true", "false"}:
        return np.array([int(text.lower() == "true") for text in texts])
    return np.array(texts)


def text_or_numbers(labels: np.ndarray) -> np.ndarray:
    """Labels as whole numbers, real numbers or text.

    Raises:
        DataError: Labels of another kind.
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
