"""Bytes of a file and what they seem to be; and atomic writing: a reader sees the old file or the new one."""

import difflib
import errno
import gzip
import os
import secrets
import shutil
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reparax.errors import DataError, OutputError

_MAGIC = (
    (b"\x93NUMPY", "npy", "a NumPy array (.npy)"),
    (b"PK\x03\x04", "npz", "a zip archive (.npz)"),
    (b"PAR1", "parquet", "a Parquet file"),
    (b"ARROW1", "arrow", "an Arrow file"),
    (b"FEA1", "arrow", "a Feather file"),
    (b"\xff\xff\xff\xff", "arrow", "an Arrow stream"),
    (b"\x1f\x8b", "gzip", "a gzipped file"),
    (b"\x89PNG", "image", "a PNG image"),
    (b"\xff\xd8\xff", "image", "a JPEG image"),
    (b"GIF8", "image", "a GIF image"),
    (b"\x89HDF", "hdf5", "an HDF5 file"),
    (b"%PDF", "pdf", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "excel", "an Excel workbook"),
)


class LabelNotFoundError(DataError):
    """The data have no column or array of the name given for the labels."""


def read_bytes(path: Path) -> bytes:
    """The content of a file, unzipped where it is gzipped.

    Raises:
        DataError: The file is missing, empty, not readable, or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise DataError(
            expected=f"a readable file {path}",
            got=str(error.strerror or error),
            cure="check the file and its permissions",
        ) from None
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise damaged(path, "a whole gzipped file", error) from None
    if not content:
        raise DataError(expected=f"data in {path}", got="an empty file", cure="check how the file was made")
    return content


def visible_files(folder: Path) -> list[Path]:
    """Every file of a folder and its subfolders that is not hidden, sorted by path."""
    files = [
        file
        for file in folder.rglob("*")
        if not any(part.startswith(".") for part in file.relative_to(folder).parts) and file.is_file()
    ]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def missing(path: Path) -> DataError:
    """The error for a path where nothing is, with near names."""
    near: list[str] = []
    if path.parent.is_dir():
        near = difflib.get_close_matches(path.name, (entry.name for entry in path.parent.iterdir()), n=3)
    cure = f"did you mean {' or '.join(near)}?" if near else "check the path"
    return DataError(expected=f"a file or folder {path}", got="nothing there", cure=cure)


def damaged(path: Path | str, expected: str, why: object) -> DataError:
    """The error for a file that is cut short or damaged."""
    return DataError(
        expected=expected, got=f"{path}, which is damaged or cut short ({why})", cure="make or download the file anew"
    )


def content_of(content: bytes) -> tuple[str, str]:
    """What the first bytes say a file is: a short name, ``"unknown"`` if nothing, and words for people."""
    for magic, name, words in _MAGIC:
        if content.startswith(magic):
            return name, words
    if len(content) >= 4 and content[:2] == b"\0\0" and content[2] in range(8, 15) and content[3] > 0:
        return "idx", "an IDX file"
    return "unknown", "something else"


def wrong_content(path: Path, expected: str, got: str) -> DataError:
    """The error for a file whose suffix and content disagree."""
    return DataError(expected=f"{expected}, by the name of {path}", got=got, cure="give the file its right suffix")


@contextmanager
def atomic_write(path: str | Path) -> Generator[Path]:
    """A file or folder beside ``path`` to write into, which takes the place of ``path`` when the block ends well.

    The block is given an empty file; to write a folder instead, delete the file and make a folder there. What was
    written is flushed to the disk before it is renamed. If the block fails or is interrupted, it is deleted and
    ``path`` stays as it was. Replacing a folder that exists takes two renames, so that for an instant ``path`` is
    absent, but never half-written.

    Args:
        path: What to write or replace; its folder must exist.

    Raises:
        OutputError: The folder does not exist or cannot be written, or the disk is full.
    """
    target = Path(os.path.realpath(Path(path).expanduser()))
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        beside.touch(exist_ok=False)
        yield beside
        _flush(beside)
        _replace(beside, target)
        _flush_folder(target.parent)
    except OutputError:
        raise
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        _delete(beside)


def check_output(path: str | Path, suffixes: Sequence[str]) -> None:
    """Raises `OutputError` unless a file could be written at ``path``; to be asked before long work.

    Args:
        path: The file to be.
        suffixes: The endings that are known, such as ``(".npy", ".csv")``; ``()`` for a folder, whatever its name.

    Raises:
        OutputError: Another suffix, a folder that does not exist or cannot be written, or a folder in the file's place.
    """
    target = Path(path).expanduser()
    if suffixes and target.suffix.lower() not in suffixes:
        raise OutputError(
            expected=f"a file ending in {', '.join(suffixes)}",
            got=str(path),
            cure="the ending chooses the format: give one of those",
        )
    if suffixes and target.is_dir():
        raise OutputError(expected="a file to write", got=f"the folder {path}", cure="give the name of a file in it")
    if not suffixes and target.exists() and not target.is_dir():
        raise OutputError(expected="a folder to write", got=f"the file {path}", cure="give another name, or move it")
    probe = Path(os.path.realpath(target)).with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: str | Path, error: OSError) -> OutputError:
    folder = Path(path).expanduser().parent
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        got, cure = "a full disk", "free some space, or write to another disk; what was there before is untouched"
    elif error.errno in {errno.ENOENT, errno.ENOTDIR}:
        got, cure = f"no folder {folder}", f"create it first (mkdir -p {folder})"
    else:
        got, cure = error.strerror or str(error), "choose a folder you may write to"
    return OutputError(expected=f"to write {path}", got=got, cure=cure)


def _flush(path: Path) -> None:
    """Sees to it that a file, or every file of a folder, is on the disk."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
    if path.is_dir():
        _flush_folder(path)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(beside: Path, target: Path) -> None:
    if not (beside.is_dir() and target.is_dir()):
        beside.replace(target)
        return
    old = beside.with_suffix(".old")
    target.replace(old)
    try:
        beside.replace(target)
    except BaseException:
        old.replace(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
