"""Datasets: values in the user's units with their schema, labels and notes."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from scipy import sparse

from reparax.data.columns import EMPTY, column_of, notes_on, refuse_merged
from reparax.data.gaps import with_gaps_described
from reparax.data.match import Matched, refuse_infinite
from reparax.data.schema import Schema, describe_shape
from reparax.data.values import (
    LARGEST_INTEGER,
    SMALLEST_STD,
    Cells,
    as_real,
    by_rows,
    column_name,
    kind_of,
    loses_digits,
    moments,
    plain,
    refuse_merged_values,
    refuse_non_finite,
    refuse_non_numbers,
)
from reparax.errors import DataError
from reparax.summary import Column, Kind


class Layout(NamedTuple):
    """An array with known axes: examples first, channels last."""

    values: np.ndarray
    kind: Literal["images", "table", "array"]
    notes: tuple[str, ...] = ()


def as_examples(array: np.ndarray) -> Layout:
    """Infers the meaning of the axes of an array.

    Two axes are a table ``(n, columns)``; three are gray images ``(n, height, width)``, to which a channel axis is
    added; four are images; five or more are an array. The channels of images are the last axis if its length is 1 to 4;
    else the second axis if its length is 1, 3 or 4 (channels first: they are moved, with a note); else the last axis if
    it is shorter than height and width (many-channel images).

    Raises:
        DataError: There are fewer than two axes, or it is unclear which of four axes are the channels.
    """
    if array.ndim < 2:
        raise DataError(
            expected="an array of at least two axes, examples first",
            got="a single value" if array.ndim == 0 else f"one axis of {len(array)} values",
            cure="for a single column use X.reshape(-1, 1), for a single example X.reshape(1, -1)",
        )
    if array.ndim == 2:
        return Layout(array, "table")
    if array.ndim == 3:
        return Layout(array[..., None], "images")
    if array.ndim > 4:
        return Layout(array, "array")
    _, first, middle, last = array.shape
    if last in {1, 2, 3, 4}:
        return Layout(array, "images")
    if first in {1, 3, 4}:
        note = f"axes {array.shape[1:]} were read as channels, height, width"
        return Layout(np.moveaxis(array, 1, -1), "images", (note,))
    if last < min(first, middle):
        return Layout(array, "images")
    raise DataError(
        expected="images of shape (n, height, width, channels)",
        got=f"shape {array.shape}, where it is unclear which axis holds the channels",
        cure="put the channels last (numpy.moveaxis), or use rows of numbers: X.reshape(len(X), -1)",
    )


SHOWN_COLUMNS = 8
WIDE = "stored as float64, as float32 would lose digits; subtract an offset from columns of large, close values"

FrameKind = Literal["polars", "pandas", "pyarrow", "numpy"]


class Release(NamedTuple):
    """The noisy counts that describe a table in place of its rows.

    Attributes:
        scale: The standard deviation of the noise, in rows.
        num_histograms: How many histograms have these counts.
    """

    scale: float
    num_histograms: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in the user's units, with their description.

    Attributes:
        values: An array of shape ``(n, *event_shape)``. Its dtype is uint8 for 0/1 values and images of up to 8 bits,
            uint16 for deeper images, int32 for other whole numbers, and float32 for real numbers (float64, with a note,
            if float32 would lose digits that matter). Tables with categories, dates or missing cells are matrices of
            numbers, codes of categories and days since 1970, with NaN for missing cells. Sparse data are a
            `scipy.sparse.csr_array`.
        schema: The description of the values.
        labels: One label for each example, shape ``(n,)``, or None; they are not among the values.
        ids: One name for each example (the files of a folder of images), or None.
        notes: Sentences for the user on what was noticed or decided while reading.
        frame_kind: The library of the data frame that the user gave, or ``"numpy"`` for an array; None for files.
        frame_labels: The labels of the columns of a pandas frame, which need not be text; None for other data. Of
            several views, a mapping from the names of those that are such frames to their labels.
        native: The table as given, including columns that are not modeled; None for images and for subsets of data. Of
            several views, what was given of those whose numbers single precision may round: `Observed` by their names.
        context: Numbers that are known of each example and not modeled, shape ``(n, c)``, such as labels or covariates;
            None without a context.
        conditions: What is given of each example and not modeled, by name: a table of its own with the schema
            ``schema.given``; None where nothing is given.
        classes: The place of each example's label in ``schema.classes``, shape ``(n,)``, -1 without a label; None
            unless a class is part of the model.
        release: The noisy counts that the schema is made of; None where it describes the rows themselves.
    """

    values: np.ndarray
    schema: Schema
    labels: np.ndarray | None = None
    ids: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    frame_kind: FrameKind | None = None
    frame_labels: Any = None
    native: Any = None
    context: np.ndarray | None = None
    conditions: "Dataset | None" = None
    classes: np.ndarray | None = None
    release: Release | None = None

    def __repr__(self) -> str:
        """The size of the data and the kinds of their columns, in a few lines."""
        if self.schema.views:
            views = [f"{name}: {view.kind} of {describe_shape(view.event_shape)}" for name, view in self.schema.views]
            return f"Dataset({'; '.join([f'{len(self)} examples with views', *views, *self.notes])})"
        kinds = [f"{column.name}: {column.kind}" for column in self.schema.columns or ()]
        shown = [", ".join(kinds[:SHOWN_COLUMNS]) + (", ..." if len(kinds) > SHOWN_COLUMNS else "")] if kinds else []
        has_gaps = self.values.dtype.kind == "f" and not isinstance(self.values, sparse.csr_array)
        missing = int(np.isnan(self.values).sum()) if has_gaps else 0
        gaps = [f"{missing} missing cell{'s' if missing > 1 else ''}"] if missing else []
        what = describe_shape(self.schema.event_shape).removeprefix("images of ").removeprefix("examples of shape ")
        noun = {"table": "rows", "images": "images"}.get(self.schema.kind, "examples")
        noun = noun[:-1] if len(self) == 1 else noun
        parts = [f"{len(self)} {noun} of {what}", *shown, *gaps, *self.notes]
        return f"Dataset({'; '.join(parts)})"

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def is_sparse(self) -> bool:
        """Whether the values are a sparse matrix of scipy."""
        return isinstance(self.values, sparse.csr_array)

    def take(self, indices: np.ndarray) -> "Dataset":
        """The examples at ``indices``, with the same schema."""
        labels = None if self.labels is None else self.labels[indices]
        ids = None if self.ids is None else self.ids[indices]
        context = None if self.context is None else self.context[indices]
        given = None if self.conditions is None else self.conditions.take(indices)
        classes = None if self.classes is None else self.classes[indices]
        values = self.values[indices]
        return replace(
            self, values=values, labels=labels, ids=ids, native=None, context=context, conditions=given, classes=classes
        )  # fmt: skip

    def given(self, context: Any) -> "Dataset":
        """The same examples with a context: one row of numbers for each.

        Raises:
            DataError: The context has another number of rows, or is not made of finite numbers.
        """
        return replace(self, context=_as_context(context, len(self)))


