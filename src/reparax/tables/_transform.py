"""Monotone transforms of columns of numbers: quantiles of the data become those of the standard logistic."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.summary import QUANTILE_LEVELS, Column
from reparax.tables._state_groups import single

FINEST_STEP = 0.02
"""Rounding to less than this fraction of a standard deviation is ignored."""


def rounding(column: Column) -> float:
    """The step that the numbers of a column are rounded to; 0 if it is too fine to matter."""
    return column.step if column.step >= FINEST_STEP * column.std else 0.0


def on_grid(x: Float[Array, " m"], low: Float[Array, " m"], step: Float[Array, " m"]) -> Float[Array, " m"]:
    """Numbers rounded to whole steps from the least value; unchanged where the step is 0."""
    size = jnp.where(step > 0, step, 1.0)
    # The least value is itself a whole multiple of the step: shifted units stay exact.
    return jnp.where(step > 0, low + jnp.round((x - low) / size) * size, x)


class CoarseSteps(NamedTuple):
    """The larger steps of which most numbers of some columns are multiples.

    Attributes:
        step: The step of each column; 0 for none.
        start: A multiple of it near the least value.
        fraction: The fraction of the numbers that are multiples of it.
    """

    step: Float[Array, " m"]
    start: Float[Array, " m"]
    fraction: Float[Array, " m"]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> "CoarseSteps | None":
        """Those of columns; None where no column has one."""
        if not any(column.coarse_step for column in columns):
            return None
        return cls(
            single([column.coarse_step for column in columns]),
            single([column.coarse_start for column in columns]),
            single([column.coarse_fraction for column in columns]),
        )

    def rounded(self, key: Array, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """Numbers, most of them rounded to the larger steps."""
        chosen = jax.random.bernoulli(key, self.fraction) & (self.step > 0)
        return jnp.where(chosen, on_grid(x, self.start, self.step), x)


class Transforms(eqx.Module):
    """T of each column: the monotone, piecewise linear map of its quantiles to those of the standard logistic.

    Beyond the outermost quantiles T is linear.

    Attributes:
        knots: The x of T's knots, one column for each of the table's; padded by repeating the last one.
        heights: T at the knots.
        slopes: The derivative of T between knots.
        outer: The derivative of T outside.
    """

    knots: Float[Array, "p m"]
    heights: Float[Array, "p m"]
    slopes: Float[Array, "q m"]
    outer: Float[Array, " m"]

    @classmethod
    def of(cls, columns: Sequence[Column]) -> Self:
        """The transforms of columns."""
        return cls(*map(single, _transforms(columns)))

    def __call__(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """T(x), as a sum over pieces, which needs no gathers and takes two thirds of their time."""
        return self.heights[0] + along(x, self.knots, self.slopes, self.outer)

    def slope(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """The derivative of T at x, from the right."""
        result = self.outer
        for low, slope in zip(self.knots, (*self.slopes, self.outer), strict=True):
            result = jnp.where(x >= low, slope, result)
        return result

    def inverse(self, u: Float[Array, " m"]) -> Float[Array, " m"]:
        """The inverse of T."""
        return self.knots[0] + along(u, self.heights, 1 / self.slopes, 1 / self.outer)

    def expected(self, loc: Float[Array, " m"], scale: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[T^-1(u)] for u ~ Logistic(loc, scale).

        T^-1 changes its slope at the knots only, and E[max(u - c, 0)] = scale softplus((loc - c) / scale).
        """
        steep = 1 / jnp.concatenate([self.outer[None], self.slopes, self.outer[None]])
        above = jax.nn.softplus((loc[None] - self.heights) / scale[None]) * scale[None]
        return self.knots[0] + (loc - self.heights[0]) / self.outer + jnp.sum(jnp.diff(steep, axis=0) * above, axis=0)

    def around(self, x: Float[Array, " m"], radii: Float[Array, "r m"]) -> tuple[Array, Array]:
        """T(x - r) and T(x + r) for each radius r, of shape (radii, columns).

        The radii are taken in a loop: without one XLA computes T anew for each of its uses. Both ends are taken at
        once, as more numbers side by side are faster.
        """
        knots, heights, slopes, outer = (
            jnp.concatenate([values, values], axis=-1)
            for values in (self.knots, self.heights[0], self.slopes, self.outer)
        )

        def ends(radius: Float[Array, " m"]) -> Float[Array, " 2m"]:
            return heights + along(jnp.concatenate([x - radius, x + radius]), knots, slopes, outer)

        below, above = jnp.split(jax.lax.map(ends, radii), 2, axis=1)
        return below, above


@jax.jit
def along(
    x: Float[Array, " m"], knots: Float[Array, "p m"], slopes: Float[Array, "q m"], outer: Float[Array, " m"]
) -> Float[Array, " m"]:
    """The increase of a piecewise linear function from its first knot to x.

    Piece by piece, as XLA's sums over an axis take five times as long on a CPU. Compiled by itself so that its many
    operations are traced once, not at each of its uses.
    """
    climbed = outer * (jnp.minimum(x - knots[0], 0.0) + jnp.maximum(x - knots[-1], 0.0))
    for low, high, slope in zip(knots[:-1], knots[1:], slopes, strict=True):
        climbed = climbed + slope * (jnp.clip(x, low, high) - low)
    return climbed


def _transforms(columns: Sequence[Column]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
