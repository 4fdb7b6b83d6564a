"""Where each column of a table is: its discrete states, its monotone transform, and their places among parameters."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from reparax.summary import QUANTILE_LEVELS, Column

MOST_STATES = 256
"""Categories with a probability of their own; the rarer ones share one, by their frequencies."""
FINEST_STEP = 0.02
"""Rounding to less than this share of a standard deviation is as good as none."""


class Group(NamedTuple):
    """Discrete columns of about as many states, side by side.

    Attributes:
        columns: Which columns of the table.
        size: The number of states that there is room for.
    """

    columns: tuple[int, ...]
    size: int


class Layout(eqx.Module):
    """How one row of a table becomes discrete states and transformed numbers, and back.

    A category-like column has one state for each category; beyond `MOST_STATES` the rarer ones share the last state.
    A numeric column has one state for each atom (a value that many rows share) and a last one for all other values.
    Those other values, and all values of a column without atoms, are transformed by T, the monotone, piecewise linear
    map of the column's quantiles to those of the standard logistic distribution, linear beyond them.

    Attributes:
        size: The number of columns.
        groups: The discrete columns, those of similar numbers of states together.
        numeric: The numeric columns.
        mixed: The numeric columns with atoms.
        shared: The category-like columns whose rarer categories share a state.
        states: Which states of a group exist, one array of shape (columns, size) for each.
        log_shares: The log of each state's share in the data, likewise.
        atoms: The atoms of the columns in ``mixed``, NaN where there is room for more.
        knots: The x of T's knots, one row for each numeric column.
        heights: T at the knots.
        slopes: The derivative of T below the first knot, between knots, and above the last.
        step: The rounding of each numeric column; 0 for none.
        low: The least value of each numeric column.
        high: The greatest.
        reaches: How far what is near a number reaches, for each column; 0 for category-like ones.
        log_within: For each column in ``shared``, the log of a category's share of its state: 0 for those with one of
            their own, minus infinity where there is room for more categories.
        log_unseen: The log-probability of a category that no row had, for each column; 0 for numeric ones.
        num_categories: The number of categories of each column; 0 for numeric ones.
    """

    size: int = eqx.field(static=True)
    groups: tuple[Group, ...] = eqx.field(static=True)
    numeric: tuple[int, ...] = eqx.field(static=True)
    mixed: tuple[int, ...] = eqx.field(static=True)
    shared: tuple[int, ...] = eqx.field(static=True)
    states: tuple[Bool[Array, "c k"], ...]
    log_shares: tuple[Float[Array, "c k"], ...]
    atoms: Float[Array, "mixed a"]
    knots: Float[Array, "numeric p"]
    heights: Float[Array, "numeric p"]
    slopes: Float[Array, "numeric p1"]
    step: Float[Array, " numeric"]
    low: Float[Array, " numeric"]
    high: Float[Array, " numeric"]
    reaches: Float[Array, "d r"]
    log_within: Float[Array, "shared k"]
    log_unseen: Float[Array, " d"]
    num_categories: Int[Array, " d"]

    @classmethod
    def of(cls, columns: Sequence[Column], num_examples: int) -> Self:
        """The layout of a table's columns."""
        numeric = tuple(i for i, column in enumerate(columns) if not column.is_category)
        mixed = tuple(i for i in numeric if columns[i].atoms)
        counts = [_num_states(column) for column in columns]
        groups = _grouped(counts)
        tables = [_shares(columns, group, num_examples) for group in groups]
        knots, heights, slopes = _transforms([columns[i] for i in numeric])
        most_atoms = max((len(columns[i].atoms) for i in mixed), default=0)
        atoms = np.full((len(mixed), most_atoms), np.nan)
        for row, i in enumerate(mixed):
            atoms[row, : len(columns[i].atoms)] = columns[i].atoms
        shared = tuple(i for i, column in enumerate(columns) if len(column.categories) > MOST_STATES)
        most = max((len(columns[i].categories) for i in shared), default=0)
        within = np.full((len(shared), most), -np.inf)
        for row, i in enumerate(shared):
            within[row, : len(columns[i].categories)] = _log_within(columns[i], num_examples)
        return cls(
            size=len(columns),
            groups=groups,
            numeric=numeric,
            mixed=mixed,
            shared=shared,
            states=tuple(jnp.asarray(np.isfinite(table)) for table in tables),
            log_shares=tuple(_single(np.where(np.isfinite(table), table, 0.0)) for table in tables),
            atoms=_single(atoms),
            knots=_single(knots),
            heights=_single(heights),
            slopes=_single(slopes),
            step=_single([_step(columns[i]) for i in numeric]),
            low=_single([columns[i].low for i in numeric]),
            high=_single([columns[i].high for i in numeric]),
            reaches=_single([column.reaches for column in columns]),
            log_within=_single(within),
            log_unseen=_single([_log_unseen(column, num_examples) for column in columns]),
            num_categories=jnp.asarray([len(column.categories) for column in columns], jnp.int32),
        )

    @property
    def num_states(self) -> int:
        """The states of all groups, room for more included."""
        return sum(len(group.columns) * group.size for group in self.groups)

    def state(self, x: Float[Array, " d"]) -> Int[Array, " d"]:
        """The state of each cell; 0 where there is none (missing cells, columns without states)."""
        x = jnp.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
        last = jnp.minimum(self.num_categories, MOST_STATES) - 1
        state = jnp.clip(x.astype(jnp.int32), 0, jnp.maximum(last, 0))
        if not self.mixed:
            return state
        mixed = jnp.asarray(self.mixed)
        same = x[mixed][:, None] == self.atoms
        rest = jnp.sum(~jnp.isnan(self.atoms), axis=1)
        return state.at[mixed].set(jnp.where(same.any(axis=1), jnp.argmax(same, axis=1), rest))

    def is_atom(self, x: Float[Array, " d"]) -> Bool[Array, " numeric"]:
        """Which numeric cells are atoms."""
        found = jnp.zeros(self.size, bool)
        if self.mixed:
            mixed = jnp.asarray(self.mixed)
            found = found.at[mixed].set((x[mixed][:, None] == self.atoms).any(axis=1))
        return found[jnp.asarray(self.numeric, jnp.int32)]

    def transformed(self, x: Float[Array, " numeric"]) -> tuple[Float[Array, " numeric"], Float[Array, " numeric"]]:
        """T(x) and the derivative of T, for each numeric column."""
        place = jnp.sum(x[:, None] >= self.knots, axis=1)
        knot = jnp.maximum(place - 1, 0)
        slope = _pick(self.slopes, place)
        return _pick(self.heights, knot) + slope * (x - _pick(self.knots, knot)), slope

    def restored(self, u: Float[Array, "*s numeric"]) -> Float[Array, "*s numeric"]:
        """The inverse of T."""
        place = jnp.sum(u[..., None] >= self.heights, axis=-1)
        knot = jnp.maximum(place - 1, 0)
        rows = jnp.arange(len(self.numeric))
        return self.knots[rows, knot] + (u - self.heights[rows, knot]) / self.slopes[rows, place]

    def expected(self, loc: Float[Array, "k numeric"], scale: Float[Array, "k numeric"]) -> Float[Array, "k numeric"]:
        """E[T^-1(u)] for u logistic(loc, scale).

        T^-1 bends at the knots alone, and E[max(u - c, 0)] = scale softplus((loc - c) / scale).
        """
        exists = jnp.isfinite(self.knots)
        heights = jnp.where(exists, self.heights, 0.0)
        bends = jnp.where(exists, 1 / self.slopes[:, 1:] - 1 / self.slopes[:, :-1], 0.0)
        above = jax.nn.softplus((loc[..., None] - heights) / scale[..., None]) * scale[..., None]
        straight = self.knots[:, 0] + (loc - heights[:, 0]) / self.slopes[:, 0]
        return straight + jnp.sum(bends * above, axis=-1)


