"""Arrays, .npy, .npz, IDX and the bundled sets: what is told of them, and what is refused."""

import gzip
import os
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from sklearn.datasets import load_digits

from reparax.data import BUILTIN, read
from reparax.errors import DataError


def idx_bytes(array, code):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def images(shape, low=0, high=255, seed=0):
    return np.random.default_rng(seed).integers(low, high + 1, shape)


@pytest.mark.parametrize(
    ("array", "kind", "value_kind", "dtype", "event_shape"),
    [
        (np.array([[1.5, 2], [3, 4]]), "table", "real", "float32", (2,)),
        (np.array([[1.0, 2], [3, 4]]), "table", "integer", "int32", (2,)),
        (np.array([[0.0, 1], [1, 1]]), "table", "binary", "uint8", (2,)),
        (np.array([[True], [False]]), "table", "binary", "uint8", (1,)),
        (np.array([[1, 2]], np.uint8), "table", "integer", "int32", (2,)),
        (np.ones((2, 3), np.float16) / 3, "table", "real", "float32", (3,)),
        (images((5, 6, 7)).astype(float), "images", "integer", "uint8", (6, 7, 1)),
        (images((5, 6, 7), high=1), "images", "binary", "uint8", (6, 7, 1)),
        (images((5, 6, 7), high=4000), "images", "integer", "uint16", (6, 7, 1)),
        (images((5, 6, 7), low=-9), "images", "integer", "int32", (6, 7, 1)),
        (images((5, 6, 7, 3)), "images", "integer", "uint8", (6, 7, 3)),
        (images((5, 32, 32, 12)), "images", "integer", "uint8", (32, 32, 12)),
        (images((5, 6, 7, 3)) / 255, "images", "real", "float32", (6, 7, 3)),
        (images((2, 2, 3, 4, 5)), "array", "integer", "int32", (2, 3, 4, 5)),
    ],
)
def test_kind_and_dtype_are_told_from_the_values(array, kind, value_kind, dtype, event_shape):
    dataset = read(array)
    schema = dataset.schema
    assert (schema.kind, schema.value_kind, schema.dtype) == (kind, value_kind, dtype)
    assert schema.event_shape == event_shape == dataset.values.shape[1:]
    assert dataset.values.dtype == dtype
    np.testing.assert_array_equal(dataset.values.ravel(), array.ravel().astype(dtype))


@pytest.mark.parametrize(
    ("array", "bounds"),
    [
        (images((9, 4, 4), high=9).astype(np.uint8), (0, 255)),
        (images((9, 4, 4), high=16).astype(float), (0, 16)),
        (images((9, 4, 4), high=255).astype(np.int64), (0, 255)),
        (images((9, 4, 4), high=4000), (0, 4095)),
        (images((9, 4, 4)) / 999, (0, 1)),
        (images((9, 4, 4), high=1), (0, 1)),
        (images((9, 4, 4), low=-3, high=3), (-3, 3)),
        (images((9, 4, 4)) / 2 + 0.25, (0.25, 127.75)),
    ],
)
def test_bounds_of_images(array, bounds):
    schema = read(array).schema
    assert (schema.low, schema.high) == bounds


def test_channels_first_is_read_only_where_nothing_else_is_possible():
    array = images((5, 3, 8, 9))
    dataset = read(array)
    np.testing.assert_array_equal(dataset.values, np.moveaxis(array, 1, -1))
    assert "channels, height, width" in dataset.notes[0]
    assert read(images((5, 3, 8, 4))).values.shape == (5, 3, 8, 4)


def test_large_close_values_stay_in_float64():
    dataset = read(np.array([[1.7e9 + 0.5, 0.1], [1.7e9 + 1, 0.2], [1.7e9 + 3, 0.4]]))
    assert dataset.values.dtype == np.float64
    assert "float64" in dataset.notes[0]
    assert read(np.array([[0.1, 5.0], [0.1, 6.5]])).values.dtype == np.float32


def test_whole_numbers_that_float32_does_not_carry_are_real():
    assert read(np.array([[2**24], [5]])).schema.value_kind == "integer"
    dataset = read(np.array([[2**24 + 1], [5]]))
    assert dataset.schema.value_kind == "real"
    assert "treated as real" in dataset.notes[0]


