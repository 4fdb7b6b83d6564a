"""One checkpoint: a folder with the arrays of a state of training, everything else as JSON, and checksums."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import jax
import msgspec

from reparax.disk import atomic_write
from reparax.errors import ArtifactError
from reparax.tensors import (
    NO_CHECKSUM,
    FileSeal,
    Leaf,
    described,
    filled,
    is_sealed,
    leaves_of,
    packed,
    sealed,
    unpacked,
)
from reparax.training._devices import is_entire, num_devices, whole
from reparax.training._record import Record

FORMAT = "reparax checkpoint"
FORMAT_VERSION = 3
DESCRIPTION = "checkpoint.json"
ARRAYS = "state.safetensors"
LIBRARIES = ("reparax", "jax", "equinox", "optax", "numpyro", "numpy")
MOST_NAMED = 3
LONGEST = 60
DEVICES = "devices"
"""The name of their number, among the versions of the libraries."""


class Damaged(Exception):
    """A checkpoint that is torn or was altered."""


class State(Protocol):
    """A state of training, of one model or of several."""

    @property
    def carry(self) -> Any: ...

    @property
    def history(self) -> tuple[Record, ...]: ...

    @property
    def kind_of_numbers(self) -> type: ...

    def numbers(self) -> Any: ...

    def arrays(self) -> dict[str, Any]: ...

    def with_numbers(self, numbers: Any, history: Sequence[Record]) -> Self: ...

    def with_arrays(self, arrays: Mapping[str, Any]) -> Self: ...


Kind = TypeVar("Kind", bound=State)


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``checkpoint.json``."""

    format: str
    format_version: int
    libraries: dict[str, str]
    identity: dict[str, Any]
    state: dict[str, Any]
    history: list[dict[str, Any]]
    arrays: dict[str, Leaf]
    files: dict[str, FileSeal]
    checksum: str


def write(folder: Path, state: State, identity: Mapping[str, Any]) -> None:
    """Writes a checkpoint, completely or not at all.

    Raises:
        OutputError: The folder cannot be written.
    """
    # Of a fit in several processes an array of jax in parts cannot be converted by itself.
    arrays, _ = leaves_of(jax.tree.map(lambda leaf: leaf if is_entire(leaf) else whole(leaf), state.arrays()))
    content = packed(arrays)
    text = sealed(
        _Description(
            format=FORMAT,
            format_version=FORMAT_VERSION,
            libraries=libraries() | {DEVICES: str(num_devices(state.carry))},
            identity=_plain(identity),
            state=msgspec.to_builtins(state.numbers()),
            history=[record.as_json() for record in state.history],
            arrays=described(arrays),
            files={ARRAYS: FileSeal.of(content)},
            checksum=NO_CHECKSUM,
        )
    )
    with atomic_write(folder) as temporary:
        temporary.unlink()
        temporary.mkdir()
        (temporary / ARRAYS).write_bytes(content)
        (temporary / DESCRIPTION).write_bytes(text)


def read(folder: Path, first: Kind, identity: Mapping[str, Any]) -> tuple[Kind, dict[str, str]]:
    """The state of a checkpoint, and the versions of the libraries that wrote it.

    Args:
        folder: The checkpoint.
        first: The state before the first step, whose structure it has.
        identity: What must be the same.

    Raises:
        Damaged: It is torn or was altered.
        ArtifactError: It is of another fit, or has another format.
    """
    found = _described(folder)
    _require_same(identity, found.identity, folder.parent)
    content = _bytes(folder / ARRAYS)
    seal = found.files.get(ARRAYS)
    if broken := "no checksum" if seal is None else seal.broken_by(content):
        raise Damaged(f"{ARRAYS}: {broken}")
    numbers = msgspec.convert(found.state, first.kind_of_numbers, strict=False)
    state = first.with_numbers(numbers, [Record.from_json(record) for record in found.history])
    arrays = filled(state.arrays(), unpacked(content), found.arrays, {}, folder)
    return state.with_arrays(arrays), found.libraries


def read_history(folder: Path, identity: Mapping[str, Any], besides: str) -> list[Record]:
    """The records of a checkpoint; the arguments and the errors are those of `read`.

    Args:
        folder: The checkpoint.
        identity: What must be the same.
        besides: A name that the identity of the checkpoint has in addition.
    """
    found = _described(folder)
    _require_same(identity, {name: value for name, value in found.identity.items() if name != besides}, folder.parent)
    return [Record.from_json(record) for record in found.history]


def _require_same(asked: Mapping[str, Any], saved: Mapping[str, Any], folder: Path) -> None:
    """Refuses checkpoints of another fit, by the names of what differs.

    Raises:
        ArtifactError: They are.
    """
    others = _differing(asked, saved)
    if others:
        wrote = "; ".join(f"{name} {old}" for name, old, _ in others)
        raise ArtifactError(
            expected=f"the fit whose checkpoints are in {folder}: {wrote}",
            got="; ".join(f"{name} {new}" for name, _, new in others),
            cure="resume with the same data and the same options, or start from the beginning, without resuming",
        )


def _described(folder: Path) -> _Description:
    """The description, after a check of its checksum and format.

    Raises:
        Damaged: It is torn or was altered.
        ArtifactError: It has another format.
    """
    text = _bytes(folder / DESCRIPTION)
    try:
        content = json.loads(text)
        name, number, checksum = content["format"], content["format_version"], content["checksum"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(f"{DESCRIPTION} is not the description of a checkpoint") from None
    if not is_sealed(text, checksum):
        raise Damaged(f"{DESCRIPTION}: content that was changed after it was written")
    if (name, number) != (FORMAT, FORMAT_VERSION):
        raise ArtifactError(
            expected=f"format version {FORMAT_VERSION} of a checkpoint in {folder}",
            got=f"{name!r}, version {number!r}",
            cure="resume with the version of reparax that wrote it, or start from the beginning, without resuming",
        )
    return msgspec.convert(content, _Description, strict=False)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path.name}: {error.strerror}") from None


@cache
def libraries() -> dict[str, str]:
    """The versions on which the bits of a result depend."""
    return {name: version(name) for name in LIBRARIES} | {"platform": jax.default_backend()}


def _plain(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON gives it back."""
    return json.loads(json.dumps(msgspec.to_builtins(dict(identity))))


def _differing(asked: Mapping[str, Any], saved: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What differs between two identities, by name: the saved and the asked value, in a few letters."""
    new, old = dict(_flat(_plain(asked))), dict(_flat(saved))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [(name, _short(old.get(name)), _short(new.get(name))) for name in names[:MOST_NAMED]]


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, by path; lists are values."""
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for name, value in tree.items():
        yield from _flat(value, f"{path}.{name}" if path else name)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