def _single(values: object) -> Array:
    return jnp.asarray(np.asarray(values, np.float32))


def _pick(table: Float[Array, "m p"], index: Int[Array, " m"]) -> Float[Array, " m"]:
    return jnp.take_along_axis(table, index[:, None], axis=1)[:, 0]


def _num_states(column: Column) -> int:
    if column.is_category:
        return min(len(column.categories), MOST_STATES)
    return len(column.atoms) + 1 if column.atoms else 0


def _grouped(counts: Sequence[int]) -> tuple[Group, ...]:
    """Columns of more than one state by the power of two that holds them."""
    sizes: dict[int, list[int]] = {}
    for column, count in enumerate(counts):
        if count > 1:
            sizes.setdefault(1 << (count - 1).bit_length(), []).append(column)
    return tuple(
        Group(tuple(columns), max(counts[column] for column in columns)) for _, columns in sorted(sizes.items())
    )


def _shares(columns: Sequence[Column], group: Group, num_examples: int) -> np.ndarray:
    """Log-shares of a group's states, minus infinity where there is none."""
    table = np.full((len(group.columns), group.size), -np.inf)
    for row, i in enumerate(group.columns):
        shares = _state_shares(columns[i])
        smoothed = (shares * num_examples + 0.5) / (num_examples + 0.5 * len(shares))
        table[row, : len(shares)] = np.log(smoothed)
    return table


def _state_shares(column: Column) -> np.ndarray:
    if not column.is_category:
        shares = np.asarray(column.atom_shares)
        return np.append(shares, max(0.0, 1.0 - shares.sum()))
    shares = np.asarray(column.category_shares)
    if len(shares) <= MOST_STATES:
        return shares
    return np.append(shares[: MOST_STATES - 1], shares[MOST_STATES - 1 :].sum())


def _log_within(column: Column, num_examples: int) -> np.ndarray:
    """The log of each category's share of its state: 0 but for those that share one."""
    rare = np.asarray(column.category_shares[MOST_STATES - 1 :]) * num_examples + 0.5
    return np.append(np.zeros(MOST_STATES - 1), np.log(rare / rare.sum()))


def _log_unseen(column: Column, num_examples: int) -> float:
    """Good & Turing: what is unseen has the probability of what was seen once."""
    if not column.is_category:
        return 0.0
    once = sum(1 for share in column.category_shares if round(share * num_examples * (1 - column.missing)) <= 1)
    return float(np.log((once + 0.5) / (num_examples + 1 + once)))


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
