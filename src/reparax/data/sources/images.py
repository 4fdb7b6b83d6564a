"""The schema of images, or of arrays of more axes, from one pass over them."""

import zlib

import msgspec
import numpy as np

from reparax.data.arrays import Arrays
from reparax.data.dataset import WIDE, as_examples, levels_of_images
from reparax.data.schema import Schema
from reparax.data.sources.tally import Spread
from reparax.data.values import LARGEST_INTEGER, LARGEST_REAL, LOST_DIGITS, plain, whole
from reparax.errors import DataError
from reparax.summary import Kind


class ArrayAccount:
    """What is counted of examples with two axes or more, piece by piece."""

    def __init__(self) -> None:
        self.rows, self._checksum = 0, 0
        self._low, self._high = np.inf, -np.inf
        self._ends: tuple[np.ndarray, np.ndarray] | None = None
        self._spread: Spread | None = None
        self._is_whole, self._lost = True, np.zeros(())

    def add(self, loaded: Arrays, before: int) -> None:
        """Counts the examples of a piece.

        Args:
            loaded: The piece.
            before: The number of examples before it.

        Raises:
            DataError: A value is not finite, or beyond float32.
        """
        values = as_examples(loaded.array).values
        _refuse(values, before)
        self.rows += len(values)
        self._checksum = zlib.crc32(np.ascontiguousarray(loaded.array).data, self._checksum)
        ends = values.min(axis=0), values.max(axis=0)
        self._ends = (
            ends if self._ends is None else (np.minimum(self._ends[0], ends[0]), np.maximum(self._ends[1], ends[1]))
        )
        spread = Spread.of(values.astype(np.float64))
        self._spread = spread if self._spread is None else self._spread.joined(spread)
        self._is_whole = self._is_whole and whole(values)
        if values.dtype.kind != "f" or values.dtype.itemsize > 4:
            lost = np.abs(values - values.astype(np.float32).astype(np.float64)).max(axis=0)
            self._lost = np.maximum(self._lost, lost)

    @property
    def checksum(self) -> str:
        """A checksum of all values."""
        return f"{self._checksum:x}"

    def described(self, sample: Arrays) -> tuple[Schema, tuple[str, ...]]:
        """The schema of all examples, and notes.

        Args:
            sample: Some of them.
        """
        assert self._ends is not None
        assert self._spread is not None
        layout = as_examples(sample.array)
        images, notes = layout.kind == "images", list(layout.notes)
        low, high = self._ends
        kind = self._kind(float(low.min()), float(high.max()))
        dtype = self._dtype(kind, float(low.min()), float(high.max()), images=images)
        if dtype == "float64":
            notes.append(WIDE)
        low, high = low.astype(dtype).astype(np.float64), high.astype(dtype).astype(np.float64)
        mean, std = self._moments(self._spread, per_dimension=not images)
        if images:
            low, high = levels_of_images(sample.array.dtype, kind, float(low.min()), float(high.max()))
        else:
            constant = low == high
            std = np.where(constant, 1.0, std)
            if constant.any():
                count = f"{int(constant.sum())} of {constant.size} dimensions are constant"
                notes.append(f"{count}; their standard deviation is set to 1")
        schema = Schema(
            kind=layout.kind, event_shape=layout.values.shape[1:], value_kind=kind, low=plain(low), high=plain(high),
            mean=plain(mean), std=plain(std), num_examples=self.rows, dtype=dtype,  # ty: ignore[invalid-argument-type]
        )  # fmt: skip
        return schema, tuple(notes)

    def without(self, other: "ArrayAccount", sample: Arrays, schema: Schema) -> Schema:
        """The schema with the moments of the other examples.

        Args:
            other: The account of some of the examples.
            sample: A sample of the other ones.
            schema: The schema of all examples.
        """
        assert self._spread is not None
        assert other._spread is not None
        rest = self._spread.without(other._spread)
        mean, std = self._moments(rest, per_dimension=schema.kind != "images")
        return msgspec.structs.replace(schema, mean=plain(mean), std=plain(std), num_examples=rest.count)

    @staticmethod
    def _moments(spread: Spread, *, per_dimension: bool) -> tuple[np.ndarray, np.ndarray]:
        if per_dimension:
            return spread.mean, spread.std
        mean = spread.mean.mean()
        squares = spread.squares.mean() / spread.count + np.square(spread.mean - mean).mean()
        return mean, Spread(1, mean, squares).std

    def _kind(self, low: float, high: float) -> Kind:
        if not self._is_whole:
            return "real"
        if low >= 0 and high <= 1:
            return "binary"
        return "integer" if max(-low, high) <= LARGEST_INTEGER else "real"

    def _dtype(self, kind: Kind, low: float, high: float, *, images: bool) -> str:
        """The dtype of the values; see `reparax.data.dataset.Dataset`."""
        assert self._spread is not None
        assert self._ends is not None
        if kind == "real":
            fine = (self._lost <= LOST_DIGITS * self._spread.std) | (self._ends[0] == self._ends[1])
            return "float32" if bool(fine.all()) else "float64"
        if kind == "binary":
            return "uint8"
        if images and low >= 0 and high <= 65535:
            return "uint8" if high <= 255 else "uint16"
        return "int32"


def _refuse(values: np.ndarray, before: int) -> None:
    """Refuses values that are not finite or beyond float32.

    Raises:
        DataError: There is one; the message says in which example the first is.
    """
    if values.dtype.kind != "f":
        return
    size = np.abs(values).max(axis=tuple(range(1, values.ndim)))
    wrong = ~(size <= LARGEST_REAL)
    if wrong.any():
        raise DataError(
            expected=f"finite numbers up to {LARGEST_REAL:g} in size",
            got=f"missing, NaN, infinite or larger ones, the first in example {before + int(np.argmax(wrong)) + 1}",
            cure="drop or fill them first, or rescale the values",
        )
