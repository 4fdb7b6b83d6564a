"""Writing: formats by suffix, all or nothing."""

import errno
import os
import stat
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reparax.data import check_output, grid, read, write
from reparax.disk import atomic_write
from reparax.errors import DataError, OutputError

ROWS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_rows_round_trip(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    write(path, ROWS)
    dataset = read(path)
    np.testing.assert_array_equal(dataset.values, ROWS)
    assert dataset.schema.names == (("column_0", "column_1", "column_2") if suffix in {"csv", "parquet"} else None)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_names_of_columns(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    table = read(pl.DataFrame({"a": [1.5, 2], "b, c": [3, 4]}))
    write(path, table.values, schema=table.schema)
    assert read(path).schema.names == ("a", "b, c")
    write(path, table.values, names=["x", "y"])
    assert read(path).schema.names == ("x", "y")
    for names in (["x"], ["x", "x"], ["x", "y", "z"]):
        with pytest.raises(DataError, match="2 different names"):
            write(path, table.values, names=names)


def test_named_arrays(tmp_path):
    arrays = {"log_density": ROWS[:, 0], "mean": ROWS[:, 1:], "id": np.array(list("abcdefg"))}
    write(tmp_path / "a.csv", arrays)
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "log_density,mean_0,mean_1,id"
    write(tmp_path / "a.parquet", arrays)
    assert pl.read_parquet(tmp_path / "a.parquet")["id"].to_list() == list("abcdefg")
    write(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["mean"], ROWS[:, 1:])
    del arrays["id"]
    write(tmp_path / "a.npy", arrays)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), ROWS)


def test_images_as_rows_and_as_they_are(tmp_path):
    digits = read("builtin:digits")
    write(tmp_path / "a.csv", digits.values[:5], schema=digits.schema)
    np.testing.assert_array_equal(read(tmp_path / "a.csv").values, digits.values[:5].reshape(5, 64))
    write(tmp_path / "a.npy", digits.values[:5], schema=digits.schema)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), digits.values[:5])
    write(tmp_path / "a.png", digits.values[:6], schema=digits.schema)
    with Image.open(tmp_path / "a.png") as image:
        picture = np.asarray(image)
    np.testing.assert_array_equal(picture, grid(digits.values[:6], high=16))


@pytest.mark.parametrize(
    "values", [{}, {"a": np.ones(3), "b": np.ones(4)}, np.array(3.0)], ids=["none", "uneven", "one"]
)
def test_arrays_that_are_no_rows(tmp_path, values):
    with pytest.raises(DataError, match="all of one length"):
        write(tmp_path / "a.csv", values)


def test_a_table_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="write tables as csv"):
        write(tmp_path / "a.png", ROWS)


def test_grid_lays_images_out_in_rows():
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 100, 100), np.uint8)
    picture = grid(images, columns=3)
    assert picture.shape == (201, 302)
    assert [picture[50, 50], picture[50, 151], picture[50, 252], picture[151, 50], picture[151, 151]] == [0, 1, 2, 3, 4]
    assert (picture[100] == 128).all()
    assert (picture[:, 100] == 128).all()
    assert (picture[101:, 202:] == 128).all()


def test_grid_enlarges_tiny_images_and_scales_values():
    picture = grid(np.array([[[[-5.0], [0.5], [2.0]]]]), low=0, high=1)
    assert picture.shape == (22, 66)
    assert picture[0, [0, 22, 44]].tolist() == [0, 128, 255]
    assert grid(np.zeros((400, 8, 8))).shape == (20 * 65 - 1, 20 * 65 - 1)
    assert max(grid(np.zeros((10_000, 8, 8))).shape) <= 2100
    assert grid(np.zeros((4, 70, 70, 3))).shape == (141, 141, 3)
    transparent = grid(np.zeros((3, 70, 70, 4)))
    assert transparent.shape == (141, 141, 4)
    assert (transparent[71:, 71:, 3] == 255).all()


