"""Where each column of a table is: its discrete states, its monotone transform, and their places among parameters."""

from collections.abc import Sequence
from functools import reduce
from itertools import chain
from typing import NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from reparax.summary import QUANTILE_LEVELS, Column, Summary
from reparax.tables._states import Categories, Spikes, grouped, single

FINEST_STEP = 0.02
"""Rounding to less than this share of a standard deviation is as good as none."""


class Neighborhood(NamedTuple):
    """What is near each cell of one row.

    Attributes:
        row: The row.
        reaches: How far what is near each number reaches.
        lower: T at the lower ends of the reaches around each number of the row.
        upper: At the upper ends.
    """

    row: Float[Array, " d"]
    reaches: Float[Array, "r m"]
    lower: Float[Array, "r m"]
    upper: Float[Array, "r m"]


class CellValues(NamedTuple):
    """Something for each cell of a row, or for what is near it.

    Attributes:
        categories: For the cells of each group of category-like columns.
        numbers: For the numbers, once for each reach.
    """

    categories: list[Float[Array, " c"]]
    numbers: list[Float[Array, " m"]]


class Layout(eqx.Module):
    """How one row of a table becomes discrete states and transformed numbers, and back.

    Numbers that are no spikes, and all of a column without spikes, are transformed by T, the monotone, piecewise linear
    map of the column's quantiles to those of the standard logistic distribution, linear beyond them.

    Columns are taken in an order of their own: the category-like ones group by group, then the numeric ones, those with
    spikes first, group by group. No cell need then be put into its place before the very end.

    Attributes:
        categories: The category-like columns, those of similar numbers of categories together.
        spikes: The numeric columns with spikes, likewise.
        plain: The numeric columns without.
        rounded: Whether any numeric column is rounded.
        knots: The x of T's knots, one column for each numeric column; repeated where there is room for more.
        heights: T at the knots.
        slopes: The derivative of T between knots.
        outer: The derivative of T outside.
        all_spikes: Which numeric columns had no number but spikes: nothing is learned of what else they might have.
        step: The rounding of each numeric column; 0 for none.
        low: The least value of each numeric column.
        high: The greatest.
        spread: `Column.spread` of each numeric column.
    """

    categories: tuple[Categories, ...]
    spikes: tuple[Spikes, ...]
    plain: tuple[int, ...] = eqx.field(static=True)
    rounded: bool = eqx.field(static=True)
    knots: Float[Array, "p m"]
    heights: Float[Array, "p m"]
    slopes: Float[Array, "q m"]
    outer: Float[Array, " m"]
    all_spikes: Bool[Array, " m"]
    step: Float[Array, " m"]
    low: Float[Array, " m"]
    high: Float[Array, " m"]
    spread: Float[Array, " m"]

    @classmethod
    def of(cls, columns: Sequence[Column], num_examples: int) -> Self:
        """The layout of a table's columns."""
        of_codes = {i: max(1, len(column.categories)) for i, column in enumerate(columns) if column.is_category}
        of_spikes = {i: len(column.atoms) + 1 for i, column in enumerate(columns) if column.atoms}
        plain = tuple(i for i in range(len(columns)) if i not in of_codes and i not in of_spikes)
        spikes = tuple(Spikes.of(places, columns, num_examples) for places in grouped(of_spikes))
        numeric = [columns[i] for i in (*chain.from_iterable(group.columns for group in spikes), *plain)]
        knots, heights, slopes, outer = _transforms(numeric)
        steps = [_step(column) for column in numeric]
        return cls(
            categories=tuple(Categories.of(places, columns, num_examples) for places in grouped(of_codes)),
            spikes=spikes,
            plain=plain,
            rounded=any(steps),
            knots=single(knots),
            heights=single(heights),
            slopes=single(slopes),
            outer=single(outer),
            all_spikes=jnp.asarray([bool(column.atoms) and not column.quantiles for column in numeric], bool),
            step=single(steps),
            low=single([column.low for column in numeric]),
            high=single([column.high for column in numeric]),
            spread=single([column.spread for column in numeric]),
        )

    @classmethod
    def of_summary(cls, summary: Summary) -> Self:
        """The layout of the columns of a table."""
        return cls.of(summary.columns, summary.num_examples)

    @property
    def groups(self) -> tuple[Categories | Spikes, ...]:
        """The groups of columns with discrete states."""
        return (*self.categories, *self.spikes)

    @property
    def order(self) -> tuple[int, ...]:
        """The columns of the table in the order in which they are taken."""
        return (*chain.from_iterable(group.columns for group in self.groups), *self.plain)

    @property
    def size(self) -> int:
        """The number of columns."""
        return len(self.order)

    @property
    def num_numeric(self) -> int:
        """The number of numeric columns."""
        return self.size - sum(len(group.columns) for group in self.categories)

    @property
    def num_parameters(self) -> int:
        """How many numbers of a network the distribution of a row follows from."""
        return sum(group.num_parameters for group in self.groups) + 2 * self.num_numeric

    def split(self, x: Float[Array, " d"]) -> tuple[list[Float[Array, " c"]], Float[Array, " m"]]:
        """The cells of each group of category-like columns, and those of the numeric columns."""
        ends = np.cumsum([len(group.columns) for group in self.categories], dtype=int)
        *codes, numbers = jnp.split(_taken(x, np.asarray(self.order, int)), ends)
        return codes, numbers

    def of_spikes(self, numbers: Float[Array, " m"]) -> list[Float[Array, " c"]]:
        """Of one number for each numeric column those of each group with spikes."""
        ends = np.cumsum([len(group.columns) for group in self.spikes], dtype=int)
        return jnp.split(numbers, ends)[:-1]

    def beside_plain(self, of_spikes: list[Float[Array, " c"]], plain: Float[Array, " m"]) -> Float[Array, " m"]:
        """One number for each numeric column: those of the groups with spikes, and for the others as given."""
        return jnp.concatenate([*of_spikes, plain[self.num_numeric - len(self.plain) :]])

    def joined(self, codes: list[Float[Array, " c"]], numbers: Float[Array, " m"]) -> Float[Array, " d"]:
        """The row of the table that `split` takes apart."""
        return _taken(jnp.concatenate([*codes, numbers]), np.argsort(self.order))

    def is_spike(self, numbers: Float[Array, " m"]) -> Bool[Array, " m"]:
        """Which numbers are spikes."""
        cells = zip(self.spikes, self.of_spikes(numbers), strict=True)
        result = [group.state(cell) < group.count for group, cell in cells]
        return jnp.concatenate([*result, jnp.zeros(len(self.plain), bool)])

    def transformed(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """T(x) of each numeric column: a sum over pieces, which takes no gathers, and two thirds of their time."""
        return self.heights[0] + _along(x, self.knots, self.slopes, self.outer)

    def neighborhood(self, x: Float[Array, " d"], reaches: Sequence[float]) -> Neighborhood:
        """What is near each cell of a row, for reaches in units of `Column.spread`.

        The reaches are taken in a loop: without one XLA computes T anew for whatever uses it. Both ends are taken
        at once, as more numbers side by side are faster.
        """
        _, numbers = self.split(jnp.where(jnp.isnan(x), 0.0, x))
        knots, heights, slopes, outer = (
            jnp.concatenate([values, values], axis=-1)
            for values in (self.knots, self.heights[0], self.slopes, self.outer)
        )

        def ends(reach: Float[Array, " m"]) -> Float[Array, " 2m"]:
            return heights + _along(jnp.concatenate([numbers - reach, numbers + reach]), knots, slopes, outer)

        far = jnp.stack([reach * self.spread for reach in reaches])
        return Neighborhood(x, far, *jnp.split(jax.lax.map(ends, far), 2, axis=1))

    def over_reaches(self, cells: CellValues) -> Float[Array, " d"]:
        """The mean over reaches of something for each cell; in the order of the table."""
        return self.joined(cells.categories, reduce(jnp.add, cells.numbers) / len(cells.numbers))

    def slope(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """The derivative of T at x, from the right."""
        result = self.outer
        for low, slope in zip(self.knots, (*self.slopes, self.outer), strict=True):
            result = jnp.where(x >= low, slope, result)
        return result

    def restored(self, u: Float[Array, " m"]) -> Float[Array, " m"]:
        """The inverse of T."""
        return self.knots[0] + _along(u, self.heights, 1 / self.slopes, 1 / self.outer)

    def expected(self, loc: Float[Array, " m"], scale: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[T^-1(u)] for u logistic(loc, scale).

        T^-1 bends at the knots alone, and E[max(u - c, 0)] = scale softplus((loc - c) / scale).
        """
        steep = 1 / jnp.concatenate([self.outer[None], self.slopes, self.outer[None]])
        above = jax.nn.softplus((loc[None] - self.heights) / scale[None]) * scale[None]
        return self.knots[0] + (loc - self.heights[0]) / self.outer + jnp.sum(jnp.diff(steep, axis=0) * above, axis=0)


def _taken(x: Float[Array, " d"], places: Int[np.ndarray, " d"]) -> Float[Array, " d"]:
    """x[places]; where these are in order already no gather is fused into what follows, to be made again and again."""
    return x if (places == np.arange(len(places))).all() else x[places]


def _along(
    x: Float[Array, " m"], knots: Float[Array, "p m"], slopes: Float[Array, "q m"], outer: Float[Array, " m"]
) -> Float[Array, " m"]:
    """How high a piecewise linear function climbs from its first knot to x.

    Piece by piece, as XLA's sums over an axis take five times as long on a CPU.
    """
    climbed = outer * (jnp.minimum(x - knots[0], 0.0) + jnp.maximum(x - knots[-1], 0.0))
    for low, high, slope in zip(knots[:-1], knots[1:], slopes, strict=True):
        climbed = climbed + slope * (jnp.clip(x, low, high) - low)
    return climbed


def _step(column: Column) -> float:
    return column.step if column.step >= FINEST_STEP * column.std else 0.0


def _transforms(columns: Sequence[Column]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Knots, T at these, and the derivatives of T between them and outside; short columns repeat their last knot."""
    result = [_knots(column) for column in columns]
    room = max((len(x) for x, _ in result), default=2)
    knots, heights, slopes = (np.empty((size, len(result))) for size in (room, room, room - 1))
    outer = np.empty(len(result))
    for column, (x, u) in enumerate(result):
        outer[column] = (u[-1] - u[0]) / (x[-1] - x[0])
        knots[:, column], heights[:, column], slopes[:, column] = x[-1], u[-1], outer[column]
        knots[: len(x), column], heights[: len(x), column] = x, u
        slopes[: len(x) - 1, column] = np.diff(u) / np.diff(x)
    return knots, heights, slopes, outer


def _knots(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the column, and of the standard logistic distribution, ties merged."""
    levels = np.clip(np.asarray(QUANTILE_LEVELS), 5e-4, 1 - 5e-4)
    heights = np.log(levels) - np.log1p(-levels)
    x = np.asarray(column.quantiles, np.float64)
    if len(x):
        x, first, counts = np.unique(x.astype(np.float32).astype(np.float64), return_index=True, return_counts=True)
        heights = (heights[first] + heights[first + counts - 1]) / 2
    if len(x) < 3 or x[-1] - x[0] <= 0:
        scale = column.std * np.sqrt(3.0) / np.pi
        return column.mean + scale * np.asarray([-1.0, 1.0]), np.asarray([-1.0, 1.0])
    return x, heights