@pytest.mark.parametrize("spread", [100, 10**5, 10**9])
@pytest.mark.parametrize("start", [2**53 + 1, 2**60, -(2**62), 2**63 + 5])
def test_whole_numbers_that_floats_merge_are_refused_and_others_are_read(start, spread):
    """Against the exact rounding errors in Python's whole numbers."""
    exact = [start + int(each) for each in np.random.default_rng(0).integers(0, spread, 300)]
    column = np.array(exact, np.uint64 if start > 2**63 else np.int64)
    lost = max(abs(int(float(each)) - each) for each in exact)
    array = np.stack([column, np.arange(300, dtype=column.dtype)], axis=1)
    if lost > 1e-4 * np.std([each - start for each in exact]):
        with pytest.raises(DataError, match=rf"up to 2\*\*53.*; got {min(exact)} to {max(exact)} in column 'column_0'"):
            read(array)
        with pytest.raises(DataError, match=rf"up to 2\*\*53.*; got {min(map(int, array.flat))} to "):
            read(array.reshape(300, 1, 2))
    else:
        assert read(array.reshape(300, 1, 2)).values.dtype.kind == "f"
        assert read(array).schema.columns[0].std == pytest.approx(np.std([each - start for each in exact]), rel=1e-3)
    assert read(array, exclude=["column_0"]).schema.event_shape == (1,)
    assert read(array, schema={"column_0": "categorical"}).schema.columns[0].kind == "categorical"
    assert read(array - array.min(axis=0)).schema.columns[0].mean == pytest.approx(
        np.mean([each - min(exact) for each in exact])
    )


def test_reading_neither_copies_into_nor_freezes_the_users_array():
    array = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    dataset = read(array)
    assert not dataset.values.flags.writeable
    assert array.flags.writeable
    assert read(dataset) is dataset


def test_large_half_precision_pixels_are_read():
    pixels = np.arange(50_000, 65_504, 512).astype(np.float16).reshape(-1, 1, 1)
    np.testing.assert_array_equal(read(pixels).values[..., 0], pixels)  # warnings are errors here


def test_zip_archives_without_arrays(tmp_path):
    for name in ("a.zip", "model.pt"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.csv", "a,b\n1,2\n")
        with pytest.raises(DataError, match="got one without any array"):
            read(tmp_path / name)


def test_lists_and_array_likes_are_read():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return np.eye(3)

    np.testing.assert_array_equal(read([[1, 2], [3, 4]]).values, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(read(Tensor()).values, np.eye(3))


class Sparse:
    def __repr__(self):
        return "Sparse()"

    def toarray(self):
        return np.eye(2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[b"a"]]), "got byte strings"),
        (np.array([[1j]]), "got complex numbers"),
        (np.array([[[None, 1]]], dtype=object), "got Python objects"),
        (np.array([[["a"]]]), "got strings"),
        (np.array([[[1], 1]], dtype=object), "such as '[1]' (list)"),
        (np.array([["2020-01-01"]], dtype="M8[D]"), "got dates"),
        (np.array([[1]], dtype="m8[s]"), "got durations"),
        (np.zeros(3, dtype=[("a", float)]), "got records"),
        (np.zeros((2, 2), ml_dtypes.bfloat16), "got bfloat16; convert them"),
        (np.zeros((2, 2, 2), ml_dtypes.float8_e4m3fn), "got float8_e4m3fn; convert them"),
        ([[1, 2], [3]], "rows of the same length"),
        (None, "got a NoneType"),
        ({"a": [1]}, "got a dict"),
        (Sparse(), "toarray"),
        (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), "masked"),
        (np.arange(3), "reshape"),
        (np.float64(3), "single value"),
        (np.ones((0, 3)), "at least one example; got none"),
        (np.ones((3, 0)), "3 examples of no values"),
        (np.ones((2, 28, 28, 28)), "moveaxis"),
        (np.array([[1.0, np.inf], [-np.inf, np.inf]]), "got 1 infinite value, the first in column 'column_0', row 2"),
        (np.array([[1.0, np.inf], [3.0, np.nan]]), "got 1 infinite value, the first in column 'column_1', row 1"),
        (np.array([[np.nan, np.nan]]), "every cell is missing"),
        (np.full((2, 3, 3), np.nan), "example 1 at"),
        (np.array([[1.0, 1e39]]), "column 'column_1', row 1"),
        (np.array([[1.0], [-3e38]], np.float32), "-3e+38"),
    ],
    ids=str,
)
def test_refused(array, message):
    with pytest.raises(DataError, match=r"^expected .*; got .*; .") as caught:
        read(array)
    assert message in str(caught.value)


