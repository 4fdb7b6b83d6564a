"""Sparse matrices: read from memory and files, described as the dense ones are, and never made dense as a whole."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import io, sparse

from reparax.data import SparseRows, from_array, read, read_as, split
from reparax.data.sparse import moments_of
from reparax.errors import DataError

h5py = pytest.importorskip("h5py")

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(RNG.gamma(0.3, 1.0, 30), (50, 30))
NAMES = [f"gene {index}" for index in range(30)]
BATCH = RNG.integers(0, 2, 50)
KIND = RNG.choice(["t cell", "b cell"], 50)


def write_matrix(group, matrix):
    for name in ("data", "indices", "indptr"):
        group.create_dataset(name, data=getattr(matrix, name))
    group.attrs["encoding-type"] = "csr_matrix" if matrix.format == "csr" else "csc_matrix"
    group.attrs["shape"] = matrix.shape


def write_h5ad(path, matrix=COUNTS, names=NAMES, form="csr"):
    """A file as anndata 0.8 and later write it: https://anndata.readthedocs.io/en/latest/fileformat-prose.html."""
    with h5py.File(path, "w") as file:
        if form == "dense":
            file.create_dataset("X", data=matrix.astype(np.float32))
        else:
            write_matrix(file.create_group("X"), sparse.csr_array(matrix).asformat(form))
        for name, index in (("obs", [f"cell {row}" for row in range(len(matrix))]), ("var", names)):
            frame = file.create_group(name)
            frame.attrs["_index"] = "_index"
            frame.create_dataset("_index", data=np.asarray(index, object), dtype=h5py.string_dtype())
        file["obs"].create_dataset("batch", data=BATCH)
        kind = file["obs"].create_group("kind")
        categories, codes = np.unique(KIND, return_inverse=True)
        kind.create_dataset("categories", data=categories.astype(object), dtype=h5py.string_dtype())
        kind.create_dataset("codes", data=codes.astype(np.int8))


def write_loom(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=COUNTS.T)
        file.create_group("col_attrs").create_dataset("batch", data=BATCH)
        genes = np.asarray(NAMES, object)
        file.create_group("row_attrs").create_dataset("Gene", data=genes, dtype=h5py.string_dtype())


def source(form, folder):
    path = folder / f"cells.{form.rpartition(' ')[2]}"
    if form.endswith("h5ad"):
        write_h5ad(path, form=form.partition(" ")[0])
    elif form == "loom":
        write_loom(path)
    elif form == "npz":
        sparse.save_npz(path, sparse.csc_array(COUNTS))
    elif form == "mtx":
        io.mmwrite(path, sparse.coo_array(COUNTS))
    elif form == "mtx.gz":
        io.mmwrite(folder / "cells.mtx", sparse.coo_array(COUNTS))
        path = folder / "cells.mtx.gz"
        path.write_bytes(gzip.compress((folder / "cells.mtx").read_bytes()))
    else:
        return {"csr": sparse.csr_matrix, "csc": sparse.csc_array, "coo": sparse.coo_array}[form](COUNTS)
    return path


FORMS = ("csr h5ad", "csc h5ad", "dense h5ad", "loom", "npz", "mtx", "mtx.gz", "csr", "csc", "coo")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_matrix_of_counts(form, tmp_path):
    dataset = read(source(form, tmp_path))
    assert dataset.is_sparse
    assert len(dataset) == 50
    assert dataset.schema.value_kind == "counts"
    np.testing.assert_array_equal(dataset.values.toarray(), COUNTS)
    dense = from_array(COUNTS).schema
    for name in ("low", "high", "mean", "std", "event_shape", "num_examples", "dtype"):
        assert getattr(dataset.schema, name) == pytest.approx(getattr(dense, name)), name
    if "h5ad" in form or form == "loom":
        assert dataset.schema.names == tuple(NAMES)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), shape=st.tuples(st.integers(1, 12), st.integers(1, 9)), full=st.floats(0, 1),
       whole=st.booleans())  # fmt: skip
