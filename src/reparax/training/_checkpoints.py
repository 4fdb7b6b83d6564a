"""The state of training on disk: a folder with the last two checkpoints, written by one process at a time."""

import time
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reparax.disk import delete, owned, unwritable
from reparax.errors import ArtifactError, CheckpointWarning, OutputError
from reparax.training._devices import num_devices
from reparax.training._record import Record
from reparax.training._saved import DEVICES, Damaged, Kind, State, libraries, read, read_history, write

SECONDS = 60.0
LEAST_RATIO = 50
"""The time between two saves is at least this many times that of a save, so that they cost less than 2 %."""
KEPT = 2
LOCK = "lock"
PREFIX = "checkpoint-"
PART = "models-"
"""What the names of the folders of checkpoints of several models begin with."""


@dataclass(frozen=True)
class Checkpoints:
    """Where training saves its state, how often, and whether it goes on from there.

    The state is saved at the end, and before that when the time has come and the steps under way are done. The last two
    checkpoints are kept; each contains the best model so far.

    Attributes:
        folder: The folder of the checkpoints of one run; its parent folder must exist.
        identity: What a resumed run must have in common with this one, as plain values.
        seconds: How long to train between two saves, at least.
        resume: Whether to go on from the newest checkpoint of the folder.
    """

    folder: str | Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = SECONDS
    resume: bool = False


def has_checkpoints(folder: str | Path) -> bool:
    """Whether there is something in a folder to resume: of one model, or of several in folders inside of it."""
    path = Path(folder).expanduser()
    return any(_paths(part) for part in (path, *_parts(path)))


def remove(folder: str | Path) -> None:
    """Deletes the checkpoints of a folder, and the folder if nothing else is in it; another process's stay."""
    path = Path(folder).expanduser()
    for part in (*_parts(path), path):
        if not (part / LOCK).is_file():
            continue
        with owned(part / LOCK) as free:
            if free:
                for checkpoint in _paths(part):
                    delete(checkpoint)
                _leave(part)
    with suppress(OSError):  # what else is in it stays
        path.rmdir()


@contextmanager
def opened_part(checkpoints: Checkpoints, places: Sequence[int]) -> Generator["Store"]:
    """The folder of the checkpoints of some of many models, inside that of all; see `opened`.

    Args:
        checkpoints: Those of all models.
        places: The numbers of the models.
    """
    whole = Path(checkpoints.folder).expanduser()
    numbers = "-".join(str(place + 1) for place in dict.fromkeys((places[0], places[-1])))
    identity = {**checkpoints.identity, "models": [place + 1 for place in places]}
    if checkpoints.resume and _paths(whole):
        raise _other_kind(whole, "of a single model", "of several models")
    try:
        whole.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(whole, error) from error
    try:
        with opened(replace(checkpoints, folder=whole / f"{PART}{numbers}", identity=identity)) as store:
            yield store
    finally:
        with suppress(OSError):  # with checkpoints in it, it stays
            whole.rmdir()


def prepare_parts(checkpoints: Checkpoints) -> None:
    """Says that there is nothing to resume; or deletes what models that went on alone have left of another run.

    Warns:
        CheckpointWarning: There is nothing to resume.
    """
    folder = Path(checkpoints.folder).expanduser()
    if not checkpoints.resume:
        for part in _parts(folder):
            if part.name[len(PART) :].isdigit():
                remove(part)
    elif not has_checkpoints(folder):
        _warn(f"nothing to resume in {folder}: training starts from the beginning")


def history_in(checkpoints: Checkpoints) -> list[Record]:
    """The records of the newest intact checkpoint of many models, which a resumed run goes on from.

    Raises:
        ArtifactError: It is of another fit.
    """
    for part in _parts(Path(checkpoints.folder).expanduser()):
        for path in reversed(_paths(part)):
            try:
                return read_history(path, checkpoints.identity, besides="models")
            except Damaged:
                continue
    return []


@contextmanager
def opened(checkpoints: Checkpoints) -> Generator["Store"]:
    """The folder of the checkpoints, for this process alone.

    Raises:
        OutputError: It cannot be written, or another process writes to it.
    """
    folder = Path(checkpoints.folder).expanduser()
    if checkpoints.resume and _parts(folder):
        raise _other_kind(folder, "of several models", "of a single model")
    try:
        folder.mkdir(exist_ok=True)
        (folder / LOCK).touch()
        with owned(folder / LOCK) as free:
            if not free:
                raise OutputError(
                    expected=f"to be the only fit that saves its checkpoints in {folder}",
                    got="another fit, which is running and does so",
                    cure="wait for it, or choose another folder (on the command line: another --out)",
                )
            for left in folder.glob(f".{PREFIX}*.tmp"):  # by killed saves, as nobody else may write here
                delete(left)
            try:
                yield Store(checkpoints, folder)
            finally:
                _leave(folder)
    except OutputError:
        raise
    except OSError as error:
        raise unwritable(folder, error) from error


