"""Where each column of a table is: its discrete states, its monotone transform, and their places among parameters."""

from collections.abc import Sequence
from itertools import chain
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from reparax.distributions._states import Atoms, Categories, grouped, pick, single
from reparax.summary import QUANTILE_LEVELS, REACHES, Column

FINEST_STEP = 0.02
"""Rounding to less than this share of a standard deviation is as good as none."""


class Layout(eqx.Module):
    """How one row of a table becomes discrete states and transformed numbers, and back.

    Numbers that are no atoms, and all of a column without atoms, are transformed by T, the monotone, piecewise linear
    map of the column's quantiles to those of the standard logistic distribution, linear beyond them.

    Columns are taken in an order of their own: the category-like ones group by group, then the numeric ones, those with
    atoms first, group by group. No cell need then be put into its place before the very end.

    Attributes:
        categories: The category-like columns, those of similar numbers of categories together.
        atoms: The numeric columns with atoms, likewise.
        plain: The numeric columns without.
        knots: The x of T's knots, one row for each numeric column.
        heights: T at the knots.
        slopes: The derivative of T below the first knot, between knots, and above the last.
        step: The rounding of each numeric column; 0 for none.
        low: The least value of each numeric column.
        high: The greatest.
        reaches: How far what is near a number reaches, for each numeric column.
    """

    categories: tuple[Categories, ...]
    atoms: tuple[Atoms, ...]
    plain: tuple[int, ...] = eqx.field(static=True)
    knots: Float[Array, "m p"]
    heights: Float[Array, "m p"]
    slopes: Float[Array, "m p1"]
    step: Float[Array, " m"]
    low: Float[Array, " m"]
    high: Float[Array, " m"]
    reaches: Float[Array, "m r"]

    @classmethod
    def of(cls, columns: Sequence[Column], num_examples: int) -> Self:
        """The layout of a table's columns."""
        of_codes = {i: max(1, len(column.categories)) for i, column in enumerate(columns) if column.is_category}
        of_atoms = {i: len(column.atoms) + 1 for i, column in enumerate(columns) if column.atoms}
        plain = tuple(i for i in range(len(columns)) if i not in of_codes and i not in of_atoms)
        atoms = tuple(Atoms.of(places, columns, num_examples) for places in grouped(of_atoms))
        numeric = [columns[i] for i in (*chain.from_iterable(group.columns for group in atoms), *plain)]
        knots, heights, slopes = _transforms(numeric)
        return cls(
            categories=tuple(Categories.of(places, columns, num_examples) for places in grouped(of_codes)),
            atoms=atoms,
            plain=plain,
            knots=single(knots),
            heights=single(heights),
            slopes=single(slopes),
            step=single([_step(column) for column in numeric]),
            low=single([column.low for column in numeric]),
            high=single([column.high for column in numeric]),
            reaches=single(np.reshape([column.reaches for column in numeric], (len(numeric), len(REACHES)))),
        )

    @property
    def order(self) -> tuple[int, ...]:
        """The columns of the table in the order in which they are taken."""
        groups: tuple[Categories | Atoms, ...] = (*self.categories, *self.atoms)
        return (*chain.from_iterable(group.columns for group in groups), *self.plain)

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
        groups: tuple[Categories | Atoms, ...] = (*self.categories, *self.atoms)
        return sum(group.num_parameters for group in groups) + 2 * self.num_numeric

    def split(self, x: Float[Array, " d"]) -> tuple[list[Float[Array, " c"]], Float[Array, " m"]]:
        """The cells of each group of category-like columns, and those of the numeric columns."""
        ends = np.cumsum([len(group.columns) for group in self.categories], dtype=int)
        *codes, numbers = jnp.split(x[np.asarray(self.order, int)], ends)
        return codes, numbers

    def of_atoms(self, numbers: Float[Array, " m"]) -> list[Float[Array, " c"]]:
        """Of one number for each numeric column those of each group with atoms."""
        ends = np.cumsum([len(group.columns) for group in self.atoms], dtype=int)
        return jnp.split(numbers, ends)[:-1]

    def beside_plain(self, of_atoms: list[Float[Array, " c"]], plain: Float[Array, " m"]) -> Float[Array, " m"]:
        """One number for each numeric column: those of the groups with atoms, and for the others as given."""
        return jnp.concatenate([*of_atoms, plain[self.num_numeric - len(self.plain) :]])

    def joined(self, codes: list[Float[Array, " c"]], numbers: Float[Array, " m"]) -> Float[Array, " d"]:
        """The row of the table that `split` takes apart."""
        return jnp.concatenate([*codes, numbers])[np.argsort(self.order)]

    def is_atom(self, numbers: Float[Array, " m"]) -> Bool[Array, " m"]:
        """Which numbers are atoms."""
        cells = zip(self.atoms, self.of_atoms(numbers), strict=True)
        found = [group.state(own) < group.count for group, own in cells]
        return jnp.concatenate([*found, jnp.zeros(len(self.plain), bool)])

    def transformed(self, x: Float[Array, " m"]) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """T(x) and the derivative of T, for each numeric column."""
        place = jnp.sum(x[:, None] >= self.knots, axis=1)
        knot = jnp.maximum(place - 1, 0)
        slope = pick(self.slopes, place)
        return pick(self.heights, knot) + slope * (x - pick(self.knots, knot)), slope

    def restored(self, u: Float[Array, "*s m"]) -> Float[Array, "*s m"]:
        """The inverse of T."""
        place = jnp.sum(u[..., None] >= self.heights, axis=-1)
        knot = jnp.maximum(place - 1, 0)
        rows = jnp.arange(self.num_numeric)
        return self.knots[rows, knot] + (u - self.heights[rows, knot]) / self.slopes[rows, place]

    def expected(self, loc: Float[Array, " m"], scale: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[T^-1(u)] for u logistic(loc, scale).

        T^-1 bends at the knots alone, and E[max(u - c, 0)] = scale softplus((loc - c) / scale).
        """
        exists = jnp.isfinite(self.knots)
        heights = jnp.where(exists, self.heights, 0.0)
        bends = jnp.where(exists, 1 / self.slopes[:, 1:] - 1 / self.slopes[:, :-1], 0.0)
        above = jax.nn.softplus((loc[:, None] - heights) / scale[:, None]) * scale[:, None]
        straight = self.knots[:, 0] + (loc - heights[:, 0]) / self.slopes[:, 0]
        return straight + jnp.sum(bends * above, axis=-1)


def _step(column: Column) -> float:
    return column.step if column.step >= FINEST_STEP * column.std else 0.0


def _transforms(columns: Sequence[Column]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    knots = [_knots(column) for column in columns]
    room = max((len(x) for x, _ in knots), default=2)
    xs, us, slopes = np.empty((len(knots), room)), np.empty((len(knots), room)), np.empty((len(knots), room + 1))
    for row, (x, u) in enumerate(knots):
        inner = np.diff(u) / np.diff(x)
        outer = (u[-1] - u[0]) / (x[-1] - x[0])
        # Where there are fewer knots than room, infinite ones are never reached.
        xs[row], us[row], slopes[row] = np.inf, np.inf, outer
        xs[row, : len(x)], us[row, : len(x)] = x, u
        slopes[row, : len(x) + 1] = np.concatenate([[outer], inner, [outer]])
    return xs, us, slopes


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
