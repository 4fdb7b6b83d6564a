"""Data frames of any library: their columns as cells, and their column of labels."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data.arrays import labels_of_column, read_labels
from reparax.data.columns import exclusions, too_large
from reparax.data.dataset import Dataset, FrameKind, as_matched, from_cells
from reparax.data.files import LabelNotFoundError
from reparax.data.labels import is_absent
from reparax.data.match import match_table, quoted
from reparax.data.overrides import NOTHING, Overrides
from reparax.data.schema import Schema
from reparax.data.text import datetime_cells_days, hint_on, refuse_misread, text_cells, word_cells
from reparax.data.values import LARGEST_EXACT, Cells
from reparax.errors import DataError
from reparax.summary import Column

if TYPE_CHECKING:
    import narwhals as nw
    import polars as pl


def cells_of(column: "nw.Series", name: str, fitted: Column | None = None) -> Cells:
    """The cells of a column.

    Args:
        column: A column of a pandas, polars or arrow frame.
        name: Its name, for errors.
        fitted: The column in the fit, if there was one; it has the format of dates.

    Raises:
        DataError: The cells have an unsupported type: lists, records, durations.
    """
    import narwhals as nw

    dtype = column.dtype
    if dtype.is_decimal() or dtype in (nw.Int128, nw.UInt128):
        return Cells("number", _numbers(column.cast(nw.Float64)), "float64")
    if dtype.is_integer() and column.null_count() and _exceeds_floats(column):
        return _large_integers(column)
    if dtype.is_numeric():
        return Cells("number", _numbers(column), str(dtype).lower())
    if dtype == nw.Boolean:
        values = column.cast(nw.Float64) if column.null_count() else column.cast(nw.UInt8)
        return Cells("boolean", _numbers(values), "boolean", (False, True))
    if dtype == nw.Date or dtype == nw.Datetime:
        days, step = datetime_cells_days(_times(column, name))
        return Cells("datetime", days, _name_of(dtype), step=step)
    if dtype in (nw.Categorical, nw.Enum):
        return _declared(column, name)
    if dtype == nw.String:
        import polars as pl

        texts = column.to_polars().cast(pl.String)  # without any value they have no type
        if fitted is not None and fitted.is_category and fitted.dtype == "string":
            return word_cells(texts)  # a few of many words can look like numbers, or like missing cells
        form = fitted.dtype.removeprefix("string:") if fitted is not None and "%" in fitted.dtype else None
        return text_cells(texts, form)
    if column.null_count() == len(column):
        return Cells("number", np.full(len(column), np.nan), "float64")
    if dtype == nw.Object:
        return cells_of(nw.from_native(polars_series(column), series_only=True), name, fitted)
    # narwhals does not know zones of pandas whose name has an underscore.
    if str(getattr(column.to_native(), "dtype", "")).startswith("datetime64["):
        return cells_of(nw.from_native(_times(column, name), series_only=True), name, fitted)
    raise _unsupported(name, column.drop_nulls()[0])


def _times(column: "nw.Series", name: str) -> "pl.Series":
    """A column of times as a polars series.

    Raises:
        DataError: Their zone is an offset that no place has by that name, such as +05:30.
    """
    import polars as pl

    try:
        return column.to_polars()
    except pl.exceptions.ComputeError:
        zone = str(getattr(column.to_native(), "dtype", column.dtype)).partition(", ")[2].rstrip("])")
        raise DataError(
            expected=f"times in column {name!r} whose zone has a name, or is whole hours from UTC",
            got=zone or "another zone",
            cure="convert them, to UTC or to such a zone (pandas: .dt.tz_convert('UTC'))",
        ) from None


class UnsupportedCellsError(DataError):
    """A column whose cells have an unsupported type."""


def cells_of_all(columns: Mapping[str, "nw.Series"]) -> dict[str, Cells]:
    """The cells of several columns.

    Raises:
        DataError: Some have an unsupported type; the message names all of them.
    """
    cells, errors = {}, {}
    for name, column in columns.items():
        try:
            cells[name] = cells_of(column, name)
        except UnsupportedCellsError as error:
            errors[name] = error
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise DataError(
            expected="columns of numbers, text, booleans, categories or dates",
            got=f"others in the columns {quoted(list(errors))}",
            cure=f"convert them, or leave them out: --exclude {','.join(errors)}, exclude={list(errors)}",
        )
    return cells


def _unsupported(name: str, *examples: object) -> UnsupportedCellsError:
    listed = " and ".join(f"{str(example)[:40]!r} ({type(example).__name__})" for example in examples[:2])
    return UnsupportedCellsError(
        expected="columns of numbers, text, booleans, categories or dates",
        got=f"column {name!r} with values such as {listed}",
        cure=f"convert it to text or numbers, or leave it out: --exclude {name}, exclude=[{name!r}]",
    )


def _exceeds_floats(column: "nw.Series") -> bool:
    return max(-int(column.min() or 0), int(column.max() or 0)) > LARGEST_EXACT


def _large_integers(column: "nw.Series") -> Cells:
    """Integers with missing cells that floating-point numbers cannot hold, as categories."""
    present = ~np.asarray(column.is_null().to_numpy(), bool)
    integers = np.asarray(column.drop_nulls().to_numpy(), np.uint64 if int(column.min() or 0) >= 0 else np.int64)
    categories = Cells("number", integers, str(column.dtype).lower()).as_categories()
    values = np.full(len(present), np.nan)
    values[present] = categories.values
    return replace(categories, values=values)


def _numbers(column: "nw.Series") -> np.ndarray:
    """Numbers in their data type if none is missing, else float64 with NaN."""
    import narwhals as nw

    if column.null_count():
        column = nw.from_native(column.to_polars(), series_only=True).cast(nw.Float64).fill_null(float("nan"))
    values = np.asarray(column.to_numpy())
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _name_of(dtype: "nw.dtypes.DType") -> str:
    import narwhals as nw

    if not isinstance(dtype, nw.Datetime):
        return "date"
    zone = dtype.time_zone or ""
    if zone.startswith(("UTC+", "UTC-")):  # as pandas calls an offset, which polars and arrow know without the letters
        zone = zone.removeprefix("UTC")
    return f"datetime[{dtype.time_unit}{zone and f', {zone}'}]"


def _declared(column: "nw.Series", name: str) -> Cells:
    """The cells of a categorical column, with the most frequent category first and without unused ones.

    Raises:
        DataError: Categories are intervals, times or other values that would not come back as they are.
    """
    present = column.unique().drop_nulls().to_list()
    examples = list({type(value): value for value in present}.values())
    try:
        array = column.to_arrow()
    except (TypeError, ValueError):  # categories of types that Arrow cannot hold beside each other
        raise _unsupported(name, *examples) from None
    if not all(isinstance(value, str | bool | int | float | np.number | np.bool) for value in examples):
        raise _unsupported(name, *examples)
    chunk = array.combine_chunks() if hasattr(array, "combine_chunks") else array
    if not hasattr(chunk, "dictionary"):
        chunk = chunk.dictionary_encode()
    codes = np.asarray(chunk.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False))
    declared = chunk.dictionary.to_pylist()
    counts = np.bincount(codes[codes >= 0], minlength=len(declared))
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], str(declared[code])))
    rank = np.full(len(declared) + 1, np.nan)
    rank[order] = np.arange(len(order))
    return Cells("category", rank[codes], "category", tuple(declared[code] for code in order))


def columns_of(frame: "Frame") -> dict[str, "nw.Series"]:
    """The columns of a frame other than the labels, by name."""
    columns = list(frame.table.iter_columns())
    return {frame.names[index]: columns[index] for index in frame.kept}


def polars_series(column: "nw.Series") -> "pl.Series":
    """A column as a polars series; see `object_series` for columns of Python objects."""
    import narwhals as nw

    if column.dtype != nw.Object:
        return column.to_polars()
    return object_series(str(column.name), column.to_list())


_CONTAINERS = list | tuple | dict | set | bytes | np.ndarray


def object_series(name: str, objects: Sequence[Any]) -> "pl.Series":
    """Python objects as a series: objects of one type keep it, mixtures become text.

    Raises:
        DataError: The objects have an unsupported type: lists, records, bytes.
    """
    import polars as pl

    values = [None if is_absent(value) else value for value in objects]
    container = next((value for value in values if isinstance(value, _CONTAINERS)), None)
    if container is not None:
        raise _unsupported(name, container)
    kinds = {type(value) for value in values if value is not None}
    numbers = all(issubclass(kind, int | float | np.number) and kind is not bool for kind in kinds)
    if len(kinds) > 1 and not numbers:
        values = [None if value is None else str(value) for value in values]
    try:
        series = pl.Series(name, values, strict=False)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    if series.dtype == pl.Object:
        raise _unsupported(name, next(value for value in values if value is not None))
    return series


PANDAS_INDEX = "__index_level_0__"


def is_frame(source: Any) -> bool:
    """Whether an object is a data frame of a known library, including lazy frames."""
    import narwhals as nw

    try:
        return isinstance(nw.from_native(source, pass_through=True), nw.DataFrame | nw.LazyFrame)
    except nw.exceptions.DuplicateError:
        return True


@dataclass(frozen=True)
class Frame:
    """A data frame with its labels separated from the other columns.

    Attributes:
        table: All columns.
        kept: The indices of the columns other than the labels.
        names: The names of all columns; ``column_0``, ... if they have none.
        named: Whether they have names.
        labels: One label for each row, or None.
        label: The name of the column of the labels.
        notes: Notes on reading it.
        kind: The library of the frame that the user gave; None for files.
        original: What the user gave, if it was not a data frame.
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
        """The table as the user gave it, or as read from a file."""
        return self.table.to_native() if self.original is None else self.original

    @property
    def labels_of_columns(self) -> Any:
        """The labels of the columns of a pandas frame of the user: text, numbers, tuples of several levels, ..."""
        return self.native.columns if self.kind == "pandas" else None

    def dataset(self, overrides: Overrides = NOTHING) -> Dataset:
        """The dataset of the columns, whose kinds are inferred from their cells or set by the user."""
        overrides = overrides.checked([self.names[index] for index in self.kept], self.label)
        columns = list(self.table.iter_columns())
        read = [index for index in self.kept if self.names[index] not in overrides.excluded]
        cells = cells_of_all({self.names[index]: columns[index] for index in read})
        for name, column in cells.items():
            if column.is_text and name not in overrides.kinds:
                refuse_misread(name, column)
        excluded = {name: reason for name, reason in exclusions(cells).items() if name not in overrides.kinds}
        excluded |= overrides.excluded
        kinds, hints = examined({name: cells[name] for name in cells if name not in {*excluded, *overrides.kinds}})
        dataset = from_cells(
            cells, named=self.named, labels=self.labels, label=self.label, notes=(*self.notes, *hints),
            kinds=kinds | overrides.kinds,
            excluded={name: excluded[name] for name in self.names if name in excluded},
        )  # fmt: skip
        return replace(dataset, frame_kind=self.kind, frame_labels=self.labels_of_columns, native=self.native)

    def matched(self, schema: Schema, *, allow_missing: bool = False) -> Dataset:
        """The dataset of the columns, matched to those of the fit."""
        if schema.columns is None:
            return as_matched(self.dataset(), schema, schema.match(self.dataset()))
        names = [self.names[index] for index in self.kept]
        columns = list(self.table.iter_columns())

        def cells(place: int, column: Column) -> Cells:
            return cells_of(columns[self.kept[place]], names[place], column)

        table = match_table(schema, names, len(self.table), cells, named=self.named, labels=self.labels)
        match = schema.finished(table, allow_missing=allow_missing)
        read = Dataset(
            match.values, schema, self.labels, notes=self.notes, frame_kind=self.kind,
            frame_labels=self.labels_of_columns, native=self.native,
        )  # fmt: skip
        return as_matched(read, schema, match)