def test_constant_columns_are_noted_and_have_unit_standard_deviation():
    dataset = read(np.array([[0.1, 1.5, 7], [0.1, 2.5, 7], [0.1, 3, 7]]))
    assert dataset.schema.std[0] == 1
    assert dataset.schema.std[2] == 1
    assert dataset.notes == (
        "constant columns carry no information; their standard deviation is set to 1: 'column_0', 'column_2'",
    )
    assert "every pixel of every image is 3" in read(np.full((4, 2, 2), 3)).notes[0]
    assert "8 of 8 dimensions" in read(np.full((4, 1, 2, 2, 2), 3)).notes[0]


def test_dark_8_bit_images_are_noted():
    assert "highest level is 9" in read(images((9, 4, 4), high=9).astype(np.uint8)).notes[0]


def test_moments_are_exact():
    values = np.random.default_rng(0).normal(3, 2, (1000, 3))
    schema = read(values).schema
    np.testing.assert_allclose(schema.mean, values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(schema.std, values.std(axis=0), rtol=1e-6)
    pictures = images((50, 6, 6))
    assert read(pictures).schema.mean == pytest.approx(pictures.mean(), rel=1e-12)
    assert read(pictures).schema.std == pytest.approx(pictures.std(), rel=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path, order):
    array = np.asarray(np.random.default_rng(0).normal(size=(5, 3)), order=order)
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read(tmp_path / "a.npy").values, array.astype(np.float32))
    np.testing.assert_array_equal(read(str(tmp_path / "a.npy")).values, array.astype(np.float32))


def test_npy_is_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.save(tmp_path / "a.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", X=np.array([[Bomb()]], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="never done"):
            read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("cut", [3, 9, 60, 140, -1])
def test_truncated_npy(tmp_path, cut):
    np.save(tmp_path / "a.npy", np.eye(5))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:cut])
    with pytest.raises(DataError):
        read(tmp_path / "a.npy")


def test_npy_whose_header_claims_more_than_the_memory_of_the_world(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(3))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(3, 3), ", b"(3" + b"0" * 5 + b",),", 1)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match="cut short"):
        read(tmp_path / "a.npy")


def test_npz_finds_values_and_labels(tmp_path):
    X, y = np.eye(3) + 0.5, np.array([2, 0, 1])
    np.savez(tmp_path / "a.npz", X=X, y=y, other=X)
    dataset = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.values, X)
    np.testing.assert_array_equal(dataset.labels, y)
    assert dataset.schema.label == "y"
    assert "not read: other" in dataset.notes[0]
    np.savez_compressed(tmp_path / "b.npz", anything=X, kind=np.array(["a", "b", "c"])[:, None])
    dataset = read(tmp_path / "b.npz", label="kind")
    np.testing.assert_array_equal(dataset.labels, ["a", "b", "c"])
    np.testing.assert_array_equal(dataset.values, X)


def test_npz_that_leaves_doubt(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.eye(2), x_test=np.eye(2))
    with pytest.raises(DataError, match=r"x_train, x_test; save the values under the name X"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", X=np.eye(2), y=np.arange(2))
    with pytest.raises(DataError, match="labels called 'z'"):
        read(tmp_path / "b.npz", label="z")
    np.savez(tmp_path / "c.npz", X=np.eye(2), y=np.arange(3))
    assert read(tmp_path / "c.npz").labels is None
    with pytest.raises(DataError, match="one label for each of the 2"):
        read(tmp_path / "c.npz", label="y")


def test_truncated_npz(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.eye(50))
    content = (tmp_path / "a.npz").read_bytes()
    for end in (10, 1000, len(content) - 3):
        (tmp_path / "a.npz").write_bytes(content[:end])
        with pytest.raises(DataError, match="cut short"):
            read(tmp_path / "a.npz")
    flipped = bytearray(content)
    flipped[500] ^= 255
    (tmp_path / "a.npz").write_bytes(flipped)
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "a.idx", "t10k-images-idx3-ubyte.gz", "a.idx.gz"])
def test_idx(tmp_path, name):
    array = images((4, 5, 6)).astype(np.uint8)
    content = idx_bytes(array, 8)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    (tmp_path / "labels").write_bytes(idx_bytes(np.arange(4, dtype=np.uint8), 8))
    dataset = read(tmp_path / name, label=tmp_path / "labels")
    np.testing.assert_array_equal(dataset.values[..., 0], array)
    np.testing.assert_array_equal(dataset.labels, range(4))
    assert dataset.schema.high == 255