def as_matched(dataset: Dataset, schema: Schema, match: Matched) -> Dataset:
    """The dataset with the values that were matched to the schema of a fit, and with what is given of each example."""
    conditions = None
    if match.given is not None and schema.given is not None:
        conditions = Dataset(np.ascontiguousarray(match.given, dtype=schema.given.dtype), schema.given)
    notes = (*dataset.notes, *match.notes)
    return replace(dataset, values=match.values, schema=schema, notes=notes, conditions=conditions)


def _as_context(context: Any, num_examples: int) -> np.ndarray:
    try:
        rows = np.asarray(context, np.float32)
    except (TypeError, ValueError):
        rows = np.zeros(())
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or len(rows) != num_examples or not rows.size or not np.isfinite(rows).all():
        raise DataError(
            expected=f"a context of finite numbers, one row for each of the {num_examples} examples",
            got=f"{type(context).__name__} of shape {np.shape(context)}",
            cure="encode labels as numbers (one column for each class), and fill missing values",
        )
    return rows


def from_array(
    array: np.ndarray,
    *,
    names: tuple[str, ...] | None = None,
    labels: np.ndarray | None = None,
    label: str | None = None,
    ids: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """A dataset from numbers: two axes are a table, three or four are images, more are an array.

    See `reparax.data.read` for how axes, kinds and levels are inferred.

    Args:
        array: Shape ``(n, d)``, ``(n, height, width)``, ``(n, height, width, channels)`` or more axes.
        names: The names of the columns.
        labels: One label for each example.
        label: The name of the column or array of the labels.
        ids: One name for each example.
        notes: Notes to keep with the dataset.

    Raises:
        DataError: There are no examples or no columns, or values that are not numbers, not finite, or beyond float32.
    """
    refuse_non_numbers(array)
    layout = as_examples(array)
    _refuse_empty(*layout.values.shape[:1], layout.values.size)
    _refuse_labels(labels, len(array))
    if layout.kind == "table":
        cells = {column_name(names, index): array_cells(array[:, index]) for index in range(array.shape[1])}
        return from_cells(cells, named=names is not None, labels=labels, label=label, ids=ids, notes=notes, array=array)
    refuse_non_finite(layout.values, names, ids)
    refuse_merged_values(layout.values)
    kind = kind_of(layout.values)
    values = _compact(layout, kind, names)
    schema, more = _describe(values, layout, kind, names, label)
    notes = (*notes, *layout.notes, *more)
    return Dataset(values=_frozen(values, array), schema=schema, labels=labels, ids=ids, notes=notes)


def array_cells(column: np.ndarray) -> Cells:
    """The cells of a column of an array."""
    if column.dtype.kind == "b":
        return Cells("boolean", column.view(np.uint8), "boolean", (False, True))
    if column.dtype.kind == "f" and column.dtype.itemsize == 2:  # of either byte order
        return Cells("number", column.astype(np.float32), "float16")
    return Cells("number", column, column.dtype.name)


def from_cells(
    cells: Mapping[str, Cells],
    *,
    named: bool,
    labels: np.ndarray | None = None,
    label: str | None = None,
    ids: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
    excluded: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    array: np.ndarray | None = None,
) -> Dataset:
    """A dataset from the cells of a table, by column.

    Numbers without missing cells are stored in a compact dtype; a table with categories, dates or missing cells becomes
    a matrix of numbers and codes.

    Args:
        cells: The columns, by name.
        named: Whether the columns have real names.
        labels: One label for each row.
        label: The name of the column of the labels.
        ids: One name for each row.
        notes: Notes to keep with the dataset.
        excluded: Columns that are not modeled, with the reason.
        kinds: The kinds of columns that the user has set.
        array: The cells as one array, if they were given as one array of numbers.

    Raises:
        DataError: No rows or no columns are left, there are infinities, or cells cannot be of the kind that the user
            has set.
    """
    num_rows = len(next(iter(cells.values())).values) if cells else 0 if labels is None else len(labels)
    _refuse_empty(num_rows, num_rows * len(cells))
    _refuse_labels(labels, num_rows)
    excluded, kinds = dict(excluded or {}), kinds or {}
    excluded |= {name: EMPTY for name, column in cells.items() if column.num_missing == num_rows}
    kept = {name: column for name, column in cells.items() if name not in excluded}
    if not kept:
        raise DataError(
            expected="columns to learn from", got=f"none: {'; '.join(notes_on(excluded, 3))}", cure="check the data"
        )
    for name, column in kept.items():
        refuse_infinite(column, name)
    columns = tuple(column_of(name, column, kinds.get(name)) for name, column in kept.items())
    for described, exact in zip(columns, kept.values(), strict=True):
        refuse_merged(exact, described)
    names = tuple(kept) if named else None
    if all(itertools.starmap(is_plain, zip(kept.values(), columns, strict=True))):
        if array is None or len(kept) < len(cells):
            numbers = [column.values for column in kept.values()]
            matrix = by_rows(numbers, np.result_type(*numbers))
        else:
            matrix = array
        values, schema, more = plain_table(matrix, names, label, columns)
    else:
        values, schema, more = mixed_table(kept, names, label, columns)
    more = [*(f"column {name!r}: {note}" for name, column in kept.items() for note in column.notes), *more]
    return Dataset(
        values=_frozen(values, array),
        schema=msgspec.structs.replace(schema, excluded=tuple(excluded.items())),
        labels=labels,
        ids=ids,
        notes=(*notes, *notes_on(excluded), *more),
    )


def _refuse_empty(num_rows: int, size: int) -> None:
    if size == 0:
        got = "none" if num_rows == 0 else f"{num_rows} example{'' if num_rows == 1 else 's'} of no values"
        raise DataError(expected="at least one example", got=got, cure="check that this is the right file")


def _refuse_labels(labels: np.ndarray | None, num_rows: int) -> None:
    if labels is not None and labels.shape != (num_rows,):
        raise DataError(
            expected=f"one label for each of the {num_rows} examples",
            got=f"labels of shape {labels.shape}",
            cure="use the labels of these data",
        )


def is_plain(cells: Cells, column: Column) -> bool:
    """Whether the values of a column are the numbers themselves, with none missing."""
    if cells.num_missing or cells.kind not in {"number", "boolean"}:
        return False
    return not column.is_category or cells.kind == "boolean" or column.categories == (0, 1)


def _frozen(values: np.ndarray, array: np.ndarray | None) -> np.ndarray:
    """Contiguous read-only values; the user's array stays writeable."""
    values = np.ascontiguousarray(values)
    if values is array:
        values = values.view()
    values.flags.writeable = False
    return values


def plain_table(
    array: np.ndarray, names: tuple[str, ...] | None, label: str | None, columns: tuple[Column, ...]
) -> tuple[np.ndarray, Schema, list[str]]:
    """The matrix of numbers in a compact dtype, its schema, and notes."""
    layout = Layout(array, "table")
    kind = kind_of(array)
    values = _compact(layout, kind, names)
    schema, notes = _describe(values, layout, kind, names, label)
    return values, msgspec.structs.replace(schema, columns=columns), notes


def mixed_table(
    kept: Mapping[str, Cells], names: tuple[str, ...] | None, label: str | None, columns: tuple[Column, ...]
) -> tuple[np.ndarray, Schema, list[str]]:
    """The matrix of numbers and codes, its schema, and notes; float64 if float32 would lose digits of some column."""
    wide = [column.name for cells, column in zip(kept.values(), columns, strict=True) if loses_digits(cells, column)]
    dtype = np.float64 if wide else np.float32
    values = np.empty((len(next(iter(kept.values())).values), len(kept)), dtype)
    for index, (cells, column) in enumerate(zip(kept.values(), columns, strict=True)):
        codes = column.is_category and cells.kind == "number"
        values[:, index] = cells.as_categories().values if codes else cells.values
    columns = with_gaps_described(columns, values)
    schema = Schema(
        kind="table",
        event_shape=(len(columns),),
        value_kind="mixed",
        low=tuple(column.low for column in columns),
        high=tuple(column.high for column in columns),
        mean=tuple(column.mean for column in columns),
        std=tuple(column.std for column in columns),
        num_examples=len(values),
        dtype="float64" if wide else "float32",
        names=names,
        label=label,
        columns=columns,
    )
    return values, schema, notes_on_mixed(columns, len(values), wide)


def notes_on_mixed(columns: tuple[Column, ...], num_rows: int, wide: list[str]) -> list[str]:
    """Sentences on missing cells, constant columns, and columns for which float32 is too coarse."""
    notes = []
    missing = sorted((column for column in columns if column.missing), key=lambda column: -column.missing)
    if missing:
        listed = ", ".join(f"{column.name!r} {100 * column.missing:.2g} %" for column in missing[:5])
        more = ", ..." if len(missing) > 5 else ""
        notes.append(f"cells are missing in {len(missing)} of {len(columns)} columns: {listed}{more}")
    constant = [repr(column.name) for column in columns if column.low == column.high]
    if constant and num_rows > 1:
        listed = ", ".join(constant[:5]) + (f" and {len(constant) - 5} more" if len(constant) > 5 else "")
        notes.append(f"constant columns carry no information; their standard deviation is set to 1: {listed}")
    if wide:
        notes.append(f"stored as float64, as float32 would lose digits of {', '.join(map(repr, wide[:5]))}")
    return notes


def _compact(layout: Layout, kind: Kind, names: tuple[str, ...] | None) -> np.ndarray:
    values = layout.values
    if kind == "real":
        return as_real(values, names)
    if kind == "binary":
        return values.astype(np.uint8, copy=False)
    if layout.kind == "images" and values.min() >= 0 and float(values.max()) <= 65535:
        return values.astype(np.uint8 if values.max() <= 255 else np.uint16, copy=False)
    return values.astype(np.int32, copy=False)


def _describe(
    values: np.ndarray, layout: Layout, kind: Kind, names: tuple[str, ...] | None, label: str | None
) -> tuple[Schema, list[str]]:
    images = layout.kind == "images"
    low, high = (values.min(), values.max()) if images else (values.min(axis=0), values.max(axis=0))
    mean, std = moments(values, per_dimension=not images)
    constant = (low == high) | (std < SMALLEST_STD)
    std = np.where(constant, 1.0, std)
    notes = _notes_on_constants(layout, values, constant, names)
    if (layout.values.dtype.kind in "iu" and kind == "real") or values.dtype == np.float64:
        notes.append(_note_on_digits(values))
    if images:
        low, high = levels_of_images(layout.values.dtype, kind, float(low), float(high))
        if kind == "integer" and high == 255 and values.max() < 128:
            notes.append(f"8-bit images with levels 0 to 255, although the highest level is {values.max()}")
    schema = Schema(
        kind=layout.kind,
        event_shape=values.shape[1:],
        value_kind=kind,
        low=plain(low),
        high=plain(high),
        mean=plain(mean),
        std=plain(std),
        num_examples=len(values),
        dtype=str(values.dtype),  # ty: ignore[invalid-argument-type]
        names=names,
        label=label,
    )
    return schema, notes


def levels_of_images(dtype: np.dtype, kind: Kind, low: float, high: float) -> tuple[float, float]:
    """The bounds of the values of images: by convention if the values suggest one, else as observed."""
    if low < 0:
        return low, high
    if kind == "binary" or (kind == "real" and high <= 1):
        return 0.0, 1.0
    if kind == "real":
        return low, high
    if dtype == np.uint8:
        return 0.0, 255.0
    return 0.0, high if high < 128 else float(2 ** int(high).bit_length() - 1)


def _notes_on_constants(
    layout: Layout, values: np.ndarray, constant: np.ndarray, names: tuple[str, ...] | None
) -> list[str]:
    if not constant.any() or len(values) == 1:
        return []
    if layout.kind == "images":
        return [f"every pixel of every image is {values.flat[0]}; the standard deviation is set to 1"]
    if layout.kind == "array":
        return [
            f"{int(constant.sum())} of {constant.size} dimensions are constant; their standard deviation is set to 1"
        ]
    which = [repr(column_name(names, int(i))) for i in np.flatnonzero(constant)]
    listed = ", ".join(which[:5]) + (f" and {len(which) - 5} more" if len(which) > 5 else "")
    return [f"constant columns carry no information; their standard deviation is set to 1: {listed}"]


def _note_on_digits(values: np.ndarray) -> str:
    if values.dtype == np.float64:
        return WIDE
    return f"whole numbers beyond {LARGEST_INTEGER} in size are treated as real numbers"
