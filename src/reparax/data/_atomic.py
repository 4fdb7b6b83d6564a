"""Writing so that a reader sees the old file or the whole new one, never a part of it."""

import errno
import os
import secrets
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reparax.errors import OutputError


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