@pytest.mark.parametrize(("code", "dtype"), [(9, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_idx_of_other_dtypes(tmp_path, code, dtype):
    array = np.array([[1, -2], [3, 4]], dtype)
    (tmp_path / "a.idx").write_bytes(idx_bytes(array, code))
    np.testing.assert_array_equal(read(tmp_path / "a.idx").values, array)


def test_damaged_idx(tmp_path):
    content = idx_bytes(images((4, 5, 6)).astype(np.uint8), 8)
    for damaged in (content[:-1], content + b"\0", content[:9], content[:4]):
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(DataError, match="complete IDX file"):
            read(tmp_path / "a")
    (tmp_path / "a.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(DataError, match="complete gzipped file"):
        read(tmp_path / "a.gz")
    (tmp_path / "a.idx").write_bytes(b"\0\0\x0a\x01\0\0\0\0")
    with pytest.raises(DataError, match="by the name"):
        read(tmp_path / "a.idx")


def test_idx_labels_given_as_the_data(tmp_path):
    (tmp_path / "a.idx").write_bytes(idx_bytes(np.arange(4, dtype=np.uint8), 8))
    with pytest.raises(DataError, match="--label"):
        read(tmp_path / "a.idx")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", "an empty file"),
        ("a.npy", b"1,2,3", "right suffix"),
        ("a.npz", b"\x93NUMPY", "got a NumPy array"),
        ("a.csv", b"PAR1....", "got a Parquet file"),
        ("a.parquet", b"PK\x03\x04", "got a zip archive"),
        ("a.dat", b"hello", "convert the data"),
        ("a.png", b"\x89PNG", "put the images in a folder"),
    ],
)
def test_wrong_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_missing_file_suggests_near_names(tmp_path):
    np.save(tmp_path / "table.npy", np.eye(2))
    with pytest.raises(DataError, match=r"did you mean table\.npy\?"):
        read(tmp_path / "tabel.npy")
    with pytest.raises(DataError, match="check the path"):
        read(tmp_path / "nowhere" / "a.npy")


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    np.save(tmp_path / "a.npy", np.eye(2))
    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        read(tmp_path / "a.npy")


def test_suffix_unknown_content_known(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(2))
    (tmp_path / "a.npy").rename(tmp_path / "a.bin")
    np.testing.assert_array_equal(read(tmp_path / "a.bin").values, np.eye(2))


@pytest.mark.parametrize("name", BUILTIN)
def test_builtin(name):
    dataset = read(f"builtin:{name}")
    assert dataset.labels.shape == (len(dataset),)
    if name == "digits":
        assert dataset.values.shape == (1797, 8, 8, 1)
        assert (dataset.schema.low, dataset.schema.high, dataset.schema.value_kind) == (0, 16, "integer")
        bundle = load_digits()
        np.testing.assert_array_equal(dataset.values[..., 0], bundle.images)
        np.testing.assert_array_equal(dataset.labels, bundle.target)
    else:
        assert len(dataset.schema.names) == dataset.values.shape[1]
        assert dataset.schema.value_kind == "real"


def test_unknown_builtin():
    with pytest.raises(DataError, match="builtin:digits, builtin:iris"):
        read("builtin:mnist")


def test_mnist(shared_data):
    folder = shared_data / "mnist"
    dataset = read(folder / "t10k-images-idx3-ubyte.gz", label=folder / "t10k-labels-idx1-ubyte.gz")
    assert dataset.values.shape == (10000, 28, 28, 1)
    assert dataset.values.dtype == np.uint8
    assert np.bincount(dataset.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert dataset.schema.mean / 255 == pytest.approx(0.13251, abs=1e-5)


def test_anomaly_tables(shared_data):
    for path in sorted((shared_data / "adbench").glob("*.npz")):
        dataset = read(path)
        with np.load(path) as archive:
            np.testing.assert_allclose(dataset.values, archive["X"], rtol=1e-6)
            np.testing.assert_array_equal(dataset.labels, archive["y"])
