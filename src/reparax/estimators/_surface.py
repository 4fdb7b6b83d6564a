"""The surface on which an integrand jumps, in the space of its noise, sampled by finding roots along coordinates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.special
from jaxtyping import Array, Bool, Float, Int

from reparax.estimators._quantiles import largest_noise, noise_size, split_noise
from reparax.estimators._replay import Replay, bind
from reparax.estimators._switches import Fact, Kind, Sign, Switches, find_switches, gap_of, sizes, upstream

_CELLS = 96
_CURVE = 1.5
_FARTHEST = 11.6
_ROUNDS = 4
_SPLITS = 4


class Point(NamedTuple):
    """The function at one point of the line.

    Args:
        t: The point.
        gap: Its value.
        slope: Its derivative.
        above: Whether the comparison holds, which means that the function is positive.
        piece: The switches upstream of it.
    """

    t: Float[Array, "..."]
    gap: Float[Array, "..."]
    slope: Float[Array, "..."]
    above: Bool[Array, "..."]
    piece: Bool[Array, "... e"]


class Root(NamedTuple):
    """One root, drawn at random from all roots of a line.

    Args:
        left: The last float before it.
        right: The first float after it.
        above: Whether the function is positive after it.
        weight: The reciprocal of the probability with which it was drawn; 0 if there is no root.
        resolved: Whether all roots of the line were found.
    """

    left: Float[Array, ""]
    right: Float[Array, ""]
    above: Bool[Array, ""]
    weight: Float[Array, ""]
    resolved: Bool[Array, ""]


Evaluate = Callable[[Float[Array, ""]], Point]


def find_root(evaluate: Evaluate, end: Float[Array, ""], key: jax.Array) -> Root:
    """One of the roots between -end and end.

    Args:
        evaluate: The function.
        end: The end of the line.
        key: The random key, for the choice among several roots.
    """
    grid_key, root_key = jax.random.split(key)
    points = jax.vmap(evaluate)(_grid(end, grid_key))
    left, right = (jax.tree.map(lambda leaf, s=s: leaf[s], points) for s in (slice(None, -1), slice(1, None)))
    resolved = _resolved(points)
    left, right = _split_all(evaluate, left, right)
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
    low, high = _bisect(evaluate, low, high, lambda point, start: point.above == start.above)
    # A comparison with NaN is false, although there is no root.
    real = jnp.isfinite(low.gap) & jnp.isfinite(high.gap)
    resolved &= real | ~any_root | ~_matters(high.t)
    return Root(low.t, high.t, high.above, weight, resolved)


def _grid(end: Float[Array, ""], key: jax.Array) -> Float[Array, " n"]:
    """The logits of the Normal distribution function at points from -end to end, closer together near the middle.

    One point is drawn from each interval, because oscillations finer than a regular grid could be invisible on it.
    """
    # A shorter line has the same grid, scaled.
    steps = np.sinh(_CURVE * np.linspace(-1, 1, _CELLS)) / np.sinh(_CURVE)
    places = steps * _FARTHEST
    logits = scipy.special.log_ndtr(places) - scipy.special.log_ndtr(-places)
    edges = end * jnp.asarray(logits / logits[-1], end.dtype)
    fractions = jax.random.uniform(key, (_CELLS - 1,), end.dtype)
    return jnp.concatenate([edges[:1], edges[:-1] + fractions * jnp.diff(edges), edges[-1:]])


def _matters(t: Array) -> Bool[Array, "..."]:
    """Whether draws get that far: the mass beyond is less than the rounding error of 1."""
    return jnp.abs(t) < -float(np.log(jnp.finfo(t.dtype).eps)) + 1


def _turns(left: Point, right: Point) -> Bool[Array, "..."]:
    """Whether the function approaches zero at the left end and leaves it at the right end, and may cross it between."""
    side = jnp.where(left.above, 1, -1).astype(left.t.dtype)
    # The function cannot reach zero if even slopes twice as steep would not.
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
    """Whether no two adjacent cells have a pair of roots that the slopes at their outer ends do not show."""
    first, middle, last = (jax.tree.map(lambda leaf, s=s: leaf[s:][: _CELLS - 1], points) for s in (0, 1, 2))
    one_piece = jnp.all((first.piece == middle.piece) & (middle.piece == last.piece), axis=-1)
    pair = (first.above == last.above) & (middle.above != first.above)
    return ~jnp.any(one_piece & pair & ~_turns(first, last) & _matters(middle.t))


def _split_all(evaluate: Evaluate, left: Point, right: Point) -> tuple[Point, Point]:
    """The cells, and those that splitting adds; nothing is run if no cell of any line needs it."""

    def padded(leaf: Array) -> Array:
        return jnp.concatenate([leaf, jnp.broadcast_to(leaf[-1:], (_ROUNDS * _SPLITS, *leaf.shape[1:]))])

    # Added cells are empty at first: both of their ends are the last point.
    cells = jax.tree.map(lambda a, b: jnp.concatenate([a, padded(b)[len(b) :]]), left, right)
    ends = jax.tree.map(padded, right)

    def again(state: tuple[Array, Point, Point]) -> Array:
        count, low, high = state
        return (count < _ROUNDS) & jnp.any(_needs_split(low, high))

    def body(state: tuple[Array, Point, Point]) -> tuple[Array, Point, Point]:
        count, low, high = state
        return count + 1, *_split(evaluate, low, high, _CELLS + _SPLITS * count)

    _, left, right = jax.lax.while_loop(again, body, (jnp.asarray(0), cells, ends))
    return left, right


def _split(evaluate: Evaluate, left: Point, right: Point, free: Array) -> tuple[Point, Point]:
    """Splits up to `_SPLITS` cells: each keeps the part before the change; the rest is stored from ``free`` on."""
    needs = _needs_split(left, right)
    scores, places = jax.lax.top_k(jnp.where(needs, -jnp.abs(left.t + right.t), -jnp.inf), _SPLITS)
    used = scores > -jnp.inf
    starts, ends = (jax.tree.map(lambda leaf: leaf[places], points) for points in (left, right))

    def same(point: Point, start: Point) -> Bool[Array, ""]:
        return jnp.all(point.piece == start.piece) & ((point.slope < 0) == (start.slope < 0))

    inner, outer = jax.vmap(lambda low, high: _bisect(evaluate, low, high, same))(starts, ends)
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


def _bisect(evaluate: Evaluate, low: Point, high: Point, same: Callable[[Point, Point], Any]) -> tuple[Point, Point]:
    start = low

    def halve(_: Any, ends: tuple[Point, Point]) -> tuple[Point, Point]:
        below, beyond = ends
        middle = evaluate((below.t + beyond.t) / 2)
        keep = same(middle, start)
        pick = lambda a, b: jnp.where(keep, a, b)  # noqa: E731
        return jax.tree.map(pick, middle, below), jax.tree.map(pick, beyond, middle)

    bits = jnp.finfo(low.t.dtype).nmant + 8
    return jax.lax.fori_loop(0, bits, halve, (low, high))


# The total probability that is shared equally among coordinates, so that none is ignored.
_FLOOR = 0.02
_PROBES = 32


class Setting(NamedTuple):
    """What a surface depends on: the distributions, and the constants of the program by their numbers."""

    flat: Sequence[dist.Distribution]
    constants: Mapping[int, Any]


class Line(NamedTuple):
    """A line through one draw, for one element of the switches.

    Args:
        t: The noise of the draw.
        f_key: The key for f.
        element: The element.
        key: The key for the choice of the coordinate and of the root.
    """

    t: Float[Array, " d"]
    f_key: jax.Array
    element: Int[Array, ""]
    key: jax.Array


class Crossing(NamedTuple):
    """Where a line crosses the surface, and the jump of the integrand there.

    Args:
        t: The noise at the root.
        jump: For each result of f, its jump across the root times the density of the root and all weights: the
            derivative of the expectation is this times the derivative of the comparison's gap at the root.
    """

    t: Float[Array, " d"]
    jump: list[Array]


@dataclass(frozen=True)
class Surface:
    """The program of an integrand, a function of its draws and a key, with its switches.

    Args:
        program: The program.
        switches: Its switches; an *element* is one comparison of two numbers.
        ends: The largest value of each coordinate of the noise.
        upstream: For each element, the elements of switches upstream of its switch.
    """

    program: Replay
    switches: Switches
    ends: Float[np.ndarray, " d"]
    upstream: Bool[np.ndarray, "e e"]

    @property
    def size(self) -> int:
        """The number of elements."""
        return len(self.upstream)

    def observe(self, setting: Setting, t: Array, f_key: jax.Array) -> tuple[Array, Array]:
        """For every element, the gap p - q, and whether the comparison holds."""
        wanted = [number for step in self.switches.steps for number in (*step.inputs, *step.outputs)]
        computed = self._run(setting, t, f_key, wanted, {})
        gaps = [
            gap_of(step, *(computed[number] for number in step.inputs)).astype(t.dtype) for step in self.switches.steps
        ]
        holds = [jnp.ravel(computed[step.outputs[0]]) for step in self.switches.steps]
        return jnp.concatenate(gaps), jnp.concatenate(holds)

    def usual(self, setting: Setting, t: Array, f_key: jax.Array) -> Bool[Array, ""]:
        """Whether all tests for NaN or infinity have the outcome that was assumed."""
        watched = self.switches.watched
        computed = self._run(setting, t, f_key, [n for watch in watched for n in watch.step.inputs], {})
        outcomes = [
            jnp.all(bind(watch.step.equation, [computed[n] for n in watch.step.inputs])[0] == watch.usual)
            for watch in watched
        ]
        return jnp.all(jnp.asarray(outcomes, bool))

    def results(self, setting: Setting, t: Array, f_key: jax.Array, holds: Array | None = None) -> list[Array]:
        """The results of f; if ``holds`` is given, as if the comparisons had these outcomes."""
        forced = {}
        if holds is not None:
            ends = np.cumsum(sizes(self.switches))[:-1].tolist()
            for step, part in zip(self.switches.steps, jnp.split(holds, ends), strict=True):
                forced[step.outputs[0]] = part.reshape(self.program.avals[step.outputs[0]].shape)
            forced |= {twin: forced[first] for twin, first in self.switches.twins.items()}
        computed = self._run(setting, t, f_key, self.program.outputs, forced)
        return [computed[number] for number in self.program.outputs]

    def cross(self, setting: Setting, probabilities: Float[Array, "e d"], line: Line) -> Crossing:
        """One root of an element along one coordinate of the noise, both drawn at random."""
        coordinate_key, root_key = jax.random.split(line.key)
        probability = probabilities[line.element]
        j = jax.random.categorical(coordinate_key, jnp.log(probability))
        columns = np.flatnonzero(self.upstream.any(axis=0))
        mask = jnp.asarray(self.upstream[:, columns])[line.element]

        def evaluate(s: Array) -> Point:
            def at(s: Array) -> tuple[Array, Array]:
                gaps, holds = self.observe(setting, line.t.at[j].set(s), line.f_key)
                return gaps[line.element], holds

            gap, slope, holds = jax.jvp(at, (s,), (jnp.ones_like(s),), has_aux=True)
            return Point(s, gap, slope, holds[line.element], holds[columns] & mask)

        root = find_root(evaluate, jnp.asarray(self.ends, line.t.dtype)[j], root_key)
        left, right = line.t.at[j].set(root.left), line.t.at[j].set(root.right)
        gradient = jax.grad(lambda t: self.observe(setting, t, line.f_key)[0][line.element])(right)
        before, after, part = self._pieces(setting, line, j, root)
        density = jax.nn.sigmoid(root.right) * jax.nn.sigmoid(-root.right)
        steepness = jnp.sum(jnp.abs(gradient))
        weight = root.weight * density / (steepness * probability[j]) * part
        # The function may overflow far out, where there is no mass; anywhere else the result is then unknown.
        missing = jnp.abs(root.right) > -jnp.log(jnp.finfo(line.t.dtype).eps) + 1
        weight = jnp.where(jnp.isfinite(weight) | ~missing, weight, 0)
        weight = jnp.where(root.weight > 0, weight, 0)
        weight = jnp.where(root.resolved, weight, jnp.nan)
        sign = jnp.where(root.above, 1, -1).astype(line.t.dtype)
        sides = jax.vmap(lambda t, holds: self.results(setting, t, line.f_key, holds))(
            jnp.stack([left, right]), jnp.stack([before, after])
        )
        jumps = [_scaled(weight * sign, side[1] - side[0]) for side in sides]
        # Without a root any point would do, but far out a derivative times 0 may be NaN.
        return Crossing(jnp.where(root.weight > 0, right, line.t), jumps)

    def probabilities(self, setting: Setting, f_key: jax.Array, dtype: Any) -> Float[Array, "e d"]:
        """For each element, the probabilities with which coordinates are drawn, from the slopes at fixed probes."""
        dimensions = len(self.ends)
        if dimensions == 1:
            return jnp.ones((self.size, 1), dtype)
        probes = jnp.asarray(np.random.default_rng(0).logistic(size=(_PROBES, dimensions)), dtype)
        slopes = jax.lax.map(jax.jacrev(lambda t: self.observe(setting, t, f_key)[0]), probes)
        slopes = jnp.nan_to_num(jnp.abs(slopes), posinf=0.0)
        total = jnp.sum(slopes, axis=-1, keepdims=True)
        mean = jnp.mean(jnp.where(total > 0, slopes / jnp.where(total > 0, total, 1), 0), axis=0)
        mean = mean + jnp.finfo(dtype).tiny
        mean = mean / jnp.sum(mean, axis=-1, keepdims=True)
        return (1 - _FLOOR) * mean + _FLOOR / dimensions

    def _pieces(self, setting: Setting, line: Line, j: Array, root: Root) -> tuple[Array, Array, Array]:
        """The outcomes of all comparisons on both sides of a root, and this element's fraction of the jump.

        Several comparisons may change at the same point (x > c and exp(x) > exp(c)): each finds the total jump, and
        counts for an equal fraction of it. A comparison that changes only because one upstream does is not counted.
        """
        eps = jnp.finfo(line.t.dtype).eps
        margin = 256 * eps * (1 + jnp.abs(root.right))
        places = jnp.stack([root.left - margin, root.right + margin])
        before, after = jax.vmap(lambda s: self.observe(setting, line.t.at[j].set(s), line.f_key)[1])(places)
        before = before.at[line.element].set(~root.above)
        after = after.at[line.element].set(root.above)
        changed = before != after
        if self.upstream.any():
            switched = changed & ~jnp.any(changed[None, :] & jnp.asarray(self.upstream), axis=-1)
        else:
            switched = changed
        several = jnp.maximum(jnp.sum(switched), 1).astype(line.t.dtype)
        return before, after, switched[line.element].astype(line.t.dtype) / several

    def _run(
        self, setting: Setting, t: Array, f_key: jax.Array, wanted: Sequence[int], forced: dict[int, Array]
    ) -> dict[int, Any]:
        usual = {
            watch.step.outputs[0]: jnp.full(self.program.avals[watch.step.outputs[0]].shape, watch.usual)
            for watch in self.switches.watched
        }
        values = [*split_noise(setting.flat, t), f_key]
        return self.program.run(self.program.slice_for(wanted), values, setting.constants, forced | usual)


def surface_of(
    f: Callable[[list[Any], jax.Array], list[Array]], flat: Sequence[dist.Distribution], noise: Array, key: jax.Array
) -> Surface:
    """The surface of an integrand.

    Args:
        f: The integrand, of the draws and a key, with a list of real arrays as its result.
        flat: The distributions.
        noise: The noise of one draw (its shape and type are read).
        key: A key (its type is read).

    Raises:
        InvalidEstimator: f may jump other than by a comparison.
    """
    draws = jax.eval_shape(lambda t: split_noise(flat, t), noise)
    program = Replay(jax.make_jaxpr(f)(draws, key), [True] * len(draws) + [False])
    inputs = [Fact(Kind.VARYING, _support_sign(leaf)) for leaf in flat]
    switches = find_switches(program, [*inputs, Fact(noisy=True)])
    owner = np.repeat(np.arange(len(switches.steps)), sizes(switches))
    ends = np.repeat([largest_noise(leaf, noise.dtype) for leaf in flat], [noise_size(leaf) for leaf in flat])
    return Surface(program, switches, ends, upstream(switches)[owner][:, owner])


def _support_sign(q: dist.Distribution) -> Sign:
    support = q.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    bound = getattr(support, "lower_bound", None)
    return Sign.POSITIVE if isinstance(bound, int | float) and bound >= 0 else Sign.UNKNOWN


def _scaled(weight: Array, jump: Array) -> Array:
    # Where f does not jump there is no contribution, whatever the weight, unless the line is unresolved.
    return jnp.where((jump == 0) & ~jnp.isnan(weight), 0, weight.astype(jump.dtype) * jump)
