"""The distributions of the cells of a row: densities of numbers, probabilities of categories, ready to be drawn.

A density is evaluated at points that suit it: some are spread over the column's range in the data, the others are
quantiles of draws, so that a narrow density is resolved as well as a wide one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.data import cell_text, cell_texts
from reparax.explorer.frames import brief
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.summary import Column
from reparax.tables import RowDistribution, adapter_of

FIXED = 26
"""Points of a density that do not depend on it."""
ADAPTED = 32
"""Points that are quantiles of draws."""
MOST_LEVELS = 120
"""Columns of rounded numbers with at most so many values have a probability for each."""
MOST_CATEGORIES = 256
"""The most frequent categories of a column, whose probabilities are computed; the rest is "other"."""
SHOWN_CATEGORIES = 12
MOST_SPIKES = 40
FINEST_STEP = 0.02
"""As in `reparax.tables`: rounding to less than this fraction of a standard deviation is ignored by densities."""
MOST_OF_POINT = 4 / (ADAPTED - 1)
"""The most probability that one point of a density stands for: four times that between two quantiles of draws."""
DRAWS = 128
DRAWS_OF_RELATED = 1024
CHUNK = 32
LEAST_SHOWN = 5e-4


class Found(NamedTuple):
    """Distributions of the cells of a row, as numbers of the model; arrays of jax or of NumPy.

    Attributes:
        typical: The expected number, or the code of the most probable category, of each column; shape (d,).
        points: Where densities are evaluated, NaN for none; shape (g, d).
        density: The density, or the probability of a spike or category, at each point; shape (g, d).
        observed: The probability that each cell is not missing; shape (d,).
        draws: Random rows; shape (m, d).
        weights: For each column, the weight of each of them; shape (d, m).
    """

    typical: Any
    points: Any
    density: Any
    observed: Any
    draws: Any
    weights: Any


class Draws(NamedTuple):
    """Weighted draws of one column, in the user's units.

    Attributes:
        values: The draws; NaN for none.
        weights: Their weights.
    """

    values: Float[np.ndarray, " m"]
    weights: Float[np.ndarray, " m"]


@dataclass(frozen=True)
class Probes:
    """The points at which densities are evaluated whatever they are.

    Attributes:
        points: One column of points for each of the model's, padded with NaN.
        levels: Which columns have a probability for each of their values.
        spikes: The spikes of each column, in units of the model.
    """

    points: Float[np.ndarray, "f d"]
    levels: tuple[bool, ...]
    spikes: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, columns: tuple[Column, ...], num_cells: int) -> "Probes":
        """The points for the columns of a model.

        Args:
            columns: What the columns are; those beyond the cells of the user's table have no points.
            num_cells: The number of columns of the user's table.
        """
        made = [_points_of(column) for column in columns[:num_cells]]
        points = np.full((max(len(each) for each, _ in made), len(columns)), np.nan, np.float32)
        for place, (each, _) in enumerate(made):
            points[: len(each), place] = each
        spikes = tuple(np.asarray(column.spikes, np.float32) for column in columns)
        return cls(points, tuple(levels for _, levels in made), spikes)


def step_of(column: Column) -> float:
    """The step that densities of a column are rounded to; 0 for none."""
    return column.step if not column.is_category and column.step >= FINEST_STEP * column.std else 0.0


def _points_of(column: Column) -> tuple[np.ndarray, bool]:
    """Points of one column, and whether these are all of its values."""
    if column.is_category:
        return np.arange(min(len(column.categories), MOST_CATEGORIES)), True
    step = step_of(column)
    if step and (column.high - column.low) / step < MOST_LEVELS:
        return column.low + step * np.arange(round((column.high - column.low) / step) + 1), True
    spikes = np.asarray(column.spikes)
    if len(spikes) > MOST_SPIKES:
        spikes = spikes[np.argsort(-np.asarray(column.spike_fractions), kind="stable")[:MOST_SPIKES]]
    margin = 0.05 * (column.high - column.low)
    spread = np.linspace(column.low - margin, column.high + margin, FIXED - FIXED // 2)
    inner = np.quantile(np.asarray(column.quantiles), np.linspace(0, 1, FIXED // 2)) if column.quantiles else []
    return np.concatenate([spikes, spread, inner]), False


def log_prob_of_cells(distribution: Any, x: Array) -> Array:
    """The log density of each value of an example, given z.

    Raises:
        TypeError: The values do not have densities one by one.
    """
    if isinstance(distribution, RowDistribution):
        return distribution.log_prob_of_columns(x)
    inner = distribution
    while isinstance(inner, dist.Independent):
        inner = inner.base_dist
    if inner.event_shape != () or inner.batch_shape != distribution.event_shape:
        raise TypeError(f"{type(inner).__name__} has no density of single values")
    return inner.log_prob(x)


def density(model: Model, z: Array, weights: Array, points: Array) -> Array:
    """sum_n w_jn p(x_j | z_n) at the points x_j of each column j."""

    def of_z(one: Array) -> Array:
        distribution = model.likelihood(one)
        return jax.vmap(lambda x: log_prob_of_cells(distribution, x))(points)

    def some(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        return total + jnp.einsum("nd,ngd->gd", part[1], jnp.exp(jax.vmap(of_z)(part[0]))), None

    chunk = min(CHUNK, len(z))
    left = -len(z) % chunk  # repeated, without weight
    z = jnp.concatenate([z, jnp.repeat(z[-1:], left, axis=0)])
    weights = jnp.pad(weights, ((0, 0), (0, left)))
    parts = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), (z, weights.T))
    return jax.lax.scan(some, jnp.zeros_like(points), parts)[0]


def _quantiles(draws: Array, weights: Array) -> Array:
    """Quantiles of weighted draws of each column, from the least to the greatest draw."""
    levels = jnp.linspace(0.0, 1.0, ADAPTED)

    def of_column(values: Array, weight: Array) -> Array:
        order = jnp.argsort(values)
        above = jnp.cumsum(weight[order])
        place = jnp.searchsorted(above, levels * above[-1] * (1 - 1e-6))
        return values[order][jnp.clip(place, 0, len(values) - 1)]

    return jax.vmap(of_column, in_axes=(1, 0), out_axes=1)(draws, weights)


def found_at(model: Model, z: Array, points: Array, count: int) -> Found:
    """The distributions of the cells given one z; jax arrays.

    Args:
        model: A plain model of a table.
        z: The latent vector.
        points: `Probes.points`.
        count: The number of draws.
    """
    distribution = model.likelihood(z)
    size = points.shape[1]
    weights = jnp.full((size, count), 1.0 / count)
    keys = jax.random.split(jax.random.key(0), count)
    if isinstance(distribution, RowDistribution):
        draws = jax.vmap(distribution.sample_whole)(keys)
        observed = _observed(distribution)
    else:
        draws, observed = jax.vmap(distribution.sample)(keys), jnp.ones(size)
    draws = jnp.asarray(draws, jnp.float32)
    where = _all_points(points, draws, weights)
    densities = density(model, z[None], jnp.ones((size, 1)), where)
    return Found(jnp.asarray(model.expected(z), jnp.float32), where, densities, observed, draws, weights)


def _all_points(points: Array, draws: Array, weights: Array) -> Array:
    """The fixed points, and those that depend on draws; none for columns without fixed points."""
    adapted = jnp.where(jnp.isnan(points[:1]), jnp.nan, _quantiles(draws, weights))
    return jnp.concatenate([points, adapted])


def _observed(row: RowDistribution) -> Array:
    """The probability that each cell is observed."""
    layout = row.layout
    if not layout.gaps.groups:
        return jnp.ones(layout.size)
    parameters = layout.parameters_of_gaps(row.parameters)
    alone = jnp.eye(layout.size, dtype=bool)
    return jnp.exp(jax.vmap(lambda cell: layout.gaps.log_prob_observed(parameters, cell))(alone))


class Columns:
    """The columns of a table, as a page shows them.

    Args:
        fitted: A model of a table.
    """

    def __init__(self, fitted: FittedModel) -> None:
        units = fitted.units
        self.fitted = fitted
        self.columns = fitted.schema.columns or ()
        self.in_model = units.summary.columns or self.columns
        self.is_table = adapter_of(fitted.model.likelihood).is_table
        offset = np.zeros(len(self.in_model)) if units.offset is None else units.offset.ravel()
        self.offset = np.asarray(offset, np.float64)
        self.probes = Probes.of(self.in_model, len(self.columns))
        self.num_points = self.probes.points.shape[0]
        places = fitted.schema.extension.places if fitted.schema.relations else {}
        self.children = frozenset(places[relation.child] for relation in fitted.schema.relations)
        parents = (places[name] for relation in fitted.schema.relations for name in relation.parents)
        self.related = self.children | frozenset(parents)

    def points_for(self, rows: Float[np.ndarray, "m d"], weights: Float[np.ndarray, "d m"]) -> Float[np.ndarray, "g d"]:
        """The fixed points, and quantiles of weighted draws."""
        levels = np.linspace(0.0, 1.0, ADAPTED) * (1 - 1e-6)
        adapted = np.full((ADAPTED, rows.shape[1]), np.nan, np.float32)
        for place, levels_only in enumerate(self.probes.levels):
            if not levels_only:
                order = np.argsort(rows[:, place], kind="stable")
                above = np.cumsum(weights[place][order], dtype=np.float64)
                at = np.searchsorted(above, levels * above[-1])
                adapted[:, place] = rows[order[np.minimum(at, len(order) - 1)], place]
        return np.concatenate([self.probes.points, adapted])

    def shown(
        self,
        found: Found,
        typical: Float[np.ndarray, " d"],
        draws: Mapping[int, Draws],
        *,
        gaps: bool,
    ) -> list[dict[str, Any]]:
        """What is shown of each column.

        Args:
            found: The distributions.
            typical: The expected row in the user's units.
            draws: The draws of columns whose distribution is that of these, as relations change it, by their places.
            gaps: Whether to say how probable it is that a cell is missing.
        """
        result = []
        for place, column in enumerate(self.columns):
            entry = self.entry(place, draws.get(place, found), float(typical[place]))
            if gaps and column.missing:
                entry["mass_missing"] = float(1 - found.observed[place])
            result.append(entry)
        return result

    def entry(self, place: int, found: Found | Draws, typical: float) -> dict[str, Any]:
        """What is shown of one column.

        Args:
            place: The column.
            found: The distributions of all columns, or draws of this one.
            typical: The expected number, or the code of the most probable category, in the user's units.
        """
        column = self.columns[place]
        entry: dict[str, Any] = {"name": column.name, "kind": kind_of(column)}
        entry |= _of_draws(column, found) if isinstance(found, Draws) else self._of_points(place, found)
        likeliest = entry.get("categories")
        entry["text"] = likeliest[0]["name"] if likeliest else cell_text(column, typical)
        return entry

    def _of_points(self, place: int, found: Found) -> dict[str, Any]:
        column, fixed = self.columns[place], self.num_points
        kept = ~np.isnan(found.points[:, place])
        if column.is_category:
            kept[fixed:] = False
            return {"categories": _categories(column, found.density[kept, place])}
        if self.probes.levels[place]:
            kept[fixed:] = False
            x, y = found.points[kept, place] + self.offset[place], found.density[kept, place]
            return {"density": _density_of(column, x, y, step=step_of(column))}
        x, y = found.points[kept, place], found.density[kept, place]
        is_spike = np.isin(x, self.probes.spikes[place])
        spikes, first = np.unique(x[is_spike], return_index=True)
        mass = y[is_spike][first] * (step_of(column) or 1.0)
        smooth, order = np.unique(x[~is_spike], return_index=True)
        heights = without_needles(smooth, y[~is_spike][order])
        entry = {"density": _density_of(column, smooth + self.offset[place], heights)}
        if len(spikes):
            shown = mass >= LEAST_SHOWN
            at = np.asarray(spikes[shown], np.float64) + self.offset[place]
            texts = cell_texts(column, at)
            entry["spikes"] = [
                {"x": x, "p": p, "text": text}
                for x, p, text in zip(at.tolist(), mass[shown].tolist(), texts, strict=True)
            ]
        return entry


def without_needles(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Heights of a density at sorted points, as they are drawn with straight lines between them.

    Where a density has a needle that is much narrower than the distance of the points, as at two rows that happen to be
    close, a line to its top and back would have more area than all of the density. Quantiles of draws are among the
    points, so that none of them stands for much more probability than there is between two quantiles.
    """
    halves = np.diff(x) / 2
    widths = np.concatenate([halves, [0.0]]) + np.concatenate([[0.0], halves])
    return np.minimum(y, MOST_OF_POINT / np.maximum(widths, 1e-300))


