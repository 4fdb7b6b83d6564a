"""Reading the bytes of files, recognizing their format, and checking where to write."""

import difflib
import gzip
import importlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from reparax.disk import temporary_name, unwritable
from reparax.errors import DataError, OutputError
from reparax.extras import extras

EXCEL = ".xlsx"
"""The suffix of workbooks that are written."""

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
    """The data have no column or array with the name given for the labels."""


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed if it is gzipped.

    Raises:
        DataError: The file is missing, empty, unreadable or damaged.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError(
                expected=f"a regular file {path}", got="a pipe or a device", cure="save the data in a file first"
            )
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
            raise damaged(path, "a complete gzipped file", error) from None
    if not content:
        raise DataError(expected=f"data in {path}", got="an empty file", cure="check how the file was made")
    return content


def visible_files(folder: Path) -> list[Path]:
    """The files of a folder and its subfolders, except hidden ones, sorted by path."""
    files = [
        file
        for file in folder.rglob("*")
        if not any(part.startswith(".") for part in file.relative_to(folder).parts) and file.is_file()
    ]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def missing(path: Path) -> DataError:
    """The error for a path that does not exist, with similar names."""
    near: list[str] = []
    if path.parent.is_dir():
        near = difflib.get_close_matches(path.name, (entry.name for entry in path.parent.iterdir()), n=3)
    cure = f"did you mean {' or '.join(near)}?" if near else "check the path"
    return DataError(expected=f"a file or folder {path}", got="nothing there", cure=cure)


def damaged(path: Path | str, expected: str, why: object) -> DataError:
    """The error for a file that is cut short or damaged."""
    return DataError(
        expected=expected,
        got=f"{path}, which is damaged or cut short ({why})",
        cure="create or download it again",
    )


def content_of(content: bytes) -> tuple[str, str]:
    """The format of a file by its first bytes: a short name, ``"unknown"`` for others, and a description."""
    if content.startswith(b"PK") and b"xl/workbook" in content:
        return "excel", "an Excel workbook"
    for magic, name, words in _MAGIC:
        if content.startswith(magic):
            return name, words
    if len(content) >= 4 and content[:2] == b"\0\0" and content[2] in range(8, 15) and content[3] > 0:
        return "idx", "an IDX file"
    return "unknown", "something else"


def wrong_content(path: Path, expected: str, got: str) -> DataError:
    """The error for a file whose suffix does not match its content."""
    return DataError(expected=f"{expected}, by the name of {path}", got=got, cure="rename it with the right suffix")


def check_output(path: str | Path, suffixes: Sequence[str]) -> None:
    """Checks that ``path`` can be written; call it before long work.

    Args:
        path: The file or folder to write.
        suffixes: The known suffixes of a file, such as ``(".npy", ".csv")``; ``()`` for a folder with any name.

    Raises:
        MissingExtra: The library that writes the format is not installed.
        OutputError: The suffix is unknown, the parent folder does not exist or cannot be written, or ``path`` is a
            folder instead of a file or the other way around.
    """
    target = Path(path).expanduser()
    if not Path(os.path.realpath(target)).name or not str(path):
        raise OutputError(expected="a name to write to", got=repr(str(path)), cure="name a file or folder in it")
    if suffixes and target.suffix.lower() not in suffixes:
        raise OutputError(
            expected=f"a file ending in {', '.join(suffixes)}",
            got=str(path),
            cure="the ending chooses the format: use one of those",
        )
    if suffixes and target.is_dir():
        raise OutputError(expected="a file to write", got=f"the folder {path}", cure="name a file in it")
    if not suffixes and target.exists() and not target.is_dir():
        raise OutputError(expected="a folder to write", got=f"the file {path}", cure="choose another name, or move it")
    if target.suffix.lower() == EXCEL:
        with extras():
            importlib.import_module("xlsxwriter")
    probe = temporary_name(Path(os.path.realpath(target)))
    try:
        probe.touch(exist_ok=False)
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
