"""Several views of the same things: each is data by itself, and an example has the values of all of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from msgspec import structs
from scipy import sparse

from reparax.data.dataset import Dataset
from reparax.data.observed import Observed, worth_keeping
from reparax.data.schema import Schema
from reparax.errors import DataError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""A name can be a part of the name of a file."""
SHOWN = 5


@dataclass(frozen=True, eq=False)
class Views:
    """Several views of the same things, as data for `reparax.fit` and everything that applies a model.

    ``rx.Views({"rna": "rna.npz", "clinic": frame}, id="patient")``. A thing may lack views. In a model of views, any of
    them may be left out: ``rx.encode(fitted, rx.Views({"rna": "new.npz"}))``.

    Attributes:
        sources: The data of each view, by its name: anything that `reparax.data.read` reads.
        id: How the views belong together. The name of a column of the tables, and of an array of the .npz files, with
            one name for each thing (of folders of images, the names of the files without their endings are meant); or
            these names themselves, by view. Without it, views have equally many rows that belong together in their
            order; a row without a view has NaN, or empty cells, for all of its values.

    Raises:
        DataError: There are no views, or their names cannot be parts of names of files.
    """

    sources: Mapping[str, Any]
    id: str | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sources, Mapping) or not self.sources:
            raise DataError(
                expected="views by name", got=type(self.sources).__name__ if self.sources else "none",
                cure="write rx.Views({'rna': ..., 'protein': ...})",
            )  # fmt: skip
        wrong = [name for name in self.sources if not (isinstance(name, str) and NAME.fullmatch(name))]
        if wrong:
            raise DataError(
                expected="names of views of letters, digits, _ and -",
                got=repr(wrong[0]),
                cure="choose another name",
            )


class ViewRows(NamedTuple):
    """One view of some examples.

    Attributes:
        dataset: The view of those that have it.
        rows: Which examples these are.
    """

    dataset: Dataset
    rows: Int[np.ndarray, " m"]


def joined(views: Mapping[str, ViewRows], count: int, ids: np.ndarray | None, schema: Schema | None = None) -> Dataset:
    """The examples with the values of all their views, NaN for those of a missing view.

    Args:
        views: The views that there are.
        count: The number of examples.
        ids: Their names, if they have some.
        schema: The schema of all views, some of which may be missing from all of the examples; by default, that of
            the views that there are.

    Raises:
        DataError: An example has no view, or a view is a sparse matrix.
    """
    if schema is None:
        schema = joint_schema([(name, view.dataset.schema) for name, view in views.items()], count)
    values = np.full((count, *schema.event_shape), np.nan, schema.dtype)
    for place, (name, _) in zip(schema.view_slices, schema.views, strict=True):
        if name in views:
            rows = views[name]
            values[rows.rows, place] = rows.dataset.values.reshape(len(rows.rows), -1)
    empty = np.flatnonzero(np.isnan(values).all(axis=1))
    if len(empty):
        which = f"row {empty[0] + 1}" if ids is None else f"{ids[empty[0]]!r}"
        raise DataError(
            expected="at least one view of each example", got=f"none of {which}",
            cure="leave the example out, as nothing is known of it",
        )  # fmt: skip
    kinds = {view.dataset.frame_kind for view in views.values()} - {None, "numpy"}
    notes = tuple(f"{name}: {note}" for name, view in views.items() for note in view.dataset.notes)
    kind = kinds.pop() if len(kinds) == 1 else None
    given = {name: Observed(view.dataset.native, view.rows) for name, view in views.items()}
    native = {name: each for name, each in given.items() if worth_keeping(each.native)}
    labels = {name: view.dataset.frame_labels for name, view in views.items() if view.dataset.frame_labels is not None}
    return Dataset(
        values, schema, ids=ids, notes=(*notes, *_notes_on(views, count)), frame_kind=kind, frame_labels=labels or None,
        native=native or None,
    )  # fmt: skip


def _notes_on(views: Mapping[str, ViewRows], count: int) -> list[str]:
    fewer = {name: count - len(view.rows) for name, view in views.items() if len(view.rows) < count}
    listed = ", ".join(f"{name} of {missing}" for name, missing in fewer.items())
    return [f"of the {count} examples, some lack a view: {listed}"] if fewer else []


