"""Sparse matrices as data: those of scipy, and files (.npz, .h5ad, .loom, .mtx); never made dense as a whole."""

import importlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy import sparse

from reparax.data.arrays import no_table, read_labels, text_or_numbers
from reparax.data.dataset import Dataset, as_matched
from reparax.data.files import LabelNotFoundError, content_of, damaged, read_bytes, wrong_content
from reparax.data.match import quoted
from reparax.data.named import conditions_as
from reparax.data.overrides import NOTHING, Overrides
from reparax.data.schema import Schema
from reparax.data.values import LARGEST_INTEGER, LARGEST_REAL, SMALLEST_STD, plain
from reparax.errors import DataError
from reparax.extras import extras

SUFFIXES = (".h5ad", ".loom", ".mtx")

_BROKEN = (KeyError, ValueError, OSError, TypeError, IndexError, EOFError, RuntimeError, AttributeError)


class Moments(NamedTuple):
    """The least, the greatest value, the mean and the standard deviation of each column."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def moments_of(matrix: sparse.csr_array) -> Moments:
    """The moments of the columns in float64, zeros included; a constant column has a standard deviation of 1."""
    count, width = matrix.shape
    numbers = matrix.data.astype(np.float64)
    mean = np.bincount(matrix.indices, numbers, width) / count
    stored = np.bincount(matrix.indices, minlength=width)
    # Around the mean, as the difference of the squares would cancel.
    squares = np.bincount(matrix.indices, np.square(numbers - mean[matrix.indices]), width)
    std = np.sqrt((squares + (count - stored) * np.square(mean)) / count)
    low, high = (np.where(stored < count, 0.0, limit) for limit in (np.inf, -np.inf))
    np.minimum.at(low, matrix.indices, numbers)
    np.maximum.at(high, matrix.indices, numbers)
    return Moments(low, high, mean, np.where((low == high) | (std < SMALLEST_STD), 1.0, std))


class SparseRows(NamedTuple):
    """Rows of a sparse matrix, all padded to as many places as the fullest one has.

    Attributes:
        places: The columns of the numbers, shape (n, k); the number of columns, which is none, where there is padding.
        numbers: The numbers, 0 where there is padding.
    """

    places: np.ndarray
    numbers: Float[np.ndarray, "n k"]

    @classmethod
    def of(cls, matrix: sparse.csr_array) -> "SparseRows":
        """The rows of a matrix."""
        counts = np.diff(matrix.indptr)
        shape = (matrix.shape[0], max(1, int(counts.max(initial=0))))
        places, numbers = np.full(shape, matrix.shape[1], np.int32), np.zeros(shape, np.float32)
        rows = np.repeat(np.arange(shape[0]), counts)
        within = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
        places[rows, within], numbers[rows, within] = matrix.indices, matrix.data
        return cls(places, numbers)


def described(
    matrix: sparse.csr_array, names: tuple[str, ...] | None, label: str | None
) -> tuple[sparse.csr_array, Schema]:
    """The matrix in a compact dtype, and its schema: counts, whole numbers, bits or real numbers.

    Raises:
        DataError: There are no examples, or numbers that are not finite or beyond float32.
    """
    if not all(matrix.shape):
        raise DataError(
            expected="at least one example", got=f"a sparse matrix of shape {matrix.shape}", cure="check the file"
        )
    refuse_unusual(matrix)
    numbers = matrix.data
    is_whole = not len(numbers) or bool((numbers == np.rint(numbers)).all())
    size = float(np.abs(numbers).max(initial=0))
    kind: Literal["binary", "integer", "counts", "real"] = "real"
    if is_whole and size <= LARGEST_INTEGER:
        low = float(numbers.min(initial=0))
        kind = "integer" if low < 0 else "binary" if size <= 1 else "counts"
    dtype: Literal["float32", "uint8", "int32"] = (
        "float32" if kind == "real" else "uint8" if kind == "binary" else "int32"
    )
    low, high, mean, std = moments_of(matrix)
    schema = Schema(
        kind="array", event_shape=(matrix.shape[1],), value_kind=kind, low=plain(low), high=plain(high),
        mean=plain(mean), std=plain(std), num_examples=matrix.shape[0], dtype=dtype, names=names, label=label,
    )  # fmt: skip
    return matrix.astype(dtype), schema


def refuse_unusual(matrix: sparse.csr_array) -> None:
    """Refuses numbers that are not finite, or too large.

    Raises:
        DataError: There are such.
    """
    if matrix.dtype.kind not in "biuf":
        raise DataError(expected="a matrix of numbers", got=f"dtype {matrix.dtype}", cure="convert it to numbers")
    wrong = np.flatnonzero(~(np.abs(matrix.data.astype(np.float64)) <= LARGEST_REAL))
    if len(wrong):
        row = int(np.searchsorted(matrix.indptr, wrong[0], side="right"))
        raise DataError(
            expected=f"finite numbers up to {LARGEST_REAL:g} in size",
            got=f"{len(wrong)} others, the first in row {row}, column {int(matrix.indices[wrong[0]]) + 1}",
            cure="drop or fill them first",
        )


@dataclass(frozen=True)
class Sparse:
    """A sparse matrix with what is known of its rows.

    Attributes:
        matrix: One row for each example.
        names: The names of the columns.
        known: What is known of each row, by name: batches, types of cells.
        labels: The labels.
        label: Their name.
    """

    matrix: sparse.csr_array
    names: tuple[str, ...] | None = None
    known: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    label: str | None = None

    def dataset(self, overrides: Overrides = NOTHING) -> Dataset:
        """The dataset, whose kind of values is inferred."""
        if overrides:
            raise no_table()
        values, schema = described(self.matrix, self.names, self.label)
        return Dataset(values, schema, self.labels)  # ty: ignore[invalid-argument-type]

    def matched(self, schema: Schema, *, allow_missing: bool = False) -> Dataset:
        """The dataset, matched to a schema: columns by name where both have names, what is given by name."""
        dataset = replace(self, matrix=self._in_order(schema)).dataset()
        if schema.given is not None and (found := self.given([column.name for column in schema.given_columns])):
            dataset = replace(dataset, conditions=conditions_as(found, schema.given, len(dataset)))
        return as_matched(dataset, schema, schema.match(dataset, allow_missing=allow_missing))

    def given(self, names: list[str]) -> dict[str, np.ndarray]:
        """What is known of the rows by these names; empty unless all are known."""
        return {name: self.known[name] for name in names} if all(name in self.known for name in names) else {}

    def _in_order(self, schema: Schema) -> sparse.csr_array:
        if schema.names is None or self.names is None or schema.names == self.names:
            return self.matrix
        place = {name: index for index, name in enumerate(self.names)}
        if missing := [name for name in schema.names if name not in place]:
            raise DataError(
                expected=f"the {len(schema.names)} columns of the fit", got=f"no {quoted(missing)}",
                cure="use data with the same columns",
            )  # fmt: skip
        return sparse.csr_array(self.matrix[:, [place[name] for name in schema.names]])


def labeled(loaded: Sparse, label: str | Path | None) -> Sparse:
    """The matrix with labels: what is known of its rows by that name, or a file.

    Raises:
        LabelNotFoundError: There is neither.
    """
    if label is None:
        return loaded
    if str(label) in loaded.known:
        return replace(loaded, labels=text_or_numbers(loaded.known[str(label)]), label=str(label))
    if loaded.known and not Path(label).expanduser().is_file():
        raise LabelNotFoundError(
            expected=f"something known of the rows called {str(label)!r}",
            got=", ".join(loaded.known),
            cure="use one of those names, or a file of labels",
        )
    return replace(loaded, labels=read_labels(Path(label), loaded.matrix.shape[0]))


def of_scipy(matrix: Any) -> Sparse:
    """A sparse matrix or array of scipy."""
    return Sparse(_csr(matrix))


def _csr(matrix: Any) -> sparse.csr_array:
    if len(matrix.shape) != 2:
        raise DataError(
            expected="a sparse matrix with two axes", got=f"shape {matrix.shape}", cure="put the examples in rows"
        )
    csr = sparse.csr_array(matrix)
    csr.sum_duplicates()
    return csr


def read_sparse_npz(path: Path) -> Sparse | None:
    """The matrix of a file of `scipy.sparse.save_npz`; None if it is another archive.

    Raises:
        DataError: The file is damaged.
    """
    content = read_bytes(path)
    if not _holds_a_sparse_matrix(content):
        return None
    try:
        return Sparse(_csr(sparse.load_npz(io.BytesIO(content))))
    except DataError:
        raise
    except Exception as error:
        raise damaged(path, "a complete archive of a sparse matrix (.npz)", error) from None


def _holds_a_sparse_matrix(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {"format.npy", "shape.npy", "data.npy"} <= set(archive.namelist())
    except zipfile.BadZipFile:
        return False


def read_mtx(path: Path) -> Sparse:
    """The matrix of a Matrix Market file, one example in each row.

    Raises:
        DataError: The file is damaged.
    """
    mmread = importlib.import_module("scipy.io").mmread
    try:
        return Sparse(_csr(mmread(io.BytesIO(read_bytes(path)), spmatrix=False)))
    except DataError:
        raise
    except Exception as error:
        raise damaged(path, "a complete Matrix Market file (.mtx)", error) from None


@extras()
def read_hdf5(path: Path) -> Sparse:
    """The matrix of an .h5ad file (X, with what is known of cells in obs), or of a .loom file.

    anndata itself needs pandas and a dozen other packages; the format is a few groups of HDF5.

    Raises:
        DataError: The file has another format, or is damaged.
        MissingExtra: h5py is not installed.
    """
    name, words = content_of(read_bytes(path))
    if name != "hdf5":
        raise wrong_content(path, "an HDF5 file (.h5ad, .loom)", words)
    h5py = importlib.import_module("h5py")
    try:
        with h5py.File(path, "r") as file:
            if "X" in file:
                known = _frame(file["obs"]) if "obs" in file else {}
                names = _index(file["var"]) if "var" in file else None
                return _checked(Sparse(_matrix(file["X"]), names, known), path)
            if "matrix" in file:
                return _checked(_loom(file), path)
    except _BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise damaged(path, "a complete .h5ad or .loom file", error) from None
    raise DataError(
        expected=f"X (.h5ad) or matrix (.loom) in {path}", got=f"an HDF5 file with {quoted(_groups(path))}",
        cure="write it with anndata or loompy, or give a scipy sparse matrix",
    )  # fmt: skip


def _groups(path: Path) -> list[str]:
    with importlib.import_module("h5py").File(path, "r") as file:
        return list(file)


def _checked(loaded: Sparse, path: Path) -> Sparse:
    """The matrix if what is said of its rows and columns has their number."""
    rows, columns = loaded.matrix.shape
    if loaded.names is not None and len(loaded.names) != columns:
        raise damaged(path, f"{columns} names of columns", f"{len(loaded.names)}")
    if wrong := [name for name, values in loaded.known.items() if len(values) != rows]:
        raise damaged(path, f"{rows} values of {wrong[0]}", f"{len(loaded.known[wrong[0]])}")
    return loaded


def _matrix(node: Any) -> sparse.csr_array:
    """A matrix of anndata: a dense dataset, or a group of data, indices and indptr."""
    if hasattr(node, "dtype"):
        return _by_blocks(node, transposed=False)
    kind = node.attrs.get("encoding-type", b"csr_matrix")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    shape = tuple(int(length) for length in node.attrs.get("shape", node.attrs.get("h5sparse_shape")))
    parts = (node["data"][:], node["indices"][:], node["indptr"][:])
    made = sparse.csc_array(parts, shape=shape) if kind.startswith("csc") else sparse.csr_array(parts, shape=shape)
    made.check_format(full_check=True)
    return _csr(made)


VALUES_AT_ONCE = 1 << 24


def _by_blocks(node: Any, *, transposed: bool) -> sparse.csr_array:
    """A dense dataset of HDF5 as a sparse matrix, of which only a block is dense at a time."""
    step = max(1, VALUES_AT_ONCE // max(1, node.shape[1]))
    blocks = [sparse.csr_array(node[start : start + step]) for start in range(0, node.shape[0], step)]
    whole = sparse.vstack(blocks, format="csr") if blocks else sparse.csr_array(node.shape)
    return _csr(whole.T if transposed else whole)


def _loom(file: Any) -> Sparse:
    """Loom has genes in rows, and what is known of cells and genes in groups of datasets."""
    known = {name: _text(node[:]) for name, node in file.get("col_attrs", {}).items() if len(node.shape) == 1}
    rows = file.get("row_attrs", {})
    names = next((_text(rows[name][:]) for name in ("Gene", "gene", "Accession") if name in rows), None)
    return Sparse(
        _by_blocks(file["matrix"], transposed=True), None if names is None else _different(names), known
    )  # fmt: skip


def _frame(group: Any) -> dict[str, np.ndarray]:
    """The columns of a frame of anndata that hold numbers, text or categories."""
    if hasattr(group, "dtype"):  # anndata before 0.7: one dataset of records
        return {name: _text(group[name]) for name in group.dtype.names or ()}
    index = _attribute(group, "_index")
    names = [name for name in group if name not in {index, "__categories"}]
    columns = {name: _column(group, name) for name in names}
    return {name: values for name, values in columns.items() if values is not None}


def _column(group: Any, name: str) -> np.ndarray | None:
    node = group[name]
    if not hasattr(node, "dtype"):  # a categorical: a group of codes and categories
        return _of_codes(node["codes"][:], _text(node["categories"][:])) if "codes" in node else None
    values = node[:]
    older = group.get("__categories")
    if older is not None and name in older:
        return _of_codes(values, _text(older[name][:]))
    return _text(values) if values.ndim == 1 else None


def _of_codes(codes: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """Categories by their codes; a code of -1 is a missing one, an empty text."""
    if (codes < 0).any():
        categories = np.append(categories.astype(str), "")
    return categories[codes]


def _index(group: Any) -> tuple[str, ...] | None:
    """The names of the rows of a frame of anndata."""
    if hasattr(group, "dtype"):
        return _different(_text(group["index"])) if "index" in (group.dtype.names or ()) else None
    index = _attribute(group, "_index")
    return _different(_text(group[index][:])) if index in group else None


def _attribute(group: Any, name: str) -> str:
    value = group.attrs.get(name, "index")
    return value.decode() if isinstance(value, bytes) else str(value)


def _text(values: np.ndarray) -> np.ndarray:
    """Numbers unchanged, bytes and objects as text."""
    if values.dtype.kind in "OS":
        return np.asarray([value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()])
    return values


def _different(names: np.ndarray) -> tuple[str, ...] | None:
    """Names of columns; None if two are equal, as columns are then told by their place."""
    texts = tuple(map(str, names.tolist()))
    return texts if len(set(texts)) == len(texts) else None


def dense(values: Num[np.ndarray, "n d"] | sparse.csr_array) -> Num[np.ndarray, "n d"]:
    """A few rows as an array."""
    return values.toarray() if isinstance(values, sparse.csr_array) else values
