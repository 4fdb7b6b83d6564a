"""Rows of files larger than memory, to apply a model to, a block at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reparax.data.sources.doors import size_of, source_of
from reparax.data.sources.memory import bytes_of
from reparax.data.sources.source import Raw, Source


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