def kind_of(column: Column) -> str:
    """What a column is to a page."""
    return "category" if column.is_category else "date" if column.kind == "datetime" else "number"


def _categories(column: Column, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """The likeliest categories, and all others together."""
    order = np.argsort(-probabilities, kind="stable")[:SHOWN_CATEGORIES]
    listed = [{"name": str(column.categories[place]).strip(), "p": float(probabilities[place])} for place in order]
    rest = max(0.0, 1 - float(probabilities[order].sum()))
    # Where all are listed, the rest is that of categories that never occurred.
    return [*listed, {"name": "other", "p": rest}] if len(order) < len(column.categories) else listed


def _density_of(column: Column, x: np.ndarray, y: np.ndarray, step: float = 0.0) -> dict[str, Any]:
    digits = 9 if column.kind == "datetime" else 6
    density: dict[str, Any] = {"x": brief(x, digits), "y": brief(y, 4)}
    if step:
        density["step"] = step
    if column.kind == "datetime":
        density["labels"] = cell_texts(column, x)
    return density


def _of_draws(column: Column, draws: Draws) -> dict[str, Any]:
    """The distribution of a column that follows from others, from draws."""
    kept = ~np.isnan(draws.values)
    values, weights = draws.values[kept], draws.weights[kept]
    weights = weights / max(float(weights.sum()), 1e-30)
    if column.is_category:
        seen = values < len(column.categories)
        codes = values[seen].astype(np.int64)
        return {"categories": _categories(column, np.bincount(codes, weights[seen], len(column.categories)))}
    levels = np.unique(values)
    step = step_of(column)
    if step and len(levels) < MOST_LEVELS:
        total = np.zeros(len(levels))
        np.add.at(total, np.searchsorted(levels, values), weights)
        return {"density": _density_of(column, levels, total / step, step=step)}
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    heights, ends = np.histogram(values, FIXED, (low, max(high, low + 1e-9)), weights=weights, density=True)
    return {"density": _density_of(column, (ends[1:] + ends[:-1]) / 2, heights)}
