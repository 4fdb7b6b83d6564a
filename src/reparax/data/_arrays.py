"""What was loaded and is no data frame: arrays and images, not yet looked at."""

from dataclasses import dataclass, replace

import numpy as np

from reparax.data._cells import Cells
from reparax.data._dataset import Dataset, FrameKind, array_cells, from_array, from_cells
from reparax.data._match import match_table
from reparax.data._overrides import NOTHING, Overrides
from reparax.data._schema import Schema
from reparax.data._values import by_columns, column_name
from reparax.errors import DataError
from reparax.summary import Column


@dataclass(frozen=True)
class Arrays:
    """An array, and what came beside it."""

    array: np.ndarray
    labels: np.ndarray | None = None
    label: str | None = None
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    kind: FrameKind | None = None

    def dataset(self, said: Overrides = NOTHING) -> Dataset:
        """The array, its axes and kind told from its values."""
        if said:
            return self._table(said)
        found = from_array(self.array, names=self.names, labels=self.labels, label=self.label, notes=self.notes)
        return replace(found, frame_kind=self.kind, native=self.array if self.array.ndim == 2 else None)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of a table's columns; ``column_0``, ... where they have none."""
        return tuple(column_name(self.names, index) for index in range(self.array.shape[1]))

    def _table(self, said: Overrides) -> Dataset:
        if self.array.ndim != 2 or self.array.dtype.kind not in "biuf":
            raise no_table()
        said = said.checked(self.columns, self.label)
        cells = {name: array_cells(self.array[:, index]) for index, name in enumerate(self.columns)}
        found = from_cells(
            cells, named=self.names is not None, labels=self.labels, label=self.label, notes=self.notes,
            kinds=said.kinds, excluded=said.excluded, array=self.array,
        )  # fmt: skip
        return replace(found, frame_kind=self.kind, native=self.array)

    def matched(self, schema: Schema, *, allow_missing: bool = False) -> Dataset:
        """The array, held against a schema: a table column by column, images as they are."""
        if schema.columns is None or self.array.ndim != 2 or self.array.dtype.kind not in "biuf":
            dataset = self.dataset()
            found = schema.match(dataset, allow_missing=allow_missing)
            return replace(dataset, values=found.values, schema=schema, notes=(*dataset.notes, *found.notes))

        array = by_columns(self.array)

        def cells(place: int, column: Column) -> Cells:
            return array_cells(array[:, place])

        named = self.names is not None
        table = match_table(schema, self.columns, len(self.array), cells, named=named)
        found = schema.finished(table, allow_missing=allow_missing)
        return Dataset(
            found.values, schema, self.labels, notes=(*self.notes, *found.notes), frame_kind=self.kind,
            native=self.array,
        )  # fmt: skip


@dataclass(frozen=True)
class Read:
    """A dataset that its reader made whole: images."""

    found: Dataset

    def dataset(self, said: Overrides = NOTHING) -> Dataset:
        """The dataset."""
        if said:
            raise no_table()
        return self.found

    def matched(self, schema: Schema, *, allow_missing: bool = False) -> Dataset:
        """The dataset, held against a schema."""
        matched = schema.match(self.found, allow_missing=allow_missing)
        notes = (*self.found.notes, *matched.notes)
        return replace(self.found, values=matched.values, schema=schema, notes=notes)


def no_table() -> DataError:
    """The error for kinds of columns where there are none."""
    return DataError(
        expected="a table, whose columns have kinds", got="images, or data that were read before",
        cure="leave schema and exclude out, or give the table itself",
    )  # fmt: skip
