"""Which rows of several views belong together, and which of them are there."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from reparax.data.arrays import Arrays, Read
from reparax.data.dataset import Dataset
from reparax.data.frames import Frame
from reparax.data.labels import label_text
from reparax.data.sparse import Sparse
from reparax.data.split import described
from reparax.data.text import MISSING_TEXT
from reparax.data.views import ViewRows
from reparax.errors import DataError

Loaded = Arrays | Frame | Read | Sparse


class Identified(NamedTuple):
    """The data of a view, and the names of its rows.

    Attributes:
        loaded: The data.
        ids: One name for each row; None where rows are known by their order.
    """

    loaded: Loaded
    ids: list[str] | None


def names_of(loaded: Loaded, view: str, name: str) -> Identified:
    """The data of a view with the names of its rows: its labels, or the names of its files without their endings.

    Args:
        loaded: The data.
        view: The name of the view.
        name: What the names are called.

    Raises:
        DataError: There are none.
    """
    complete = loaded.complete if isinstance(loaded, Read) else None
    labels = complete.labels if complete is not None else getattr(loaded, "labels", None)
    if complete is not None and complete.ids is not None:
        labels = np.asarray([PurePath(one).stem for one in complete.ids.tolist()])
    if labels is None:
        raise DataError(
            expected=f"names of the rows of the view {view!r}, called {name!r}", got="none",
            cure="add such a column, or an array to an .npz file; in Python: rx.Views(..., id={'view': names})",
        )  # fmt: skip
    return identified(_without_labels(loaded), view, labels)


def identified(loaded: Loaded, view: str, names: Any) -> Identified:
    """The data of a view with the names of its rows.

    Raises:
        DataError: There is another number of names, one is missing, or occurs twice.
    """
    count, values = _num_rows(loaded), _objects(names)
    texts = [_name(value) for value in values]
    if len(texts) != count:
        got = f"{len(texts)} names for {count} rows"
    elif None in texts:
        token = label_text(values[texts.index(None)])
        got = f"row {texts.index(None) + 1} without one" + (f" ({token!r} stands for none)" if token else "")
    elif len(set(texts)) < count:
        got = f"{next(text for text in texts if texts.count(text) > 1)!r} more than once"
    else:
        return Identified(loaded, [text for text in texts if text is not None])
    raise DataError(
        expected=f"one name for each row of the view {view!r}", got=got, cure="give every row a name of its own"
    )


def _objects(names: Any) -> list[Any]:
    """Names as Python objects: an array of text has no place for NaN, nor one of nanoseconds for NaT."""
    if isinstance(names, np.ndarray) and names.dtype.kind == "M":
        names = names.astype("datetime64[us]")
    return np.asarray(names, object).ravel().tolist()


def _name(value: Any) -> str | None:
    """A name as text; None for what stands for a missing cell in a table, by which strangers would be one thing."""
    text = label_text(value)
    return None if text in MISSING_TEXT else text


def aligned(
    views: Mapping[str, Identified], read: Callable[[str, Loaded], Dataset]
) -> tuple[dict[str, ViewRows], int, np.ndarray | None]:
    """The views with the places of their rows among all examples, the number of these, and their names.

    Examples with names are in the order in which the views first name them.

    Args:
        views: The data of each view.
        read: Gives the dataset of a view.

    Raises:
        DataError: Views without names have different numbers of rows.
    """
    found, counts = {}, {name: _num_rows(view.loaded) for name, view in views.items()}
    names = list(dict.fromkeys(one for view in views.values() for one in view.ids or ()))
    if not names and len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(
            expected="views with equally many rows, which belong together in their order", got=f"rows: {listed}",
            cure="say what names the rows: --id COLUMN, or rx.Views(..., id=...)",
        )  # fmt: skip
    places = {name: place for place, name in enumerate(names)}
    for name, view in views.items():
        dataset, rows = _of_those_present(name, view.loaded, read)
        own = np.arange(counts[name]) if view.ids is None else np.asarray([places[one] for one in view.ids])
        found[name] = ViewRows(dataset, own[rows])
    count = len(names) if names else next(iter(counts.values()))
    return found, count, np.asarray(names) if names else None


def _of_those_present(name: str, loaded: Loaded, read: Callable[[str, Loaded], Dataset]) -> ViewRows:
    """The dataset of a view of the rows that are not missing, and which these are."""
    rows = np.arange(_num_rows(loaded))
    if isinstance(loaded, Arrays) and loaded.array.ndim > 1 and loaded.array.dtype.kind == "f":
        rows = np.flatnonzero(~np.isnan(loaded.array).all(axis=tuple(range(1, loaded.array.ndim))))
        loaded = loaded if len(rows) == len(loaded.array) else _taken(loaded, rows)
    dataset = read(name, loaded)
    if isinstance(loaded, Arrays) and dataset.native is None:
        dataset = replace(dataset, native=loaded.array)
    if dataset.values.dtype.kind != "f" or isinstance(loaded, Sparse):
        return ViewRows(dataset, rows)
    there = np.flatnonzero(~np.isnan(dataset.values).reshape(len(dataset), -1).all(axis=1))
    if len(there) == len(dataset):
        return ViewRows(dataset, rows)
    return ViewRows(read(name, _taken(loaded, there)), rows[there])


def _taken(loaded: Loaded, rows: Int[np.ndarray, " m"]) -> Loaded:
    """The data of some rows.

    Raises:
        DataError: There are none.
    """
    if not len(rows):
        raise DataError(
            expected="at least one row of a view", got="missing values alone", cure="leave the view out"
        )  # fmt: skip
    if isinstance(loaded, Arrays):
        return replace(loaded, array=loaded.array[rows], labels=None)
    if isinstance(loaded, Frame):
        return replace(loaded, table=loaded.table[rows.tolist()], labels=None, original=None)
    if isinstance(loaded, Read):
        some = loaded.complete.take(rows)
        return Read(replace(some, schema=described(some)))
    return loaded


def _without_labels(loaded: Loaded) -> Loaded:
    if isinstance(loaded, Read):
        return Read(replace(loaded.complete, labels=None))
    return replace(loaded, labels=None, label=None)


def _num_rows(loaded: Loaded) -> int:
    if isinstance(loaded, Read):
        return len(loaded.complete)
    if isinstance(loaded, Frame):
        return len(loaded.table)
    if isinstance(loaded, Sparse):
        return int(loaded.matrix.shape[0])
    return len(loaded.array) if loaded.array.ndim else 0
