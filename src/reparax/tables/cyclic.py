"""The family of cyclic numbers: directions and times of day, whose largest value is next to the smallest."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from reparax.errors import DataError
from reparax.summary import QUANTILE_LEVELS, Column
from reparax.tables._family import AbstractCells, AbstractColumnFamily
from reparax.tables._state_groups import single
from reparax.tables._transform import on_grid, rounding

PERIODS = {"degrees": 360.0, "hours": 24.0, "radians": 2 * np.pi}

NUM_HARMONICS = 3

LARGEST_COEFFICIENT = 8.0
"""The bound of a coefficient; the sharpest density then has a standard deviation of 1.5 % of the circle."""

NUM_BINS = 64
"""Bins of the circle by which densities are normalized: of such smooth ones, the midpoint rule is exact to 1e-6."""

LEAST_UNIFORM = 1e-3
"""The least weight of the uniform distribution in the marginal one, so that it is positive on all of the circle."""


_MIDDLES = (np.arange(NUM_BINS, dtype=np.float32) + 0.5) / NUM_BINS


class NearCyclic(NamedTuple):
    """What is near each cell of one row.

    Attributes:
        lower: F at the lower ends of the intervals around each number.
        upper: At the upper ends.
        full: Which intervals are as long as the period.
    """

    lower: Float[Array, "r c"]
    upper: Float[Array, "r c"]
    full: Bool[Array, "r c"]


class Cyclic(AbstractColumnFamily):
    """Columns of cyclic numbers: p_j(x) = f(F(x)) F'(x), f(t) = exp(sum_k a_k cos 2 pi k t + b_k sin 2 pi k t) / C.

    F is the column's cumulative distribution function along the circle, so that f = 1 gives the distribution of the
    data; f is the generalized von Mises density, here with three harmonics: Gatto & Jammalamadaka (2007), "The
    generalized von Mises distribution". Numbers that are rounded to a step have the probability of the cell around
    them, over the step.

    Attributes:
        positions: The positions of the columns in the table.
        period: Of each column: 360 for ``degrees``, 24 for ``hours``, 2 pi for ``radians``.
        start: Where the circle is cut: a little below the least value.
        low: The least value.
        high: The greatest.
        step: The rounding of each column; 0 for none.
        spread: The circular standard deviation in the units of the column, at most that of the uniform distribution.
        knots: Positions along the circle from 0 to 1, padded by repeating the last one.
        heights: F at the knots.
        points: The mean of the points on the circle, cosine and sine, in each bin of F.
    """

    kinds: ClassVar[tuple[str, ...]] = ("degrees", "hours", "radians")
    positions: tuple[int, ...] = eqx.field(static=True)
    period: Float[Array, " c"]
    start: Float[Array, " c"]
    low: Float[Array, " c"]
    high: Float[Array, " c"]
    step: Float[Array, " c"]
    spread: Float[Array, " c"]
    knots: Float[Array, "c p"]
    heights: Float[Array, "c p"]
    points: Float[Array, "c b 2"]

    @classmethod
    def of(cls, positions: tuple[int, ...], columns: Sequence[Column], num_examples: int) -> Self:
        """The family's columns.

        Raises:
            DataError: Values of a column span more than its period.
        """
        chosen = [columns[position] for position in positions]
        steps = [rounding(column) for column in chosen]
        curves = [_curve(column, step, num_examples) for column, step in zip(chosen, steps, strict=True)]
        size = max(len(knots) for knots, _ in curves)
        padded = [[np.pad(part, (0, size - len(part)), mode="edge") for part in curve] for curve in curves]
        return cls(
            positions=positions,
            period=single([PERIODS[column.kind] for column in chosen]),
            start=single([c.low - step / 2 - _margin(c, step) for c, step in zip(chosen, steps, strict=True)]),
            low=single([column.low for column in chosen]),
            high=single([column.high for column in chosen]),
            step=single(steps),
            spread=single([_spread(*curve) * PERIODS[c.kind] for curve, c in zip(curves, chosen, strict=True)]),
            knots=single([knots for knots, _ in padded]),
            heights=single([heights for _, heights in padded]),
            points=single([_points(*curve) for curve in curves]),
        )

    @property
    def columns(self) -> tuple[int, ...]:
        return self.positions

    @property
    def num_parameters(self) -> int:
        return 2 * NUM_HARMONICS * len(self.columns)

    def cells(self, parameters: Float[Array, " p"]) -> "CyclicCells":
        coefficients = parameters.reshape(len(self.columns), -1)
        return CyclicCells(self, LARGEST_COEFFICIENT * jnp.tanh(coefficients / LARGEST_COEFFICIENT))

    @property
    def num_features(self) -> int:
        return 2 * len(self.columns)

    def features(self, x: Float[Array, " c"], absent: Bool[Array, " c"]) -> Float[Array, " f"]:
        """The point on the circle."""
        angle = 2 * jnp.pi * x / self.period
        points = 2**0.5 * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        return jnp.ravel(jnp.where(absent, 0.0, points))

    def is_unseen(self, x: Float[Array, " c"]) -> Bool[Array, " c"]:
        return jnp.zeros(x.shape, bool)

    def near(self, x: Float[Array, " c"], radii: Sequence[float]) -> NearCyclic:
        far = jnp.stack([radius * self.spread for radius in radii])
        return NearCyclic(jax.vmap(self.level)(x - far), jax.vmap(self.level)(x + far), 2 * far >= self.period)

    def typical(self, statistics: Float[Array, "c 2"]) -> Float[Array, " c"]:
        """The mean directions."""
        turn = jnp.arctan2(statistics[:, 1], statistics[:, 0]) / (2 * jnp.pi)
        return self.within_range(self.start + self.period * jnp.mod(turn, 1.0))

    def with_known(self, x: Float[Array, " c"], statistics: Float[Array, "c 2"]) -> Float[Array, "c 2"]:
        """The points on the circle."""
        angle = 2 * jnp.pi * self.position(x)
        points = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
        return jnp.where(jnp.isnan(x)[:, None], statistics, points)

    def position(self, x: Float[Array, " c"]) -> Float[Array, " c"]:
        """How far along the circle a number is, from 0 to 1."""
        return jnp.mod(x - self.start, self.period) / self.period

    def level(self, x: Float[Array, " c"]) -> Float[Array, " c"]:
        """F(x)."""
        return jax.vmap(jnp.interp)(self.position(x), self.knots, self.heights)

    def log_slope(self, x: Float[Array, " c"]) -> Float[Array, " c"]:
        """log F'(x)."""
        last = self.knots.shape[1] - 1
        place = jax.vmap(lambda knots, y: jnp.searchsorted(knots, y, side="right"))(self.knots, self.position(x))
        place = jnp.clip(place, 1, last)[:, None]
        rise, run = (
            (jnp.take_along_axis(of, place, 1) - jnp.take_along_axis(of, place - 1, 1))[:, 0]
            for of in (self.heights, self.knots)
        )
        return jnp.log(jnp.where(run > 0, rise / jnp.where(run > 0, run, 1.0), 1.0)) - jnp.log(self.period)

    def restored(self, level: Float[Array, " c"]) -> Float[Array, " c"]:
        """The number at which F has a value, rounded and kept within the range, as in the data."""
        x = self.start + self.period * jax.vmap(jnp.interp)(level, self.heights, self.knots)
        return self.within_range(on_grid(x, self.low, self.step))

    def within_range(self, x: Float[Array, " c"]) -> Float[Array, " c"]:
        """Numbers outside the range of the data moved to the nearer of its ends, along the circle."""
        nearer = jnp.where(x - self.high < self.low + self.period - x, self.high, self.low)
        return jnp.where(x > self.high, nearer, jnp.maximum(x, self.low))


