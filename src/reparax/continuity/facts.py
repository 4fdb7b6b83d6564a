"""What the analysis knows of a value."""

from collections.abc import Iterable
from typing import NamedTuple

from reparax.continuity.interval import REAL, Interval


class Jump(NamedTuple):
    """A place at which a value is not shown to be continuous.

    Args:
        cause: The number in the graph of the value that changes there; -1 if the jump cannot be tested.
        variables: The inputs on which the location depends, as bits.
        primitive: The operation that changes there.
        reason: The reason, in words.
        pole: Whether the value may be infinite or undefined there, or beyond.
        binding: Whether it also counts in a value that is trusted.
    """

    cause: int
    variables: int
    primitive: str
    reason: str
    pole: bool = False
    binding: bool = False


Jumps = frozenset[Jump]
NONE: Jumps = frozenset()


class Facts(NamedTuple):
    """What is known of a value; it holds for all of its elements.

    Args:
        depends: The inputs it depends on, as bits.
        interval: The numbers that it can equal, wherever it is defined.
        atomless: Whether no element equals any single number with positive probability.
        distinct: Whether its elements are functions of different elements of one input with a joint density.
        pending: Changes in its operands that a later operation on the same element may still make harmless.
        jumps: Changes at which it is not continuous.
        simplex: Whether it sums to one along its last axis.
        partial: Whether it may be undefined at locations that are not tracked, so that a test of it may jump there.
    """

    depends: int = 0
    interval: Interval = REAL
    atomless: bool = False
    distinct: bool = False
    pending: Jumps = NONE
    jumps: Jumps = NONE
    simplex: bool = False
    partial: bool = False

    @property
    def poles(self) -> list[Jump]:
        """The changes beyond which it may be NaN or infinite."""
        return [jump for jump in (*self.pending, *self.jumps) if jump.pole]

    def also_pending(self, changes: Jumps) -> "Facts":
        """The same with more pending changes."""
        return self._replace(pending=self.pending | changes)

    def also_jumping(self, changes: Jumps) -> "Facts":
        """The same with more jumps."""
        return self._replace(jumps=self.jumps | changes)


CONSTANT = Facts()


def depends(parts: Iterable[Facts]) -> int:
    """The inputs on which any of several values depends."""
    total = 0
    for part in parts:
        total |= part.depends
    return total


def jumps(parts: Iterable[Facts]) -> Jumps:
    """The jumps of several values together."""
    return NONE.union(*(part.jumps for part in parts))


def pending(parts: Iterable[Facts]) -> Jumps:
    """The pending changes of several values together."""
    return NONE.union(*(part.pending for part in parts))