def examined(cells: Mapping[str, Cells]) -> tuple[dict[str, str], list[str]]:
    """The kinds of columns whose cells are misleading, and hints on columns that may be misread."""
    kinds: dict[str, str] = {}
    hints = []
    for name, column in cells.items():
        if column.is_text:
            hint = hint_on(column)
            hints += [f"column {name!r} was read as {hint}"] if hint else []
        elif too_large(column):
            kinds[name] = "categorical"
            hints.append(f"column {name!r} has whole numbers beyond 2**53 and was read as names, not as amounts")
    return kinds, hints


def kind_of_frame(frame: Any) -> FrameKind:
    """The library of a data frame; polars for any other library."""
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
    """A pandas, polars or arrow frame with its labels separated from the other columns.

    Args:
        frame: The frame.
        label: The column of the labels, or a file of labels.
        named: Whether the columns have real names.
        notes: Notes to keep with the dataset.
        kind: The library of the user's frame; None for files.

    Raises:
        DataError: A name occurs twice, there are no rows, or there is no such label.
    """
    table, notes = _open(frame), list(notes)
    if PANDAS_INDEX in table.columns:
        table = table.drop(PANDAS_INDEX)
        notes.append("the row index that pandas saved was ignored")
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            expected="columns with different names", got=f"{twice!r} as text and as something else that is written so",
            cure="rename or drop one of them",
        )  # fmt: skip
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
            expected="columns with different names", got=f"{twice} more than once", cure="rename or drop the duplicates"
        ) from None
    if isinstance(opened, nw.LazyFrame):
        raise DataError(expected="a data frame", got="a lazy frame", cure="call .collect() on it first")
    return opened


def _shown(name: str, index: int, *, named: bool) -> str:
    return name if named else f"column_{index}"


def _label_column(names: list[str], label: str | Path, *, named: bool) -> str | None:
    """The name of the column of the labels; None if ``label`` is a file."""
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
        cure=f"did you mean {' or '.join(near)}?" if near else "name a column, or the path of a file",
    )
