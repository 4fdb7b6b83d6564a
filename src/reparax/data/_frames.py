"""Data frames of any library: columns by name, and a column of labels beside them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data._cells import Cells
from reparax.data._dataset import Dataset, FrameKind, from_cells
from reparax.data._exclude import exclusions, too_large
from reparax.data._files import LabelNotFoundError
from reparax.data._frame_cells import cells_of
from reparax.data._labels import labels_of_column, read_labels
from reparax.data._match import match_table
from reparax.data._overrides import NOTHING, Overrides
from reparax.data._schema import Schema
from reparax.data._text import hint_on, refuse_separators
from reparax.errors import DataError
from reparax.summary import Column, ColumnKind

if TYPE_CHECKING:
    import narwhals as nw


PANDAS_INDEX = "__index_level_0__"


def is_frame(source: Any) -> bool:
    """Whether an object is a data frame of a library that is known, lazy ones included."""
    import narwhals as nw

    try:
        return isinstance(nw.from_native(source, pass_through=True), nw.DataFrame | nw.LazyFrame)
    except nw.exceptions.DuplicateError:
        return True


@dataclass(frozen=True)
class Frame:
    """A data frame, its labels taken out.

    Attributes:
        table: All columns.
        kept: The places of the columns beside the labels.
        names: The names of all columns: ``column_0``, ... where they have none.
        named: Whether they have some.
        labels: One label per row, or None.
        label: The column that the labels came from.
        notes: Sentences on what was noticed.
        kind: The library that it came from; None for files.
        original: What the user gave, where that is no data frame.
    """

    table: "nw.DataFrame"
    kept: list[int]
    names: list[str]
    named: bool
    labels: np.ndarray | None
    label: str | None
    notes: tuple[str, ...]
    kind: FrameKind | None = None
    original: Any = None

    @property
    def native(self) -> Any:
        """The table as the user gave it, or as the file was read."""
        return self.table.to_native() if self.original is None else self.original

    def dataset(self, said: Overrides = NOTHING) -> Dataset:
        """The columns, each told from its cells, or as the user says."""
        said = said.checked([self.names[index] for index in self.kept], self.label)
        columns = list(self.table.iter_columns())
        cells = {self.names[index]: cells_of(columns[index], self.names[index]) for index in self.kept}
        told = {name: why for name, why in exclusions(cells).items() if name not in said.kinds} | said.excluded
        kinds, hints = _looked_at({name: cells[name] for name in cells if name not in {*told, *said.kinds}})
        found = from_cells(
            cells, named=self.named, labels=self.labels, label=self.label, notes=(*self.notes, *hints),
            kinds=kinds | said.kinds,
            excluded={name: told[name] for name in cells if name in told},
        )  # fmt: skip
        return replace(found, frame_kind=self.kind, native=self.native)

    def matched(self, schema: Schema, *, allow_missing: bool = False) -> Dataset:
        """The columns, held against those of the fit."""
        if schema.columns is None:
            dataset = self.dataset()
            return replace(dataset, values=schema.check(dataset), schema=schema)
        names = [self.names[index] for index in self.kept]
        columns = list(self.table.iter_columns())

        def cells(place: int, column: Column) -> Cells:
            return cells_of(columns[self.kept[place]], names[place], column)

        table = match_table(schema, names, len(self.table), cells, named=self.named)
        found = schema.finished(table, allow_missing=allow_missing)
        return Dataset(
            found.values, schema, self.labels, notes=(*self.notes, *found.notes), frame_kind=self.kind,
            native=self.native,
        )  # fmt: skip


def _looked_at(cells: Mapping[str, Cells]) -> tuple[dict[str, ColumnKind], list[str]]:
    """Kinds of columns whose cells mislead, and sentences on those that may.

    Raises:
        DataError: Numbers with thousands separators or decimal commas.
    """
    kinds: dict[str, ColumnKind] = {}
    hints = []
    for name, found in cells.items():
        if found.is_text:
            refuse_separators(name, found)
            hint = hint_on(found)
            hints += [f"column {name!r} was read as {hint}"] if hint else []
        elif too_large(found):
            kinds[name] = "categorical"
            hints.append(f"column {name!r} holds whole numbers beyond 2**53 and was read as names, not amounts")
    return kinds, hints


def kind_of_frame(frame: Any) -> FrameKind:
    """The library of a data frame; polars for one that has no name here."""
    import narwhals as nw

    if nw.dependencies.is_pandas_dataframe(frame):
        return "pandas"
    return "pyarrow" if nw.dependencies.is_pyarrow_table(frame) else "polars"


def load_frame(
    frame: Any,
    label: str | Path | None,
    *,
    named: bool = True,
    notes: Sequence[str] = (),
    kind: FrameKind | None = None,
) -> Frame:
    """A pandas, polars or arrow frame, its labels taken out.

    Args:
        frame: The frame.
        label: The column that holds the labels, or a file of labels.
        named: Whether the columns' names mean anything.
        notes: Sentences to keep with the dataset.
        kind: The library that the user's frame is of; None for files.

    Raises:
        DataError: Names that occur twice, no rows, no such label.
    """
    table, notes = _open(frame), list(notes)
    if PANDAS_INDEX in table.columns:
        table = table.drop(PANDAS_INDEX)
        notes.append("the row index that pandas saved along was left out")
    names = [str(name) for name in table.columns]
    if named and names == [str(index) for index in range(len(names))]:
        named = False
    labels, key = None, None
    if label is not None:
        key = _label_column(names, label, named=named)
        labels = read_labels(Path(label), len(table)) if key is None else labels_of_column(table[:, names.index(key)])
    kept = [index for index, name in enumerate(names) if name != key]
    shown = [_shown(name, index, named=named) for index, name in enumerate(names)]
    from_column = shown[names.index(key)] if key is not None else None
    return Frame(table, kept, shown, named, labels, from_column, tuple(notes), kind)


def _open(frame: Any) -> "nw.DataFrame":
    import narwhals as nw

    try:
        opened = nw.from_native(frame)
    except nw.exceptions.DuplicateError as error:
        twice = ", ".join(line.removeprefix("- ").split(" ")[0] for line in str(error).splitlines()[1:6])
        raise DataError(
            expected="columns of different names", got=f"{twice} more than once", cure="rename or drop the others"
        ) from None
    if isinstance(opened, nw.LazyFrame):
        raise DataError(expected="a data frame", got="a lazy frame", cure="call .collect() on it first")
    return opened


def _shown(name: str, index: int, *, named: bool) -> str:
    return name if named else f"column_{index}"


def _label_column(names: list[str], label: str | Path, *, named: bool) -> str | None:
    """The name of the labels' column; None when ``label`` is a file."""
    wanted = str(label)
    if not named:
        numbers = {f"column_{index}": name for index, name in enumerate(names)}
        numbers |= {str(index): name for index, name in enumerate(names)} | {"-1": names[-1]}
        if wanted in numbers:
            return numbers[wanted]
    elif wanted in names:
        return wanted
    if Path(label).is_file():
        return None
    near = difflib.get_close_matches(wanted, names, n=3)
    known = (
        ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        if named
        else f"column_0 to column_{len(names) - 1}"
    )
    raise LabelNotFoundError(
        expected=f"labels in a column of the table ({known}) or in a file",
        got=repr(wanted),
        cure=f"did you mean {' or '.join(near)}?" if near else "give the name of a column, or the path of a file",
    )