def _leave(folder: Path) -> None:
    """Deletes a folder of checkpoints, whose lock is held, if there are none in it."""
    if not _paths(folder):
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


def _other_kind(folder: Path, found: str, asked: str) -> ArtifactError:
    return ArtifactError(
        expected=f"the fit {found} whose checkpoints are in {folder}",
        got=f"one {asked}",
        cure="resume with the same options, or start from the beginning, without resuming",
    )


class Store:
    """The checkpoints of a running fit."""

    def __init__(self, checkpoints: Checkpoints, folder: Path) -> None:
        self._folder, self._identity, self._resume = folder, checkpoints.identity, checkpoints.resume
        self._seconds = checkpoints.seconds
        self._saved = time.monotonic()
        before = _paths(folder)
        self._number = _number(before[-1]) + 1 if before else 1

    @property
    def is_empty(self) -> bool:
        """Whether there are no checkpoints."""
        return not _paths(self._folder)

    def newest(self, first: Kind) -> Kind | None:
        """The state of the newest intact checkpoint; None if training is to begin.

        Args:
            first: The state before the first step, whose structure it has.

        Raises:
            ArtifactError: It is of another fit or another format, or there are only damaged ones.

        Warns:
            CheckpointWarning: There is none, or the newest one is damaged.
        """
        paths = _paths(self._folder)
        if not self._resume:
            if paths:
                _warn(
                    f"checkpoints of an unfinished fit are in {self._folder}: they will be replaced in "
                    f"{self._seconds:g} s, or when this fit ends; resume would have gone on from there"
                )
            return None
        if not paths:
            _warn(f"nothing to resume in {self._folder}: training starts from the beginning")
            return None
        for path in reversed(paths):
            try:
                found, wrote = read(path, first, self._identity)
            except Damaged as error:
                _warn(f"the checkpoint {path} is damaged ({error}); the one before is tried")
                continue
            _tell_of_other_versions({DEVICES: "1"} | wrote, num_devices(first.carry))
            return found
        raise ArtifactError(
            expected=f"an intact checkpoint in {self._folder}",
            got=f"{len(paths)} damaged",
            cure="start from the beginning, without resuming",
        )

    def when_due(self, state: State) -> None:
        """Saves the state if it is time to."""
        if time.monotonic() - self._saved >= self._seconds:
            self._save(state)

    def at_end(self, state: State) -> None:
        """Saves the last state."""
        self._save(state)

    def _save(self, state: State) -> None:
        """Writes a checkpoint and deletes older ones; if that fails, those of before stay.

        Warns:
            CheckpointWarning: It failed.
        """
        began = time.monotonic()
        try:
            write(self._folder / f"{PREFIX}{self._number:06}", state, self._identity)
            for old in _paths(self._folder)[:-KEPT]:
                delete(old)
            self._number += 1
        except OSError as error:
            got = error.got if isinstance(error, OutputError) else error.strerror or str(error)
            _warn(f"a checkpoint could not be written to {self._folder} ({got}); those of before are kept")
        self._saved = time.monotonic()
        self._seconds = max(self._seconds, LEAST_RATIO * (self._saved - began))


class Others:
    """The checkpoints of a fit in its processes other than the first, which alone saves them."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._store = Store(checkpoints, Path(checkpoints.folder).expanduser())

    def newest(self, first: Kind) -> Kind | None:
        """The state of the newest intact checkpoint; see `Store.newest`."""
        return self._store.newest(first)

    def when_due(self, state: State) -> None:
        """Saves nothing."""

    def at_end(self, state: State) -> None:
        """Saves nothing."""


def _paths(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest one last."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.startswith(PREFIX) and path.name[len(PREFIX) :].isdigit()]
    return sorted(found, key=_number)


def _parts(folder: Path) -> list[Path]:
    """The folders of checkpoints inside of one."""
    return sorted(path for path in folder.glob(f"{PART}*") if path.is_dir() and _paths(path))


def _number(path: Path) -> int:
    return int(path.name[len(PREFIX) :])


def _tell_of_other_versions(wrote: Mapping[str, str], devices: int) -> None:
    now = libraries() | {DEVICES: str(devices)}
    others = [f"{name} {wrote.get(name)}, now {now[name]}" for name in now if wrote.get(name) != now[name]]
    if others:
        _warn(f"the checkpoint was written with {'; '.join(others)}: the result may differ in the last digits")


def _warn(text: str) -> None:
    warnings.warn(text, CheckpointWarning, stacklevel=6)