def test_moments_and_padded_rows_are_those_of_the_dense_matrix(seed, shape, full, whole):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape[1]) * (rng.random(shape) < full)
    matrix = np.rint(matrix) if whole else matrix.astype(np.float32)
    found = moments_of(sparse.csr_array(matrix))
    np.testing.assert_array_equal(found.low, matrix.min(axis=0))
    np.testing.assert_array_equal(found.high, matrix.max(axis=0))
    np.testing.assert_allclose(found.mean, matrix.mean(axis=0, dtype=np.float64), rtol=1e-9, atol=1e-12)
    constant = matrix.min(axis=0) == matrix.max(axis=0)
    expected = np.where(constant, 1.0, matrix.std(axis=0, dtype=np.float64))
    np.testing.assert_allclose(found.std, expected, rtol=1e-7, atol=1e-12)
    rows = SparseRows.of(sparse.csr_array(matrix))
    again = np.zeros((shape[0], shape[1] + 1), np.float32)
    np.add.at(again, (np.arange(shape[0])[:, None], rows.places), rows.numbers)
    np.testing.assert_array_equal(again[:, :-1], matrix.astype(np.float32))


def test_splits_and_takes_stay_sparse():
    part, rest = split(read(sparse.csr_array(COUNTS)), 0.2, 0)
    dense, _ = split(from_array(COUNTS), 0.2, 0)
    assert (part.is_sparse, len(part), len(rest)) == (True, 40, 10)
    np.testing.assert_array_equal(part.values.toarray(), dense.values)
    assert part.schema.mean == pytest.approx(dense.schema.mean)
    assert part.schema.std == pytest.approx(dense.schema.std)


def test_what_is_known_of_cells_is_given_or_labels_them(tmp_path):
    path = source("csr h5ad", tmp_path)
    dataset = read(path, given=["batch", "kind"], label="kind")
    assert [column.name for column in dataset.schema.given_columns] == ["batch", "kind"]
    assert [column.kind for column in dataset.schema.given_columns] == ["binary", "binary"]
    np.testing.assert_array_equal(dataset.labels, KIND)
    again = read_as(path, dataset.schema)
    np.testing.assert_array_equal(again.conditions.values, dataset.conditions.values)
    with pytest.raises(DataError, match="donor"):
        read(path, given=["donor"])
    with pytest.raises(DataError, match="batch, kind"):
        read(path, label="donor")


def test_columns_are_matched_by_name(tmp_path):
    path, other = source("csr h5ad", tmp_path), tmp_path / "other.h5ad"
    order = RNG.permutation(30)
    write_h5ad(other, COUNTS[:, order], [NAMES[place] for place in order])
    schema = read(path).schema
    np.testing.assert_array_equal(read_as(other, schema).values.toarray(), COUNTS)
    write_h5ad(other, COUNTS, ["another", *NAMES[1:]])
    with pytest.raises(DataError, match="gene 0"):
        read_as(other, schema)


@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [(COUNTS > 0, "binary", "uint8"), (COUNTS - 2, "integer", "int32"), (COUNTS / 7, "real", "float32")],
)
def test_other_values(values, kind, dtype):
    schema = read(sparse.csr_array(values)).schema
    assert (schema.value_kind, schema.dtype) == (kind, dtype)


def test_damaged_and_unusual_files_are_sentences(tmp_path):
    path = source("csr h5ad", tmp_path)
    content = path.read_bytes()
    for damage in (content[:100], content[: len(content) // 2], b"not hdf5 at all"):
        path.write_bytes(damage)
        with pytest.raises(DataError):
            read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("other", data=[1])
    with pytest.raises(DataError, match=r"X \(.h5ad\)"):
        read(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        write_matrix(group, sparse.csr_array(COUNTS))
        group["indices"][0] = 99
    with pytest.raises(DataError, match="h5ad"):
        read(path)
    (tmp_path / "bad.mtx").write_text("%%MatrixMarket matrix\n1 2")
    with pytest.raises(DataError, match="Matrix Market"):
        read(tmp_path / "bad.mtx")
    with pytest.raises(DataError, match="finite"):
        read(sparse.csr_array(np.where(COUNTS == 0, 0, np.inf)))
    with pytest.raises(DataError, match="at least one example"):
        read(sparse.csr_array((0, 3)))
    with pytest.raises(DataError, match="table"):
        read(sparse.csr_array(COUNTS), exclude=["gene 0"])


def test_tables_that_are_no_sparse_archives_are_still_read(tmp_path):
    np.savez(tmp_path / "plain.npz", X=COUNTS)
    assert not read(tmp_path / "plain.npz").is_sparse
