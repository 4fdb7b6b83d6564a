"""Marks in the jaxpr of a program, for the flow of draws into costs and for continuity; they compute nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    """What is known of `draw` at one place of a program; the operands are token, values, parameters, key.

    Args:
        name: The site's name.
        wish: The estimator asked for, or "auto".
        family: The distribution's family, in words.
        values: The number of arrays drawn.
        states: The number of joint states; infinite where they cannot be enumerated.
        refused: Pairs of an estimator's name and why it would be wrong.
    """

    name: str
    wish: str
    family: str
    values: int
    states: float
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cost:
    """What is known of `cost` at one place of a program; the operands are values, token, baselines.

    Args:
        name: The cost's name.
        values: The number of arrays in it.
        own_baseline: Whether the baseline is one that the user computed.
    """

    name: str
    values: int
    own_baseline: bool


@dataclass(frozen=True)
class Join:
    """`join` at one place of a program; the operands are the token before the branches, and that of the branches."""

    name: str


Mark = Draw | Cost | Join

mark_p.multiple_results = True


def mark(operands: Sequence[Array], outputs: int, what: Mark) -> list[Array]:
    """The first operands, unchanged; in the jaxpr they depend, continuously, on all operands."""
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
    # Lanes that share a key share their noise, though their draws are meant to be independent.
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

    The jaxpr has equations ``reparax_mark`` (`reparax.programs._marks`): the outputs are the first operands, and are
    continuous functions of all operands. They carry what is asked for: parameters of later draws must be continuous in
    an earlier pathwise draw (their densities are differentiated), and so must costs.

    Args:
        program: The program's jaxpr, with every `source` in it.
    """
    return {name: reason.text for name, reason in continuity.judge_draws(program).items()}


def guard(results: Any, program: ClosedJaxpr) -> Any:
    """Results that cannot be differentiated in what moves a jump in a continuous draw: the derivative would miss it."""
    return continuity.guarded_in(results, [program.consts[place] for place in continuity.moved_by(program)])
