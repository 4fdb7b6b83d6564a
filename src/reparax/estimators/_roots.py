"""All roots of a piecewise smooth function along a line: a grid, split where the function turns or its piece changes.

A cell of the grid is *plain* if it lies in one piece and the function does not head for zero at both of its ends. In a
plain cell whose ends differ in sign there is one root; in one whose ends agree there is none, provided that the
function turns at most once within a cell. Cells that are not plain are split where the piece, or the sign of the slope,
changes, up to four times over. What is still not plain then, and what two neighboring cells show to be finer than the
grid, is not resolved, and said to be so.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Bool, Float

_CELLS = 96
_CURVE = 1.5
_FARTHEST = 11.6
_ROUNDS = 4
_SPLITS = 4


class Point(NamedTuple):
    """The function at one place of the line.

    Args:
        t: The place.
        gap: Its value.
        slope: Its derivative.
        above: Whether the comparison holds, by which the function is positive.
        piece: The switches upstream of it.
    """

    t: Float[Array, "..."]
    gap: Float[Array, "..."]
    slope: Float[Array, "..."]
    above: Bool[Array, "..."]
    piece: Bool[Array, "... e"]


class Root(NamedTuple):
    """One root, drawn at random from all that a line has.

    Args:
        left: The last place before it.
        right: The first place behind it.
        above: Whether the function is positive behind it.
        weight: The reciprocal of the probability with which it was drawn; 0 where there is no root.
        resolved: Whether all roots of the line were found.
    """

    left: Float[Array, ""]
    right: Float[Array, ""]
    above: Bool[Array, ""]
    weight: Float[Array, ""]
    resolved: Bool[Array, ""]


Look = Callable[[Float[Array, ""]], Point]


def find_root(look: Look, reach: Float[Array, ""], key: jax.Array) -> Root:
    """One of the roots between -reach and reach.

    Args:
        look: The function.
        reach: How far the line goes.
        key: The random key, for the choice among several roots.
    """
    grid_key, root_key = jax.random.split(key)
    points = jax.vmap(look)(_grid(reach, grid_key))
    left, right = (jax.tree.map(lambda leaf, s=s: leaf[s], points) for s in (slice(None, -1), slice(1, None)))
    resolved = _resolved(points)
    left, right = _split_all(look, left, right)
    crosses = left.above != right.above
    resolved &= ~jnp.any(_needs_split(left, right))
    nearest = jnp.minimum(jnp.abs(left.t), jnp.abs(right.t))
    size = jnp.maximum(right.t - left.t, jnp.finfo(left.t.dtype).eps)
    logits = jnp.where(crosses, jnp.log(size) - nearest, -jnp.inf)
    any_root = jnp.any(crosses)
    logits = jnp.where(any_root, logits, 0)
    chosen = jax.random.categorical(root_key, logits)
    weight = jnp.where(any_root, jnp.exp(-jax.nn.log_softmax(logits)[chosen]), 0)
    low, high = (jax.tree.map(lambda leaf: leaf[chosen], ends) for ends in (left, right))
    low, high = _bisect(look, low, high, lambda point, start: point.above == start.above)
    # A comparison with NaN is false without any root.
    real = jnp.isfinite(low.gap) & jnp.isfinite(high.gap)
    resolved &= real | ~any_root | ~_matters(high.t)
    return Root(low.t, high.t, high.above, weight, resolved)


def _grid(reach: Float[Array, ""], key: jax.Array) -> Float[Array, " n"]:
    """The logits of the Normal distribution function at places that are finer near the middle, up to the reach.

    One place is drawn from each interval: waves that are finer than a regular grid would look smooth on it.
    """
    # One grid for the longest reach; a shorter one is the same grid drawn in.
    steps = np.sinh(_CURVE * np.linspace(-1, 1, _CELLS)) / np.sinh(_CURVE)
    places = steps * _FARTHEST
    logits = scipy.special.log_ndtr(places) - scipy.special.log_ndtr(-places)
    edges = reach * jnp.asarray(logits / logits[-1], reach.dtype)
    shares = jax.random.uniform(key, (_CELLS - 1,), reach.dtype)
    return jnp.concatenate([edges[:1], edges[:-1] + shares * jnp.diff(edges), edges[-1:]])


def _matters(t: Array) -> Bool[Array, "..."]:
    """Whether a place is within the reach of draws: beyond it there is less mass than the rounding error of 1."""
    return jnp.abs(t) < -float(np.log(jnp.finfo(t.dtype).eps)) + 1


def _turns(left: Point, right: Point) -> Bool[Array, "..."]:
    """Whether the function heads for zero at the left end, away from it at the right end, and may get there."""
    side = jnp.where(left.above, 1, -1).astype(left.t.dtype)
    # Zero is out of reach where the slopes, even twice as steep, do not lead there.
    width = 2 * (right.t - left.t)
    near = (jnp.abs(left.gap) <= width * jnp.abs(left.slope)) | (jnp.abs(right.gap) <= width * jnp.abs(right.slope))
    return (left.above == right.above) & (side * left.slope < 0) & (side * right.slope > 0) & near


def _needs_split(left: Point, right: Point) -> Bool[Array, "..."]:
    other_piece = jnp.any(left.piece != right.piece, axis=-1)
    adjacent = right.t - left.t <= _last_bits(left.t, right.t)
    return (other_piece | _turns(left, right)) & ~adjacent & (_matters(left.t) | _matters(right.t))


def _last_bits(left: Array, right: Array) -> Array:
    return 8 * jnp.finfo(left.dtype).eps * (1 + jnp.maximum(jnp.abs(left), jnp.abs(right)))


def _resolved(points: Point) -> Bool[Array, ""]:
    """Whether no middle of two cells shows a pair of roots that their outer ends do not explain by one turn."""
    first, middle, last = (jax.tree.map(lambda leaf, s=s: leaf[s:][: _CELLS - 1], points) for s in (0, 1, 2))
    one_piece = jnp.all((first.piece == middle.piece) & (middle.piece == last.piece), axis=-1)
    pair = (first.above == last.above) & (middle.above != first.above)
    return ~jnp.any(one_piece & pair & ~_turns(first, last) & _matters(middle.t))


def _split_all(look: Look, left: Point, right: Point) -> tuple[Point, Point]:
    """The cells, and those that splitting adds: none of it is run where all cells of all lines are plain."""

    def padded(leaf: Array) -> Array:
        return jnp.concatenate([leaf, jnp.broadcast_to(leaf[-1:], (_ROUNDS * _SPLITS, *leaf.shape[1:]))])

    # What is added is empty at first: both of its ends are the last point.
    cells = jax.tree.map(lambda a, b: jnp.concatenate([a, padded(b)[len(b) :]]), left, right)
    ends = jax.tree.map(padded, right)

    def again(state: tuple[Array, Point, Point]) -> Array:
        count, low, high = state
        return (count < _ROUNDS) & jnp.any(_needs_split(low, high))

    def body(state: tuple[Array, Point, Point]) -> tuple[Array, Point, Point]:
        count, low, high = state
        return count + 1, *_split(look, low, high, _CELLS + _SPLITS * count)

    _, left, right = jax.lax.while_loop(again, body, (jnp.asarray(0), cells, ends))
    return left, right


def _split(look: Look, left: Point, right: Point, free: Array) -> tuple[Point, Point]:
    """Splits up to `_SPLITS` cells: each keeps the part before the change; the parts behind are put at ``free``."""
    needs = _needs_split(left, right)
    scores, places = jax.lax.top_k(jnp.where(needs, -jnp.abs(left.t + right.t), -jnp.inf), _SPLITS)
    used = scores > -jnp.inf
    starts, ends = (jax.tree.map(lambda leaf: leaf[places], points) for points in (left, right))

    def same(point: Point, start: Point) -> Bool[Array, ""]:
        return jnp.all(point.piece == start.piece) & ((point.slope < 0) == (start.slope < 0))

    inner, outer = jax.vmap(lambda low, high: _bisect(look, low, high, same))(starts, ends)
    # Unused places write past the end, which is dropped.
    cut = jnp.where(used, places, len(needs))
    added = jnp.where(used, free + jnp.arange(_SPLITS), len(needs))

    def put(old: Array, *writes: tuple[Array, Array]) -> Array:
        for target, new in writes:
            old = old.at[target].set(new, mode="drop")
        return old

    left = jax.tree.map(lambda old, new: put(old, (added, new)), left, outer)
    right = jax.tree.map(lambda old, new, end: put(old, (cut, new), (added, end)), right, inner, ends)
    return left, right


def _bisect(look: Look, low: Point, high: Point, same: Callable[[Point, Point], Any]) -> tuple[Point, Point]:
    start = low

    def halve(_: Any, ends: tuple[Point, Point]) -> tuple[Point, Point]:
        below, beyond = ends
        middle = look((below.t + beyond.t) / 2)
        keep = same(middle, start)
        pick = lambda a, b: jnp.where(keep, a, b)  # noqa: E731
        return jax.tree.map(pick, middle, below), jax.tree.map(pick, beyond, middle)

    bits = jnp.finfo(low.t.dtype).nmant + 8
    return jax.lax.fori_loop(0, bits, halve, (low, high))
