"""Marks in the jaxpr of a program, and what is known of a value: its draws, its costs, its upstream."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.extend.core import ClosedJaxpr, Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from reparax import continuity
from reparax.estimators import support_interval

PATHWISE, SCORE, ENUMERATION, DISARM = "pathwise", "leave-one-out", "enumeration", "disarm"
UNCHOSEN = "not chosen yet"
mark_p = Primitive("reparax_mark")


@dataclass(frozen=True)
class Draw:
    """What is known of a call of `draw`; the operands are token, values, parameters, key.

    Args:
        name: The site's name.
        request: The estimator that was chosen, or "auto".
        family: The distribution's family, in words.
        values: The number of arrays drawn.
        states: The number of joint states; infinite if they cannot be enumerated.
        refused: Pairs of an estimator's name and why it would be wrong.
    """

    name: str
    request: str
    family: str
    values: int
    states: float
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cost:
    """What is known of a call of `cost`; the operands are values, token, baselines.

    Args:
        name: The cost's name.
        values: The number of arrays in it.
        custom_baseline: Whether the user gave an array as baseline.
    """

    name: str
    values: int
    custom_baseline: bool


@dataclass(frozen=True)
class Join:
    """A call of `join`; the operands are the token before the branches and that of the branches."""

    name: str


Mark = Draw | Cost | Join

mark_p.multiple_results = True


def mark(operands: Sequence[Array], outputs: int, what: Mark) -> list[Array]:
    """The first operands, unchanged; in the jaxpr they depend continuously on all operands."""
    return mark_p.bind(*map(jnp.asarray, operands), outputs=outputs, what=what, lanes=0, shared=False)


@mark_p.def_impl
def _impl(*operands: Array, outputs: int, **_: Any) -> list[Array]:
    return list(operands[:outputs])


@mark_p.def_abstract_eval
def _abstract(*avals: Any, outputs: int, **_: Any) -> list[Any]:
    return list(avals[:outputs])


def _batch(
    operands: Sequence[Array], axes: Sequence[Any], *, outputs: int, what: Mark, lanes: int, shared: bool
) -> tuple[list[Array], list[int]]:
    mapped = [axis is not None for axis in axes]
    size = next(x.shape[axis] for x, axis, moves in zip(operands, axes, mapped, strict=True) if moves)
    front = [
        jnp.moveaxis(x, axis, 0) if moves else jnp.broadcast_to(x[None], (size, *x.shape))
        for x, axis, moves in zip(operands, axes, mapped, strict=True)
    ]
    # Lanes that share a key share their noise, although their draws should be independent.
    shared = shared or (isinstance(what, Draw) and not mapped[-1])
    marked = mark_p.bind(*front, outputs=outputs, what=what, lanes=lanes + 1, shared=shared)
    return marked, [0] * outputs


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], *, outputs: int, **params: Any) -> tuple[list[Array], list]:
    marked = mark_p.bind(*primals, outputs=outputs, **params)
    return marked, list(tangents[:outputs])


batching.primitive_batchers[mark_p] = _batch
ad.primitive_jvps[mark_p] = _jvp
mlir.register_lowering(mark_p, mlir.lower_fun(_impl, multiple_results=True))


def key_operand(key: jax.Array) -> Array:
    """A key as a plain array, so that it can be an operand."""
    return jax.random.key_data(key)


def source(q: dist.Distribution, z: Array, name: str) -> Array:
    """The draw of a site that may be differentiated, marked in the jaxpr.

    Args:
        q: Its distribution.
        z: The draw.
        name: The site's name.
    """
    return continuity.source(z, name, support_interval(q))


def constant(z: Array) -> Array:
    """The draw of a site that is not differentiated, marked in the jaxpr."""
    return continuity.drawn(z) if jnp.issubdtype(z.dtype, jnp.inexact) else z


def names_that_jump(program: ClosedJaxpr) -> dict[str, str]:
    """The sites in whose draws a program is not shown to be continuous, with the reason.

    The jaxpr has equations ``reparax_mark`` (`reparax.programs._marks`), whose outputs are the first operands, and are
    continuous functions of all operands. Parameters of later draws, whose densities are differentiated, and costs must
    be continuous in an earlier pathwise draw.

    Args:
        program: The program's jaxpr, with every `source` in it.
    """
    return {name: reason.text for name, reason in continuity.judge_draws(program).items()}


def guard(results: Any, program: ClosedJaxpr) -> Any:
    """Results that raise if they are differentiated in a value that moves a jump in a continuous draw."""
    return continuity.guarded_in(results, [program.consts[place] for place in continuity.moved_by(program)])


Path = tuple[Hashable, ...]


@dataclass(frozen=True)
class Event:
    """A draw that was made by one equation of the jaxpr.

    Args:
        path: Its path: numbers of equations, and the kinds of the loops and branches around it.
        earlier: Those loops around it in which it was made in an earlier pass.
    """

    path: Path
    earlier: frozenset[Path] = frozenset()

    def inside(self, loop: Path) -> bool:
        """Whether it was made in the current run of a loop or branch, not in an earlier one."""
        return all(path[: len(loop)] == loop for path in (self.path, *self.earlier))

    def aged(self, loop: Path) -> "Event":
        """The same draw, as it is in the next pass of a loop."""
        return replace(self, earlier=self.earlier | {loop}) if self.inside(loop) else self


Events = frozenset[Event]
NONE: frozenset = frozenset()


@dataclass(frozen=True)
class Facts:
    """A value is base + sum of costs + rest; each part may be absent.

    Args:
        raw: The draws on which the rest depends without being weighted by them.
        costs: The paths of the costs in the sum.
        weighted: Draws by which all of these costs are weighted.
        rest: Whether there is a part that is not a cost and not known to be 0.
        misused: Costs to which a nonlinear function was applied.
        token: For an upstream, the draws in it.
        varies: The loops in which it differs from pass to pass, and "key" if it depends on the program's key.
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
        """Whether it does not depend on draws in a way that the check must follow."""
        return not (self.raw or self.costs or self.misused) and self.token is None and self.base is None


def common(sets: Iterable[Events | None]) -> Events | None:
    """The intersection; ``None`` stands for everything."""
    known = [part for part in sets if part is not None]
    return frozenset.intersection(*known) if known else None


def used(parts: Iterable[Facts]) -> Facts:
    """The facts of any function of the parts."""
    parts = list(parts)
    return Facts(
        raw=_union(p.raw | (p.token or NONE) for p in parts),
        misused=_union(p.misused | p.costs for p in parts),
        varies=_union(p.varies for p in parts),
    )


def summed(parts: Iterable[Facts]) -> Facts:
    """The facts of a sum of the parts with constant coefficients."""
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
    """The facts of a value that is one of the parts: those of their sum, but a base or token must be common to all."""
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