def joint_schema(views: Sequence[tuple[str, Schema]], count: int) -> Schema:
    """The schema of examples with several views.

    Args:
        views: The name and the schema of each view.
        count: The number of examples.
    """
    size = sum(int(np.prod(view.event_shape, dtype=int)) for _, view in views)
    return Schema(
        kind="views", event_shape=(size,), value_kind="mixed", low=(), high=(), mean=(), std=(), num_examples=count,
        dtype="float64" if any(view.dtype == "float64" for _, view in views) else "float32", views=tuple(views),
    )  # fmt: skip


def present(schema: Schema, values: np.ndarray) -> Bool[np.ndarray, "n v"]:
    """Which views each example has."""
    return np.stack([~np.isnan(values[:, place]).all(axis=1) for place in schema.view_slices], axis=1)


def by_view(dataset: Dataset) -> dict[str, ViewRows]:
    """The views of examples, each of those examples that have it, in the shapes and data types of their schemas."""
    seen = present(dataset.schema, dataset.values)
    found = {}
    for (name, view), has in zip(separate(dataset).items(), seen.T, strict=True):
        rows = np.flatnonzero(has)
        found[name] = ViewRows(as_stored(view.take(rows)), rows)
    return found


def separate(dataset: Dataset) -> dict[str, Dataset]:
    """The views of examples, with NaN where one is missing."""
    schema, kind, labels, count = dataset.schema, dataset.frame_kind, dataset.frame_labels or {}, len(dataset)
    blocks = {name: dataset.values[:, place] for place, (name, _) in zip(schema.view_slices, schema.views, strict=True)}
    return {
        name: Dataset(
            blocks[name].reshape(count, *view.event_shape),
            view,
            ids=dataset.ids,
            frame_kind=kind,
            frame_labels=labels.get(name),
        )
        for name, view in schema.views
    }


def as_stored(view: Dataset) -> Dataset:
    """A view in the data type of its schema, if this has its numbers."""
    dtype = view.schema.dtype
    return replace(view, values=view.values.astype(dtype)) if fits(view.values, dtype) else view


def fits(values: np.ndarray, dtype: str) -> bool:
    """Whether a data type has these numbers exactly; of floating-point types, whether it has about these numbers."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return True
    limits = np.iinfo(dtype)
    if np.isnan(values).any():
        return False
    return bool((values == np.rint(values)).all() and (values >= limits.min).all() and (values <= limits.max).all())


def require_view(name: str, view: Dataset) -> None:
    """Refuses what one of several views cannot be.

    Raises:
        DataError: It is sparse, has statements on its columns, or has views itself.
    """
    schema = view.schema
    if isinstance(view.values, sparse.csr_array):
        got, cure = "a sparse matrix", "give a dense one, such as matrix.toarray(), of the columns that matter"
    elif schema.relations or schema.constraints:
        got, cure = "statements on its columns", "leave them out, or fit a model of this table alone"
    elif schema.given is not None or view.context is not None:
        got, cure = "columns that are given", "pass context={...} to rx.fit instead"
    elif schema.views:
        got, cure = "several views", "name all views in one rx.Views"
    else:
        return
    raise DataError(expected=f"a table, images or an array as the view {name!r}", got=got, cure=cure)


def described_views(train: Dataset, described: Any) -> Schema:
    """The schema of these examples, each view described by those that have it.

    Args:
        train: Examples with several views.
        described: Gives the schema of one view of some examples.

    Raises:
        DataError: No two examples have some view.
    """
    found = by_view(train)
    few = [name for name, view in found.items() if len(view.rows) < 2]
    if few:
        raise DataError(
            expected="at least 2 examples with each view among those to fit to", got=f"fewer with {few[0]!r}",
            cure="use more data, leave this view out, or hold fewer examples out (--valid)",
        )  # fmt: skip
    views = tuple((name, described(view.dataset)) for name, view in found.items())
    return structs.replace(train.schema, views=views, num_examples=len(train))
