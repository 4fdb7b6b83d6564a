"""Imputation of rows in which a child of a relation is known and a parent is not: weighted rows that were solved."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from reparax.applications._door import in_context, some_of
from reparax.applications._mixture import over_members
from reparax.applications._rows import batch_size, batches, importance_samples, map_with_samples
from reparax.applications._solved import particles
from reparax.compiler import in_float32
from reparax.data import Dataset, Relation, cell_text, holds_unrounded, is_solved
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.tables import RowDistribution, adapter_of

AT_ONCE = 1 << 17
"""The most weighted rows in memory at once."""
FEWEST_EFFECTIVE = 20.0
MORE = 16
"""So many times the rows are drawn where fewer of one are effective."""
OFTEN = 0.05
"""The least fraction of gaps from which a density of a column for rows with that gap is learned."""
FOR_ROWS = 4
"""Folded into the key of a row for its draws."""


def rows_to_solve(fitted: FittedModel, values: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
    """In which rows a child of a relation is known and not all of its parents."""
    extension = fitted.units.extension
    if extension is None or values.dtype.kind != "f":
        return np.zeros(len(values), bool)
    kinds, of_rows = np.unique(np.isnan(values), axis=0, return_inverse=True)
    return np.asarray([is_solved(extension, ~kind) for kind in kinds])[of_rows.ravel()]


def rows_that_may_hold(fitted: FittedModel, values: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
    """Which rows to solve may agree with their relations without it: those that are to be solved for orders alone.

    Two columns that are imputed one by one are mostly in order. The child then has a density of its own, which is
    learned from rows without the parent: enough of the fit must have been such.
    """
    solve = rows_to_solve(fitted, values)
    result = np.zeros(len(values), bool)
    for place in np.flatnonzero(solve):
        result[place] = all(_may_hold(fitted, relation) for relation in open_relations(fitted, values[place]))
    return result


def _may_hold(fitted: FittedModel, relation: Relation) -> bool:
    columns = fitted.schema.extension.columns
    places = fitted.schema.extension.parents(relation)
    return relation.is_order and min(columns[place].missing for place in places) >= OFTEN


def expected_rows(
    fitted: FittedModel, dataset: Dataset, num_samples: int, seed: int, at_once: int | None, *, uses_gaps: bool
) -> Float[np.ndarray, "n d"]:
    """Rows filled by expected numbers and most probable categories; the arguments are those of `Weighted.of`.

    Rows that are not possible keep their gaps, NaN.
    """
    result = np.array(dataset.values, np.float64)
    for places in _pieces(fitted, len(dataset), num_samples):
        some = dataset.take(places)
        whole = Weighted.of(fitted, some, num_samples, seed, at_once, uses_gaps=uses_gaps)
        kept = np.flatnonzero(whole.possible)
        if len(kept):
            result[places[kept]] = whole.take(kept).expected(fitted, some.take(kept))
    return result


def drawn_rows(
    fitted: FittedModel, dataset: Dataset, num_samples: int, seed: int, num_draws: int, *, uses_gaps: bool
) -> Float[np.ndarray, "n s d"]:
    """Rows filled by draws, several of each; otherwise like `expected_rows`."""
    result = np.repeat(np.array(dataset.values, np.float64)[:, None], num_draws, axis=1)
    for places in _pieces(fitted, len(dataset), num_samples):
        whole = Weighted.of(fitted, dataset.take(places), num_samples, seed, None, uses_gaps=uses_gaps)
        kept = np.flatnonzero(whole.possible)
        if len(kept):
            result[places[kept]] = whole.take(kept).drawn(num_draws)
    return result


def _pieces(fitted: FittedModel, count: int, num_samples: int) -> Iterator[Int[np.ndarray, " m"]]:
    """The places of a few rows at a time."""
    size = max(1, AT_ONCE // (num_samples * len(fitted.members)))
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


class Weighted(NamedTuple):
    """Weighted rows, for each row of a table.

    Attributes:
        z: The latent variables of one member of an ensemble after those of another.
        values: The rows, in the user's units.
        log_weights: Their log importance weights, normalized within each member; minus infinity where none is possible.
        keys: The key of each row of the table, as numbers.
        effective: The effective number of the rows of each member that were weighted; 0 where none is possible.
    """

    z: Float[np.ndarray, "n m k *latent"]
    values: Float[np.ndarray, "n m k d"]
    log_weights: Float[np.ndarray, "n m k"]
    keys: np.ndarray
    effective: Float[np.ndarray, "n m"]

    @classmethod
    def of(
        cls, fitted: FittedModel, dataset: Dataset, num_samples: int, seed: int, at_once: int | None, *, uses_gaps: bool
    ) -> Self:
        """Weighted rows that agree with the known cells; `possible` says of which rows there are any.

        Args:
            fitted: The fitted model, of a table with relations.
            dataset: The rows, with missing cells.
            num_samples: The number of importance samples for each row.
            seed: Their seed.
            at_once: The most rows that are computed at once.
            uses_gaps: Whether weights contain the probability of the gaps.
        """
        whole = cls._drawn(fitted, dataset, num_samples, seed, at_once, uses_gaps=uses_gaps)
        few = np.flatnonzero((whole.effective < FEWEST_EFFECTIVE).any(axis=1))
        step = max(1, AT_ONCE // (MORE * num_samples * len(fitted.members)))
        for start in range(0, len(few), step):
            some = few[start : start + step]
            more = cls._drawn(fitted, dataset.take(some), MORE * num_samples, seed, at_once, uses_gaps=uses_gaps)
            for own, other in zip(whole, more._resampled(num_samples), strict=True):
                own[some] = other
        return whole

    @classmethod
    def _drawn(
        cls, fitted: FittedModel, dataset: Dataset, num_samples: int, seed: int, at_once: int | None, *, uses_gaps: bool
    ) -> Self:
        """One row for each draw of z."""
        models = tuple(member.model for member in fitted.members)
        z, log_base, keys = map_with_samples(
            _Latent(num_samples, uses_gaps), fitted, dataset, num_samples * len(models), seed, at_once, model=models
        )
        count, _, draws = log_base.shape
        known = np.repeat(np.asarray(dataset.values, np.float64), draws, axis=0)
        contexts = None if dataset.context is None else np.repeat(dataset.context, draws, axis=0)
        of_rows = _keys(jnp.asarray(keys), draws).reshape(-1)
        values, weights = np.empty((*log_base.shape, known.shape[1])), np.empty(log_base.shape)
        for number, member in enumerate(fitted.members):
            found = particles(
                fitted, member.model, z[:, number].reshape(-1, *z.shape[3:]), of_rows, known, contexts, gaps=False
            )
            values[:, number] = found.values.reshape(count, draws, -1)
            weights[:, number] = found.log_weights.reshape(count, draws) + log_base[:, number]
        with np.errstate(invalid="ignore"):
            weights -= np.logaddexp.reduce(weights, axis=2, keepdims=True)
        weights = np.where(np.isnan(weights), -np.inf, weights)
        squares = (np.exp(weights) ** 2).sum(axis=2)
        effective = np.where(squares > 0, 1 / np.where(squares > 0, squares, 1.0), 0.0)
        return cls(z, values, weights, keys, effective)

    @property
    def possible(self) -> Bool[np.ndarray, " n"]:
        """Of which rows all members found one that is possible."""
        return np.all(self.effective > 0, axis=1)

    def take(self, places: Int[np.ndarray, " m"]) -> Self:
        """The weighted rows of some rows of the table."""
        return type(self)(*(part[places] for part in self))

    def _resampled(self, count: int) -> Self:
        """As many rows of each, all of the same weight: at even steps of the cumulative weights."""
        cumulative = np.cumsum(np.exp(self.log_weights), axis=2)
        steps = (np.arange(count) + 0.5) / count * (1 - 1e-9)
        chosen = (cumulative[:, :, None, :] <= steps[None, None, :, None] * cumulative[:, :, -1:, None]).sum(axis=3)
        chosen = np.minimum(chosen, cumulative.shape[2] - 1)
        pick = (np.arange(len(chosen))[:, None, None], np.arange(chosen.shape[1])[None, :, None], chosen)
        weights = np.where(self.effective[:, :, None] > 0, np.full(chosen.shape, -np.log(count)), -np.inf)
        return type(self)(self.z[pick], self.values[pick], weights, self.keys, np.minimum(self.effective, count))

    def drawn(self, num_draws: int) -> Float[np.ndarray, "n s d"]:
        """Rows drawn by their weights, each of a random member."""
        seeds = self.keys.reshape(len(self.keys), -1)
        return np.stack([self._drawn_of(row, seed.tolist(), num_draws) for row, seed in enumerate(seeds)])

    def _drawn_of(self, row: int, seed: Sequence[int], num_draws: int) -> Float[np.ndarray, "s d"]:
        weights = np.exp(self.log_weights[row]).ravel()
        chosen = np.random.default_rng(seed).choice(len(weights), num_draws, p=weights / weights.sum())
        return self.values[row].reshape(len(weights), -1)[chosen]

    def expected(self, fitted: FittedModel, dataset: Dataset) -> Float[np.ndarray, "n d"]:
        """Expected numbers and most probable categories, between which the relations hold.

        Columns without relations have expectations given z. Where relations do not hold between expectations, the
        weighted row that is nearest to these stands for them.
        """
        models, size = tuple(member.model for member in fitted.members), batch_size(fitted, self.log_weights[0].size)
        typical = np.concatenate([
            np.asarray(_typical(
                models, jnp.asarray(self.z[some]), jnp.asarray(self.log_weights[some], jnp.float32),
                some_of(dataset.context, some),
            ))[:kept]
            for _, some, kept in batches(len(self.z), size)
        ])  # fmt: skip
        whole = fitted.units.shifted_back(typical.astype(np.float64))[:, : self.values.shape[3]]
        return np.stack([
            _middle(fitted, row, known, values.reshape(-1, values.shape[2]), np.exp(weights).ravel())
            for row, known, values, weights in zip(whole, dataset.values, self.values, self.log_weights, strict=True)
        ])  # fmt: skip


def _middle(
    fitted: FittedModel,
    typical: Float[np.ndarray, " d"],
    known: Float[np.ndarray, " d"],
    values: Float[np.ndarray, "k d"],
    weights: Float[np.ndarray, " k"],
) -> Float[np.ndarray, " d"]:
    """The middle of weighted rows: expectations if the relations hold between them, else the row nearest to these."""
    extension, weights = fitted.schema.extension, weights / weights.sum()
    names = {name for relation in extension.relations for name in (relation.child, *relation.parents)}
    result, distances = np.where(np.isnan(known), typical, known), np.zeros(len(values))
    for place, column in enumerate(extension.columns):
        if column.name not in names or not np.isnan(known[place]):
            continue
        cells = values[:, place]
        if column.is_category:
            codes, of_rows = np.unique(cells, return_inverse=True)
            result[place] = codes[np.argmax(np.bincount(of_rows.ravel(), weights))]
            distances += cells != result[place]
        else:
            chosen = cells[weights > 0]
            mean = chosen[0] if np.ptp(chosen) == 0 else weights @ cells  # what follows has no rounding error of a mean
            is_rounded = column.step > 0 and not column.dtype.startswith("float")
            result[place] = np.rint(mean / column.step) * column.step if is_rounded else mean
            distances += ((cells - mean) / column.spread) ** 2
    if holds_unrounded(extension, result) and fitted.schema.holds(result[None]).all():
        return result
    nearest = values[np.argmin(np.where(weights > 0, distances, np.inf))]
    related = np.asarray([column.name in names for column in extension.columns])
    return np.where(related & np.isnan(known), nearest, result)


class _Latent(eqx.Module):
    """Draws of z from the posterior given the observed cells, the log weights that are theirs alone, and a key."""

    num_samples: int = eqx.field(static=True)
    uses_gaps: bool = eqx.field(static=True)

    def __call__(self, models: Sequence[Model], x: Array, key: Array) -> tuple[Array, Array, Array]:
        def latent(model: Model) -> tuple[Array, Array]:
            z, kl = importance_samples(model, model.posterior(x), key, self.num_samples)
            log_base = -kl
            if self.uses_gaps:
                log_base = log_base + jax.vmap(lambda one: _log_prob_of_gaps(model, one, x))(z)
            # A posterior of one point gives one draw: rows given it still differ.
            times = self.num_samples // len(z)
            return jnp.repeat(z, times, axis=0), jnp.repeat(log_base, times, axis=0)

        z, log_base = _over_members(models, latent)
        return z, log_base, jax.random.key_data(jax.random.fold_in(key, FOR_ROWS))


def _over_members(models: Sequence[Model], function: Callable[[Model], PyTree[Array]]) -> PyTree[Array]:
    """`over_members`, which of one model takes no stacked weights."""
    if len(models) == 1:
        return jax.tree.map(lambda leaf: leaf[None], function(models[0]))
    return over_members(models, function)


def _log_prob_of_gaps(model: Model, z: Array, x: Array) -> Array:
    distribution = model.likelihood(z)
    assert isinstance(distribution, RowDistribution)
    return jnp.sum(distribution.log_prob_of_gaps(x))


@eqx.filter_jit
def _keys(data: Array, count: int) -> Array:
    return jax.vmap(lambda one: jax.random.split(jax.random.wrap_key_data(one), count))(data)


@eqx.filter_jit
@in_float32
def _typical(models: Sequence[Model], z: Array, log_weights: Array, contexts: Array | None) -> Array:
    """Expected numbers and most probable categories, from weighted draws of z of each member."""
    adapter = adapter_of(models[0].likelihood)

    def one(z: Array, log_weights: Array, context: Array | None) -> Array:
        statistics = [
            adapter.statistics(in_context(model, context).likelihood, z[number], log_weights[number])
            for number, model in enumerate(models)
        ]
        return adapter.typical(jax.tree.map(lambda *of_all: sum(of_all) / len(of_all), *statistics))

    return jax.vmap(one)(z, log_weights, contexts)


def contradiction(fitted: FittedModel, known: Float[np.ndarray, " d"]) -> str:
    """The known cells of a row that follow from missing ones, such as ``total=-500``."""
    extension = fitted.schema.extension
    children = [extension.places[relation.child] for relation in open_relations(fitted, known)]
    return ", ".join(f"{extension.columns[at].name}={cell_text(extension.columns[at], known[at])}" for at in children)


def open_relations(fitted: FittedModel, known: Float[np.ndarray, " d"]) -> list[Relation]:
    """The relations of which the child is known and a parent is not."""
    extension = fitted.schema.extension
    return [
        relation
        for relation in extension.relations
        if not np.isnan(known[extension.places[relation.child]]) and np.isnan(known[extension.parents(relation)]).any()
    ]