class CyclicCells(AbstractCells):
    """The distribution of the cyclic numbers of one row.

    Attributes:
        family: The columns.
        coefficients: a and b of each column.
    """

    family: Cyclic
    coefficients: Float[Array, "c k"]

    def log_prob(self, x: Float[Array, " c"]) -> Float[Array, " c"]:
        family, step = self.family, jnp.where(self.family.step > 0, self.family.step, 1.0)
        logits = self._logits()
        height = jnp.sum(self.coefficients * _waves(family.level(x)), axis=1)
        smooth = height - jax.nn.logsumexp(logits, axis=1) + jnp.log(NUM_BINS) + family.log_slope(x)
        cell = _arc(jax.nn.softmax(logits, axis=1), family.level(x - step / 2), family.level(x + step / 2))
        return jnp.where(family.step > 0, jnp.log(cell) - jnp.log(step), smooth)

    def log_prob_near(self, near: NearCyclic) -> Float[Array, "r c"]:
        """The log-probability of an arc."""
        probabilities = jax.nn.softmax(self._logits(), axis=1)
        mass = jax.vmap(lambda lower, upper: _arc(probabilities, lower, upper))(near.lower, near.upper)
        return jnp.where(near.full, 0.0, jnp.log(mass))

    def sample(self, key: jax.Array) -> Float[Array, " c"]:
        for_bin, for_place = jax.random.split(key)
        chosen = jax.random.categorical(for_bin, self._logits(), axis=-1)
        place = jax.random.uniform(for_place, chosen.shape, self.coefficients.dtype)
        level = (chosen.astype(place.dtype) + place) / NUM_BINS
        return self.family.restored(level)

    def statistics(self) -> Float[Array, "c 2"]:
        """The expected points on the circle."""
        return jnp.einsum("cb,cbp->cp", jax.nn.softmax(self._logits(), axis=1), self.family.points)

    def _logits(self) -> Float[Array, "c b"]:
        """The log of the density in the middle of each bin, but for a constant."""
        return self.coefficients @ _waves(jnp.asarray(_MIDDLES)).T


