"""A data set: the values in the user's units, their schema, and what came beside them."""

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from reparax.data._layout import Layout, as_examples
from reparax.data._schema import Schema, describe_shape
from reparax.data._values import (
    LARGEST_INTEGER,
    SMALLEST_STD,
    as_real,
    column_name,
    kind_of,
    moments,
    refuse_non_finite,
    refuse_non_numbers,
)
from reparax.errors import DataError
from reparax.summary import Kind


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in the user's units, and what is known of them.

    Attributes:
        values: An array of shape ``(n, *event_shape)``. Dtypes: uint8 for 0/1 values and for images of up to 8 bits,
            uint16 for deeper ones, int32 for other whole numbers, float32 for real ones (float64 where float32 would
            lose digits that matter; a note says so).
        schema: The description of the values.
        labels: One label per example, shape ``(n,)``, or None. They never enter the values.
        ids: One name per example (the files of a folder of images), or None.
        notes: Sentences on what was noticed or decided while reading, for people.
    """

    values: np.ndarray
    schema: Schema
    labels: np.ndarray | None = None
    ids: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: np.ndarray) -> "Dataset":
        """The examples at ``indices``, with the same schema."""
        labels = None if self.labels is None else self.labels[indices]
        ids = None if self.ids is None else self.ids[indices]
        return replace(self, values=self.values[indices], labels=labels, ids=ids)


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

    See `reparax.data.read` for how axes, kinds and levels are told.

    Args:
        array: Shape ``(n, d)``, ``(n, height, width)``, ``(n, height, width, channels)`` or more axes.
        names: The columns' names.
        labels: One label per example.
        label: The column or key that the labels came from.
        ids: One name per example.
        notes: Sentences to keep with the dataset.

    Raises:
        DataError: No examples or no columns, other things than numbers, NaN or infinity, values beyond float32.
    """
    refuse_non_numbers(array)
    layout = as_examples(array)
    if layout.values.size == 0:
        got = "none" if len(layout.values) == 0 else f"{len(layout.values)} examples of no values"
        raise DataError(expected="at least one example", got=got, cure="check that this is the right file")
    refuse_non_finite(layout.values, names, ids)
    if labels is not None and labels.shape != (len(array),):
        raise DataError(
            expected=f"one label for each of the {len(array)} examples",
            got=f"labels of shape {labels.shape}",
            cure="give the labels that belong to these data",
        )
    kind = kind_of(layout.values)
    values = _compact(layout, kind, names)
    schema, more = _describe(values, layout, kind, names, label)
    values = np.ascontiguousarray(values)
    if values is array:
        values = values.view()
    values.flags.writeable = False
    return Dataset(values=values, schema=schema, labels=labels, ids=ids, notes=(*notes, *layout.notes, *more))


def _compact(layout: Layout, kind: Kind, names: tuple[str, ...] | None) -> np.ndarray:
    values = layout.values
    if kind == "real":
        return as_real(values, names)
    if kind == "binary":
        return values.astype(np.uint8, copy=False)
    if layout.kind == "images" and values.min() >= 0 and values.max() <= 65535:
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
        low, high = _levels(layout.values.dtype, kind, float(low), float(high))
        if kind == "integer" and high == 255 and values.max() < 128:
            notes.append(f"8-bit images of levels 0 to 255, though the highest level seen is {values.max()}")
    schema = Schema(
        kind=layout.kind,
        event_shape=values.shape[1:],
        value_kind=kind,
        low=_plain(low),
        high=_plain(high),
        mean=_plain(mean),
        std=_plain(std),
        num_examples=len(values),
        dtype=str(values.dtype),  # ty: ignore[invalid-argument-type]
        names=names,
        label=label,
    )
    return schema, notes


def _levels(dtype: np.dtype, kind: Kind, low: float, high: float) -> tuple[float, float]:
    """The bounds of an image's values: by convention where the values suggest one, else as observed."""
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
        return [f"every pixel of every image is {values.flat[0]}: the standard deviation is set to 1"]
    if layout.kind == "array":
        return [
            f"{int(constant.sum())} of {constant.size} dimensions are constant: their standard deviation is set to 1"
        ]
    which = [repr(column_name(names, int(i))) for i in np.flatnonzero(constant)]
    listed = ", ".join(which[:5]) + (f" and {len(which) - 5} more" if len(which) > 5 else "")
    return [f"constant columns carry no information; their standard deviation is set to 1: {listed}"]


def _note_on_digits(values: np.ndarray) -> str:
    if values.dtype == np.float64:
        return "kept in float64: float32 would lose digits; subtract an offset from columns of large, close values"
    return f"whole numbers beyond {LARGEST_INTEGER} in size are treated as real numbers"


def _plain(values: np.ndarray | float) -> float | tuple[float, ...]:
    flat = np.asarray(values, np.float64)
    return float(flat) if flat.ndim == 0 else tuple(flat.ravel().tolist())


def require_fit(dataset: Dataset) -> None:
    """Raises `DataError` unless a model can be fitted to the data: at least two examples that are not all equal.

    Raises:
        DataError: One example only, or nothing varies.
    """
    if len(dataset) < 2:
        raise DataError(
            expected="at least 2 examples to fit a model", got=f"{len(dataset)}", cure="give more data to fit on"
        )
    if all(bool((chunk == dataset.values[0]).all()) for chunk in np.array_split(dataset.values, 16) if len(chunk)):
        raise DataError(
            expected="examples that differ",
            got=f"{len(dataset)} equal {'rows' if dataset.schema.kind == 'table' else 'examples'} of "
            f"{describe_shape(dataset.schema.event_shape)}",
            cure="check that these are the right data: there is nothing to learn from them",
        )


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Splits a dataset at random into a part to fit on and a part held out, each in the original order.

    Kind and bounds of the values (``low``, ``high``) describe all data; mean and standard deviation are those of the
    first part alone, so that nothing of the held-out values enters a standardization. Both parts carry that schema.

    Args:
        dataset: At least two examples.
        fraction: The held-out share, in (0, 1); at least one example goes to each side.
        seed: The seed of the draw; the same seed gives the same split.

    Raises:
        DataError: The fraction is outside (0, 1), or there are fewer than two examples.
    """
    if not 0 < fraction < 1:
        raise DataError(
            expected="a held-out fraction above 0 and below 1", got=f"{fraction}", cure="0.1 holds out every tenth row"
        )
    if len(dataset) < 2:
        raise DataError(expected="at least 2 examples to split", got=f"{len(dataset)}", cure="give more data")
    num_valid = min(max(1, round(len(dataset) * fraction)), len(dataset) - 1)
    order = np.random.default_rng(seed).permutation(len(dataset))
    train, valid = dataset.take(np.sort(order[num_valid:])), dataset.take(np.sort(order[:num_valid]))
    schema = _with_moments_of(train)
    return replace(train, schema=schema), replace(valid, schema=schema)


def _with_moments_of(train: Dataset) -> Schema:
    mean, std = moments(train.values, per_dimension=train.schema.kind != "images")
    axis = None if train.schema.kind == "images" else 0
    constant = (train.values.min(axis=axis) == train.values.max(axis=axis)) | (std < SMALLEST_STD)
    std = np.where(constant, 1.0, std)
    return msgspec.structs.replace(train.schema, mean=_plain(mean), std=_plain(std), num_examples=len(train))
