"""Rows of files larger than memory, to apply a model to, a block at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from reparax.data.sources.doors import size_of, source_of, without_columns
from reparax.data.sources.memory import bytes_of
from reparax.data.sources.source import Raw, Source, joined, taken
from reparax.data.sources.stream import places_held_out, sampled_rows
from reparax.data.split import num_held_out


@dataclass(frozen=True)
class Blocks:
    """The rows of files in the order of the files, some ten thousand at a time: arrow tables, or arrays."""

    source: Source

    def __len__(self) -> int:
        return self.source.num_examples

    def __iter__(self) -> Iterator[Raw]:
        for index in range(len(self.source.sizes)):
            for _, raw in self.source.pieces(index):
                yield raw

    def at(self, rows: np.ndarray) -> Raw:
        """Some rows in memory.

        Args:
            rows: Their numbers, in order.
        """
        parts, before = [], 0
        for raw in self:
            first, last = np.searchsorted(rows, [before, before + len(raw)])
            parts.append(taken(raw, rows[first:last] - before))
            before += len(raw)
        return joined(parts)

    def sampled(self, left_out: tuple[str, ...] = ()) -> np.ndarray:
        """The numbers of the rows of a uniform sample that a fit in blocks has in memory.

        Args:
            left_out: The columns that the fit did not read.
        """
        return sampled_rows(without_columns(self.source, left_out))

    def held_out(self, fraction: float, seed: int, left_out: tuple[str, ...] = ()) -> Iterator[np.ndarray]:
        """The numbers of the rows that a fit holds out: of one in blocks, and of one in memory.

        Args:
            fraction: The fraction that it holds out.
            seed: Its seed.
            left_out: The columns that it did not read.
        """
        total = len(self)
        count, sampled = num_held_out(total, fraction), self.sampled(left_out)
        if count <= len(sampled):
            yield sampled[places_held_out(len(sampled), count, seed)]
        yield places_held_out(total, count, seed)


def blocks_of(data: Any, *, memory: str | float | None = None) -> Blocks | None:
    """The rows of a file that would take more memory than it may, in blocks; None if they are to be read at once.

    Args:
        data: As of `reparax.data.opened`.
        memory: As of `reparax.data.opened`.

    Raises:
        DataError: A file is damaged, or cannot be read in blocks.
        RecipeError: The amount of memory is none.
    """
    source, most = source_of(data), bytes_of(memory)
    return None if source is None or size_of(source) <= most else Blocks(source)
