"""Writing files and folders completely or not at all, one writer at a time, with nothing left behind."""

import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from reparax.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing of others is deleted
    fcntl = None

_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


@contextmanager
def atomic_write(path: str | Path) -> Generator[Path]:
    """A temporary file or folder, which replaces ``path`` when the block succeeds.

    The block is given an empty file; to write a folder instead, delete the file and create a folder in its place. The
    content is flushed to disk before it is renamed. If the block fails or is interrupted, the content is deleted and
    ``path`` is unchanged. A process that is killed leaves a hidden folder, which the next write of ``path`` deletes.
    On Linux a folder is exchanged in one step; elsewhere that takes two renames, and for an instant ``path`` does not
    exist, but it is never half-written.

    Args:
        path: The file or folder to write or replace; its parent folder must exist.

    Raises:
        OutputError: The folder does not exist or cannot be written, or the disk is full.
    """
    target = Path(os.path.realpath(Path(path).expanduser()))
    try:
        with locked(target.parent):
            _clean(target)
        with _working_folder(target) as working:
            temporary = working / "new.tmp"
            temporary.touch(exist_ok=False)
            yield temporary
            _flush(temporary)
            with locked(target.parent):
                _replace(temporary, target, working / "old")
            _flush_folder(target.parent)
    except OutputError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Generator[None]:
    """Waits until no other process replaces files of a folder; a process that dies releases its lock.

    Where the system or the file system has no locks, it does not wait.

    Args:
        folder: The folder.
        shared: Whether other readers may come in.
    """
    descriptor = None
    if fcntl is not None:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def owned(path: Path) -> Generator[bool]:
    """Whether no other process holds a file by this function; it is held until the block ends or the process dies.

    Where the system or the file system has no locks, it is always true.

    Args:
        path: An existing file.
    """
    if fcntl is None:
        yield True
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        # A file that was deleted before it was locked is no longer the one that others will open.
        yield _lock(descriptor) is not False and path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
    finally:
        os.close(descriptor)


def unwritable(path: str | Path, error: OSError) -> OutputError:
    """The error for a path that cannot be written."""
    folder = Path(path).expanduser().parent
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        got, cure = "a full disk", "free some space, or write to another disk; existing files are unchanged"
    elif error.errno in {errno.ENOENT, errno.ENOTDIR}:
        got, cure = f"no folder {folder}", f"create it first (mkdir -p {folder})"
    else:
        got, cure = error.strerror or str(error), "choose a folder you may write to"
    return OutputError(expected=f"to write {path}", got=got, cure=cure)


def temporary_name(target: Path) -> Path:
    """A new hidden name beside a file or folder, which the next write of it deletes if it is left behind."""
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")


def is_left_behind(name: str) -> bool:
    """Whether a name is one that `temporary_name` gives: of a write that is under way, or was killed."""
    return re.fullmatch(r"\..+\.[0-9a-f]{12}\.(tmp|old)", name) is not None


@contextmanager
def _working_folder(target: Path) -> Generator[Path]:
    """A hidden folder beside the target, locked while this process lives, and deleted at the end."""
    working, descriptor = _made(target)
    try:
        yield working
    finally:
        shutil.rmtree(working, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def _made(target: Path) -> tuple[Path, int | None]:
    """A new folder and its lock."""
    while True:
        working = temporary_name(target)
        working.mkdir()
        if fcntl is None:
            return working, None
        with suppress(FileNotFoundError):
            descriptor = os.open(working, os.O_RDONLY)
            # Before it was locked, another process may have taken it for one that was left behind.
            if _lock(descriptor) is not False and working.is_dir():
                return working, descriptor
            os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Whether the lock was free, and is now held; None where there are no locks."""
    assert fcntl is not None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _clean(target: Path) -> None:
    """Deletes what killed writes of a target left behind; a target that one of them had moved away comes back."""
    left = re.compile(rf"\.{re.escape(target.name[:100])}\.[0-9a-f]{{12}}\.(tmp|old)")
    with suppress(OSError):
        for path in [path for path in target.parent.iterdir() if left.fullmatch(path.name)]:
            if _is_abandoned(path):
                moved = path if path.suffix == ".old" else path / "old"
                if moved.is_dir() and not target.exists():
                    moved.replace(target)
                delete(path)


def _is_abandoned(path: Path) -> bool:
    """Whether no live process holds it; false where that cannot be known."""
    if fcntl is None:
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return _lock(descriptor) is True
    finally:
        os.close(descriptor)


def delete(path: Path) -> None:
    """Deletes a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flushes a file, or every file of a folder, to disk."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
    if path.is_dir():
        _flush_folder(path)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(temporary: Path, target: Path, old: Path) -> None:
    if not (temporary.is_dir() and target.is_dir()):
        temporary.replace(target)
        return
    if _exchanged(temporary, target):
        return
    target.replace(old)
    try:
        temporary.replace(target)
    except BaseException:
        old.replace(target)
        raise


def _exchanged(one: Path, other: Path) -> bool:
    """Whether two folders could change their names in one step."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0
