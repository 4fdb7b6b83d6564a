"""Files of many rows that are read in blocks."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from reparax.data.arrays import Arrays
from reparax.data.frames import Frame
from reparax.data.schema import Schema

if TYPE_CHECKING:
    import pyarrow as pa

Raw = Any
"""Rows as they are in a file: an array, or an arrow table."""

PIECE_ROWS = 65_536
PIECE_VALUES = 1 << 22
"""Rows and values that are decoded at once; what is decoded takes a few times the memory of the values."""


class Source(ABC):
    """Rows in files, in blocks that are read one at a time."""

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, ...]:
        """The number of rows of each block."""

    @property
    @abstractmethod
    def row_size(self) -> int:
        """The number of values of a row."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What tells the files from others without reading all of them."""

    @abstractmethod
    def block(self, index: int) -> Raw:
        """The rows of a block.

        Raises:
            DataError: The file is damaged, or has changed since it was opened.
        """

    @abstractmethod
    def loaded(self, raw: Raw) -> Arrays | Frame:
        """Rows of blocks, ready to be described or matched to a schema."""

    @abstractmethod
    def without(self, schema: Schema) -> "Source":
        """The same rows without what a schema leaves out, where that can be left unread."""

    @cached_property
    def starts(self) -> np.ndarray:
        """The number of rows before each block, and of all rows."""
        return np.concatenate([[0], np.cumsum(np.asarray(self.sizes, np.int64))])

    @property
    def num_examples(self) -> int:
        """The number of rows."""
        return int(self.starts[-1])

    def pieces(self, index: int) -> Iterator[tuple[int, Raw]]:
        """The rows of a block in pieces, each with the number of rows before it in all blocks."""
        raw, start = self.block(index), int(self.starts[index])
        size = max(1, min(PIECE_ROWS, PIECE_VALUES // self.row_size))
        for first in range(0, len(raw), size):
            yield start + first, rows_of(raw, first, min(size, len(raw) - first))


def rows_of(raw: Raw, start: int, count: int) -> Raw:
    """Some consecutive rows."""
    return raw[start : start + count] if isinstance(raw, np.ndarray) else raw.slice(start, count)


def taken(raw: Raw, places: np.ndarray) -> Raw:
    """Some rows, in memory of their own."""
    return raw[places] if isinstance(raw, np.ndarray) else raw.take(places)


def joined(parts: Sequence[Raw]) -> Raw:
    """The rows of all parts."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import pyarrow as pa

    return _plain(pa.concat_tables(parts))


def _plain(table: "pa.Table") -> "pa.Table":
    return table.unify_dictionaries().combine_chunks()
