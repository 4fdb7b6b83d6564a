"""The order in which rows of blocks are visited: a shuffle of blocks, and of the rows of a few blocks at once."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Group(NamedTuple):
    """Blocks whose rows are shuffled together.

    Attributes:
        number: Its place in the epoch.
        blocks: The blocks.
        start: The number of rows of the epoch before it.
        rows: The number of its rows.
    """

    number: int
    blocks: tuple[int, ...]
    start: int
    rows: int


class Order:
    """An order of all rows for each epoch, a function of the seed and the number of the epoch.

    Args:
        sizes: The number of rows of each block.
        seed: The seed.
        buffer: The rows that are shuffled at once, about; blocks are not divided.
    """

    def __init__(self, sizes: tuple[int, ...], seed: tuple[int, ...], buffer: int) -> None:
        self._sizes, self._seed, self._buffer = np.asarray(sizes, np.int64), seed, buffer
        self.groups = lru_cache(maxsize=2)(self._groups)

    def _groups(self, epoch: int) -> tuple[Group, ...]:
        order = np.random.default_rng([*self._seed, epoch]).permutation(len(self._sizes))
        groups, start, blocks, rows = list[Group](), 0, list[int](), 0
        for block in order.tolist():
            blocks.append(block)
            rows += int(self._sizes[block])
            if rows >= self._buffer:
                groups.append(Group(len(groups), tuple(blocks), start, rows))
                start, blocks, rows = start + rows, [], 0
        return (*groups, Group(len(groups), tuple(blocks), start, rows)) if rows else tuple(groups)

    def within(self, epoch: int, group: Group) -> Int[np.ndarray, " rows"]:
        """The order of the rows of a group."""
        return np.random.default_rng([*self._seed, epoch, 1 + group.number]).permutation(group.rows)

    def parts(self, epoch: int, start: int, stop: int) -> list[tuple[Group, int, int]]:
        """The groups with the rows from one place of an epoch to another, and which of their rows these are."""
        return [
            (group, max(start, group.start) - group.start, min(stop, group.start + group.rows) - group.start)
            for group in self.groups(epoch)
            if group.start < stop and start < group.start + group.rows
        ]
