"""Bytes of a file, and what they seem to be."""

import difflib
import gzip
import zlib
from pathlib import Path

from reparax.errors import DataError

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