@pytest.mark.parametrize(
    ("images", "high", "message"),
    [
        (np.ones((3, 4)), 1, "write tables as csv"),
        (np.ones((3, 4, 4, 2)), 1, "1, 3 or 4 channels"),
        (np.ones((0, 4, 4)), 1, "got an array of shape"),
        (np.full((2, 4, 4), np.nan), 1, "NaN or infinity"),
        (np.ones((2, 4, 4)), 0, "the range 0 to 0"),
    ],
)
def test_no_grid(images, high, message):
    with pytest.raises(DataError, match=message):
        grid(images, high=high)


def test_unknown_suffix(tmp_path):
    with pytest.raises(OutputError, match=r"\.npy, \.npz, \.csv, \.tsv, \.parquet, \.feather, \.arrow, \.xlsx, \.png"):
        write(tmp_path / "a.docx", ROWS)


def test_outputs_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="mkdir -p"):
        check_output(tmp_path / "no" / "a.csv", (".csv",))
    with pytest.raises(OutputError, match="mkdir -p"):
        check_output(tmp_path / "file" / "a.csv", (".csv",))
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(OutputError, match="got the folder"):
        check_output(tmp_path / "a.csv", (".csv",))
    with pytest.raises(OutputError, match="got the file"):
        check_output(tmp_path / "file", ())
    check_output(tmp_path / "model", ())
    check_output(tmp_path / "b.CSV", (".csv",))
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "file"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(tmp_path, os.W_OK):
        tmp_path.chmod(stat.S_IRWXU)
        pytest.skip("the superuser may write anywhere")
    try:
        with pytest.raises(OutputError, match="may write to"):
            write(tmp_path / "a.csv", ROWS)
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_permission_denied(tmp_path, monkeypatch):
    def refuse(self, **_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    for write_something in (
        lambda: check_output(tmp_path / "a.csv", (".csv",)),
        lambda: write(tmp_path / "a.csv", ROWS),
    ):
        with pytest.raises(OutputError, match="Permission denied; choose a folder you may write to"):
            write_something()


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    write(tmp_path / "a.csv", ROWS)
    before = (tmp_path / "a.csv").read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="got a full disk; free some space"):
        write(tmp_path / "a.csv", ROWS * 2)
    assert (tmp_path / "a.csv").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet", "png"])
def test_a_write_that_fails_midway(tmp_path, suffix):
    pytest.importorskip("resource")
    code = f"""
import resource, signal, sys
import numpy as np
from reparax.data import write
from reparax.errors import OutputError
write({str(tmp_path / f"warm.{suffix}")!r}, np.zeros((2, 2, 2)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write({str(tmp_path / f"a.{suffix}")!r}, np.random.default_rng(0).random((10, 100, 100)))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"expected to write {tmp_path}" in done.stdout
    assert os.listdir(tmp_path) == [f"warm.{suffix}"]


def test_interruption_leaves_nothing(tmp_path):
    def interrupted():
        with atomic_write(tmp_path / "a.txt") as file:
            file.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_atomic_folders(tmp_path):
    for text in ("first", "second"):
        with atomic_write(tmp_path / "model") as folder:
            folder.unlink()
            (folder / "deep").mkdir(parents=True)
            (folder / "deep" / "a.txt").write_text(text)
        assert (tmp_path / "model" / "deep" / "a.txt").read_text() == text
        assert os.listdir(tmp_path) == ["model"]


def test_a_folder_whose_replacement_fails_stays(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.txt").write_text("first")
    replace, calls = os.replace, []

    def fail_once(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return replace(source, target)

    monkeypatch.setattr("reparax.disk._exchanged", lambda one, other: False)
    monkeypatch.setattr("pathlib.Path.replace", fail_once)

    def rewrite():
        with atomic_write(tmp_path / "model") as folder:
            folder.unlink()
            folder.mkdir()

    with pytest.raises(OutputError, match="Input/output error"):
        rewrite()
    assert (tmp_path / "model" / "a.txt").read_text() == "first"
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_permissions_and_links_are_as_of_an_ordinary_write(tmp_path):
    (tmp_path / "plain").write_text("")
    write(tmp_path / "a.csv", ROWS)
    assert (tmp_path / "a.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    write(tmp_path / "link.csv", ROWS * 2)
    assert (tmp_path / "link.csv").is_symlink()
    np.testing.assert_array_equal(read(tmp_path / "a.csv").values, ROWS * 2)