def _arc(
    probabilities: Float[Array, "c b"], lower: Float[Array, " c"], upper: Float[Array, " c"]
) -> Float[Array, " c"]:
    """The probability from one value of F to another, along the circle, from that of each bin."""
    bins = jnp.arange(NUM_BINS, dtype=lower.dtype)

    def part(level: Float[Array, " c"]) -> Float[Array, "c b"]:
        return jnp.clip(level[:, None] * NUM_BINS - bins[None], 0.0, 1.0)

    inside = part(upper) - part(lower) + (upper < lower)[:, None].astype(lower.dtype)
    return jnp.maximum(jnp.sum(probabilities * inside, axis=1), 1e-12)


def _waves(level: Float[Array, " n"]) -> Float[Array, "n k"]:
    """cos 2 pi k t and sin 2 pi k t."""
    angles = 2 * jnp.pi * level[:, None] * jnp.arange(1, NUM_HARMONICS + 1, dtype=level.dtype)[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)


def _curve(column: Column, step: float, num_examples: int) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Knots and heights of F along the circle, in periods: of spikes, of the other numbers, and a little uniform."""
    period = PERIODS[column.kind]
    if column.high - column.low + step > period * (1 + 1e-6):
        raise DataError(
            expected=f"values within {period:g} in column {column.name!r}, to be {column.kind}",
            got=f"values from {column.low:g} to {column.high:g}",
            cure=f"take the remainder of the division by {period:g}, or choose another kind",
        )
    margin = _margin(column, step)
    spikes = (np.asarray(column.spikes, np.float64) - column.low + margin) / period
    quantiles = (np.asarray(column.quantiles, np.float64) - column.low + step / 2 + margin) / period
    if len(quantiles):
        # The ends of the data lie inside their intervals, however they are rounded.
        quantiles[0], quantiles[-1] = quantiles[0] - margin / period, quantiles[-1] + margin / period
    width = step / period
    knots: np.ndarray = np.unique(np.clip(np.concatenate([[0.0, 1.0], quantiles, spikes, spikes + width]), 0.0, 1.0))
    weights = np.asarray(column.spike_fractions)
    heights = np.clip((knots[:, None] - spikes) / max(width, 1e-9), 0.0, 1.0) @ weights
    if len(quantiles):
        heights = heights + (1 - weights.sum()) * np.interp(knots, quantiles, np.asarray(QUANTILE_LEVELS))
    uniform = max(LEAST_UNIFORM, 1 / (num_examples + 2))
    heights = heights / max(heights[-1], 1e-12)
    return knots, np.asarray((1 - uniform) * heights + uniform * knots)


def _points(knots: Float[np.ndarray, " p"], heights: Float[np.ndarray, " p"]) -> Float[np.ndarray, "b 2"]:
    """The mean of cos and sin 2 pi y in each bin of F, y the position along the circle."""
    levels = (np.arange(NUM_BINS * 64) + 0.5) / (NUM_BINS * 64)
    angles = 2 * np.pi * np.interp(levels, heights, knots)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(NUM_BINS, 64, 2).mean(axis=1)


def _margin(column: Column, step: float) -> float:
    """How far the circle is cut below the least value: at most half of what the data leave free."""
    period = PERIODS[column.kind]
    return max(0.0, min(1e-3 * period, (period - (column.high - column.low + step)) / 2))


def _spread(knots: np.ndarray, heights: np.ndarray) -> float:
    """The circular standard deviation, in periods."""
    positions = np.interp((np.arange(512) + 0.5) / 512, heights, knots)
    resultant = np.abs(np.exp(2j * np.pi * positions).mean())
    return float(min(np.sqrt(-2 * np.log(max(resultant, 1e-9))) / (2 * np.pi), 12**-0.5))
