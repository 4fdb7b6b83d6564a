"""The door for data: whatever the user has becomes a `Dataset`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reparax.data._builtin import PREFIX, read_builtin
from reparax.data._dataset import Dataset, from_array
from reparax.data._files import content_of, missing, read_bytes
from reparax.data._idx import read_idx
from reparax.data._numpy_files import read_npy, read_npz
from reparax.errors import DataError

READABLE = ".npy, .npz, .csv, .tsv or .parquet files, IDX files, folders of PNG and JPEG images, and builtin:digits and the like"


def read(source: Any, *, label: str | Path | None = None) -> Dataset:
    """Reads data from a file, a folder, an array or a data frame."""
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str) and source.startswith(PREFIX):
        return read_builtin(source.removeprefix(PREFIX))
    if isinstance(source, str | Path):
        return _read_path(Path(source).expanduser(), label)
    return from_array(np.asarray(source))


def _read_path(path: Path, label: str | Path | None) -> Dataset:
    if not path.exists():
        raise missing(path)
    return _reader(path)(path, label)


def _reader(path: Path) -> Callable[[Path, str | Path | None], Dataset]:
    name = path.name.lower().removesuffix(".gz")
    by_suffix = {".npy": _npy, ".npz": _npz}
    suffix = Path(name).suffix
    if suffix in by_suffix:
        return by_suffix[suffix]
    found, words = content_of(read_bytes(path))
    by_content = {"npy": _npy, "npz": _npz, "idx": _idx}
    if found in by_content:
        return by_content[found]
    raise DataError(expected=READABLE, got=f"{path}, {words}", cure="convert the data to one of those")


def _npy(path: Path, label: str | Path | None) -> Dataset:
    return from_array(read_npy(path))


def _npz(path: Path, label: str | Path | None) -> Dataset:
    values, labels, key, notes = read_npz(path, None if label is None else str(label))
    return from_array(values, labels=labels, label=key, notes=tuple(notes))


def _idx(path: Path, label: str | Path | None) -> Dataset:
    labels = None if label is None else read_idx(Path(label))
    return from_array(read_idx(path), labels=labels)
