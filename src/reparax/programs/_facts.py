"""What is known of a value in a program: the draws it depends on, the costs it adds up, the upstream it is."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

Path = tuple[Hashable, ...]


@dataclass(frozen=True)
class Event:
    """A draw that was made at one place of the jaxpr.

    Args:
        path: The place: numbers of equations, and the kinds of the loops and branches around it.
        earlier: The loops around it in an earlier pass of which it was made.
    """

    path: Path
    earlier: frozenset[Path] = frozenset()

    def inside(self, loop: Path) -> bool:
        """Whether it was made in the present run of a loop or branch, not in an earlier run of it."""
        return all(path[: len(loop)] == loop for path in (self.path, *self.earlier))

    def aged(self, loop: Path) -> "Event":
        """The same draw seen from the next pass of a loop."""
        return replace(self, earlier=self.earlier | {loop}) if self.inside(loop) else self


Events = frozenset[Event]
NONE: frozenset = frozenset()


@dataclass(frozen=True)
class Facts:
    """A value is base + sum of costs + rest; each part may be absent.

    Args:
        raw: The draws on which the rest depends, and so may the whole value: without being weighted by them.
        costs: The places of the costs that it adds up.
        weighted: Draws by which all of these costs are weighted.
        rest: Whether there is a part, not known to be 0, that is no cost.
        misused: Costs that went into something that is not linear.
        token: For an upstream, the draws in it.
        varies: The loops in each pass of which it is another, and "key" if it is made from the program's key.
        origin: The variable of which it is a copy.
        base: The slot of a loop's carry, or the operand of a branch, to which the rest was added.
    """

    raw: Events = NONE
    costs: frozenset[Path] = NONE
    weighted: Events | None = None
    rest: bool = True
    misused: frozenset[Path] = NONE
    token: Events | None = None
    varies: frozenset[Hashable] = NONE
    origin: Hashable = None
    base: Hashable = None

    @property
    def constant(self) -> bool:
        """Whether it depends on no draw in a way that the check must follow."""
        return not (self.raw or self.costs or self.misused) and self.token is None and self.base is None


def common(sets: Iterable[Events | None]) -> Events | None:
    """The intersection; ``None`` stands for everything."""
    known = [part for part in sets if part is not None]
    return frozenset.intersection(*known) if known else None


def used(parts: Iterable[Facts]) -> Facts:
    """What any function of the parts may depend on."""
    parts = list(parts)
    return Facts(
        raw=_union(p.raw | (p.token or NONE) for p in parts),
        misused=_union(p.misused | p.costs for p in parts),
        varies=_union(p.varies for p in parts),
    )


def summed(parts: Iterable[Facts]) -> Facts:
    """What a sum, with constant coefficients, of the parts may depend on."""
    parts = list(parts)
    bases = [p.base for p in parts if p.base is not None]
    return Facts(
        raw=_union(p.raw | (p.token or NONE) for p in parts),
        costs=_union(p.costs for p in parts),
        weighted=common(p.weighted for p in parts),
        rest=any(p.rest for p in parts),
        misused=_union(p.misused for p in parts),
        varies=_union(p.varies for p in parts),
        base=bases[0] if bases else None,
    )


def either(parts: list[Facts]) -> Facts:
    """What is one of the parts, it does not matter which: their sum, but a base or token must be that of all."""
    total = summed(parts)
    bases, origins = {p.base for p in parts}, {p.origin for p in parts}
    tokens = [p.token for p in parts]
    token = common(tokens) if all(t is not None for t in tokens) else None
    return replace(
        total,
        raw=_union(p.raw for p in parts) if token is not None else total.raw,
        token=token,
        base=next(iter(bases)) if len(bases) == 1 else None,
        origin=next(iter(origins)) if len(origins) == 1 else None,
    )


def _union(sets: Iterable[frozenset]) -> frozenset:
    return frozenset().union(*sets)
