"""Labels from files of their own."""

import numpy as np
import pytest

from reparax.data import read
from reparax.errors import DataError


@pytest.fixture
def labeled(tmp_path):
    def read_with(content, name="labels.csv"):
        path = tmp_path / name
        if isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_text(content)
        return read(np.eye(3), label=path).labels

    return read_with


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("1\n2\n3\n", [1, 2, 3]),
        ("kind\n1\n2\n3\n", [1, 2, 3]),
        ("x\ny\nz\n", ["x", "y", "z"]),
        ("kind\nx\ny\nz\n", ["x", "y", "z"]),
        ("kind\nx\n\nz\n", ["x", "", "z"]),
        ("0.5\n1\n2\n", [0.5, 1, 2]),
    ],
)
def test_text(labeled, content, labels):
    assert labeled(content).tolist() == labels


def test_npy(labeled):
    assert labeled(np.array([[3], [1], [2]]), "a.npy").tolist() == [3, 1, 2]
    assert labeled(np.array(["x", "y", "z"]), "a.npy").tolist() == ["x", "y", "z"]
    assert labeled(np.array([True, False, True]), "a.npy").tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("1\n2\n", "a.csv", "one label for each of the 3"),
        ("1\n2\n3\n4\n", "a.csv", "one label for each of the 3"),
        ("1,2\n3,4\n5,6\n", "a.csv", "2 columns"),
        (np.ones(4), "a.npy", r"shape \(4,\)"),
        (np.ones(3) * 1j, "a.npy", "dtype complex"),
    ],
)
def test_refused(labeled, content, name, message):
    with pytest.raises(DataError, match=message):
        labeled(content, name)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="nothing there"):
        read(np.eye(3), label=tmp_path / "labels.npy")


def test_labels_from_a_file_beside_tables_and_archives(tmp_path):
    np.save(tmp_path / "labels.npy", np.array([7, 8]))
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n")
    np.savez(tmp_path / "a.npz", X=np.eye(2))
    np.save(tmp_path / "a.npy", np.eye(2))
    for name in ("a.csv", "a.npz", "a.npy"):
        dataset = read(tmp_path / name, label=tmp_path / "labels.npy")
        assert dataset.labels.tolist() == [7, 8]
        assert dataset.schema.label is None
