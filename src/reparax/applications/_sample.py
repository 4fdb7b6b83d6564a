"""Sampling new examples from the prior and the likelihood."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from reparax.applications._door import contexts_of, in_context, some_of
from reparax.applications._rows import LARGEST_BATCH, batch_size, batches, require_samples
from reparax.data import FrameKind, cell_value, to_frame
from reparax.errors import DataError, RecipeError
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel
from reparax.tables import adapter_of

PROPOSALS = 20_000
"""The number of draws from the prior that are resampled to meet a condition."""
MOST_ATTEMPTS = 200
"""How often a row that breaks a constraint is drawn again."""
SAME_LATENT = 20
"""The attempts with the same latent variable, so that the distribution of these hardly changes."""
MIN_EFFECTIVE = 20.0
"""The smallest effective number of proposals: with fewer, rows would repeat a few latent points."""


def sample(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    like: FrameKind | None = None,
    context: Any = None,
) -> Any:
    """Examples drawn from p(z) p(x | z), in the user's units; samples, not means or most probable values.

    Rows of a table have the names, data types, categories, rounding and range of the data. Which cells are missing is
    drawn with the rest of the row, from P(gaps | z): `reparax.tables.Gaps`.

    Args:
        fitted: The fitted model.
        num_samples: The number of examples.
        key: The random key; the same key gives the same examples.
        where: For tables, the values of some columns in every row: z is then drawn from p(z | those cells, which are
            observed) by importance resampling of draws from the prior.
        context: For a conditional model, one row of numbers for each example, or one row for all.
        like: For tables, the library of the frame; by default an array if the data were an array of plain numbers, else
            that of the frame that was fitted, or polars.

    Returns:
        An array for images and plain numbers, else a data frame.

    Raises:
        RecipeError: The number of samples is below 1, or there is a condition but no table.
        DataError: A condition names an unknown column or category, or is too rare to sample from.
    """
    values = sample_values(fitted, num_samples, key=key, where=where, context=context)
    schema = fitted.schema
    if schema.columns is None or (like is None and schema.names is None and schema.value_kind != "mixed"):
        return values
    fitted_to = fitted.frame_kind if fitted.frame_kind != "numpy" else None
    return to_frame(values, schema, like=like or fitted_to or "polars")


def sample_values(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    context: Any = None,
) -> np.ndarray:
    """`sample` as the matrix that `reparax.data.to_frame` takes: codes for categories, NaN for missing cells."""
    if not where:
        draw = _drawn(fitted, num_samples, key, context)
    else:
        _refuse_both(fitted)
        draw = _drawn_where(fitted, num_samples, _conditions(fitted, where), key)
    return _until_held(fitted, draw(np.arange(num_samples), 0), draw)


def sample_means(fitted: FittedModel, num_samples: int, *, key: jax.Array, context: Any = None) -> np.ndarray:
    """E[x | z] for z drawn from the prior, in the user's units: smoother than the output of `sample`, but not samples.

    No cell of a table is missing.

    Raises:
        RecipeError: The number of samples is below 1.
    """
    require_samples(num_samples, fitted.units.summary.size)
    size, contexts = batch_size(fitted), contexts_of(fitted, context, num_samples)
    pieces = [
        np.asarray(_expected(fitted.model, _keys(key, number, size), some_of(contexts, places)))[:kept]
        for number, places, kept in batches(num_samples, size)
    ]
    return fitted.units.restored(np.concatenate(pieces))


def _refuse_both(fitted: FittedModel) -> None:
    if context_size(fitted.model):
        raise RecipeError(
            expected="either a condition on columns or a context",
            got="a condition on columns of a conditional model",
            cure="leave where out, and pass the context",
        )


def _keys(key: Array, number: int, size: int) -> Array:
    """The keys of a batch."""
    return jax.random.split(jax.random.fold_in(key, number), size)


def _conditions(fitted: FittedModel, where: Mapping[str, Any]) -> dict[int, float]:
    """The columns of a condition, by index, and the values of their cells in the matrix."""
    columns = fitted.schema.columns
    if columns is None:
        raise RecipeError(
            expected="a table for a condition", got=f"a model of {fitted.schema.kind}", cure="leave the condition out"
        )
    places = {column.name: index for index, column in enumerate(columns)}
    unknown = [name for name in where if name not in places]
    if unknown:
        raise DataError(
            expected=f"columns of the data: {', '.join(list(places)[:12])}",
            got=", ".join(map(repr, unknown)),
            cure="name a column that the model was fitted on",
        )
    return {places[name]: cell_value(columns[places[name]], str(value)) for name, value in where.items()}


def _until_held(
    fitted: FittedModel, rows: np.ndarray, draw_again: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Rows in which the constraints of the schema hold: those that break one are drawn again.

    Args:
        fitted: The fitted model.
        rows: Rows in the user's units.
        draw_again: Gives other rows in place of some, by their indices and the number of the attempt.

    Raises:
        DataError: Constraints that the user stated cannot be met.
    """
    schema = fitted.schema
    if not (schema.constraints or schema.relations):
        return rows
    broken = np.flatnonzero(~schema.holds(rows))
    for attempt in range(1, MOST_ATTEMPTS + 1):
        if not len(broken):
            return rows
        rows[broken] = draw_again(broken, attempt)
        asked = np.arange(len(rows)) if schema.compares_rows else broken
        broken = asked[~schema.holds(rows[asked])]
    broken = np.flatnonzero(~schema.stated().holds(rows))
    if len(broken):
        raise DataError(
            expected=f"rows that meet what the schema states, within {MOST_ATTEMPTS} attempts each",
            got=f"{len(broken)} of {len(rows)} that do not",
            cure="ask for fewer rows or another condition, or state less",
        )
    return rows


def _drawn(
    fitted: FittedModel, num_samples: int, key: jax.Array, context: Any
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Draws rows by their indices; in later attempts with other noise for x, and after some with another z too."""
    require_samples(num_samples, fitted.units.summary.size)
    size, contexts = batch_size(fitted), contexts_of(fitted, context, num_samples)

    def draw(places: np.ndarray, attempt: int) -> np.ndarray:
        numbers = np.unique(places // size)
        data = np.concatenate([jax.random.key_data(_keys(key, int(number), size)) for number in numbers])
        keys = jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(key))
        of_places = keys[np.searchsorted(numbers, places // size) * size + places % size]
        pieces = [
            np.asarray(_batch(fitted.model, of_places[some], jnp.int32(attempt), some_of(contexts, places[some])))[
                :kept
            ]
            for _, some, kept in batches(len(places), size)
        ]
        return fitted.units.restored(np.concatenate(pieces))

    return draw


def _drawn_where(
    fitted: FittedModel, num_samples: int, cells: Mapping[int, float], key: jax.Array
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Draws rows whose latent variable is resampled from the prior with the probability of the cells as weight."""
    require_samples(num_samples, fitted.units.summary.size)
    row = np.full((1, len(fitted.schema.columns or ())), np.nan)
    for column, value in cells.items():
        row[0, column] = value
    seen = jnp.asarray(fitted.units.stored(row)[0], jnp.float32)
    for_z, for_choice, for_x = jax.random.split(key, 3)
    proposals = max(PROPOSALS, 2 * num_samples)
    z, log_weights = _proposed(fitted.model, seen, jax.random.split(for_z, -(-proposals // LARGEST_BATCH)))
    weights = np.exp(np.asarray(log_weights, np.float64) - float(np.max(log_weights)))
    effective = float(weights.sum() ** 2 / (weights**2).sum()) if np.isfinite(weights).all() else 0.0
    if effective < MIN_EFFECTIVE:
        raise DataError(
            expected=f"a condition that at least {MIN_EFFECTIVE:g} of {len(weights)} draws from the prior meet",
            got=f"one that {effective:.1f} of them meet, which is too rare under the model",
            cure="condition on fewer columns, or on more common values",
        )
    chosen = jax.random.choice(for_choice, len(weights), (num_samples,), p=jnp.asarray(weights / weights.sum()))
    size = batch_size(fitted)

    def draw(places: np.ndarray, attempt: int) -> np.ndarray:
        of_attempt = for_x if attempt == 0 else jax.random.fold_in(for_x, LARGEST_BATCH + attempt)
        # A z that does not lead to rows that meet the constraints is given up for another one.
        other = places if attempt <= SAME_LATENT else (places + attempt) % num_samples
        observed = ~jnp.isnan(seen)
        pieces = [
            np.asarray(_given(fitted.model, z[chosen[other[some]]], _keys(of_attempt, number, size), observed))[:kept]
            for number, some, kept in batches(len(places), size)
        ]
        given = np.full((len(places), row.shape[1]), np.nan)
        given[:, list(cells)] = list(cells.values())
        return fitted.units.restored(np.concatenate(pieces).astype(np.float64), given)

    return draw


@eqx.filter_jit
def _batch(model: Model, keys: Array, attempt: Array, contexts: Array | None) -> Array:
    """Draws from the model; those of the first attempt are those of `Model.sample`."""

    def one(key: Array, context: Array | None) -> Array:
        plain = in_context(model, context)
        for_z, for_x = jax.random.split(key)
        z = plain.prior(plain.posterior).sample(_other_if(attempt > SAME_LATENT, for_z, attempt))
        return plain.likelihood(z).sample(_other_if(attempt > 0, for_x, attempt))

    return jax.vmap(one)(keys, contexts)


def _other_if(condition: Array, key: Array, attempt: Array) -> Array:
    """The key, or that of an attempt."""
    other = jax.random.key_data(jax.random.fold_in(key, attempt))
    return jax.random.wrap_key_data(
        jnp.where(condition, other, jax.random.key_data(key)), impl=jax.random.key_impl(key)
    )


@eqx.filter_jit
def _expected(model: Model, keys: Array, contexts: Array | None) -> Array:
    """E[x | z] for draws of z from the prior."""

    def one(key: Array, context: Array | None) -> Array:
        plain = in_context(model, context)
        return plain.expected(plain.prior(plain.posterior).sample(key))

    return jax.vmap(one)(keys, contexts)


@eqx.filter_jit
def _proposed(model: Model, x: Array, keys: Array) -> tuple[Array, Array]:
    """Draws of z from the prior, and the log density of a condition x given each."""
    prior, adapter = model.prior(model.posterior), adapter_of(model.likelihood)

    def some(key: Array) -> tuple[Array, Array]:
        z = prior.sample(key, (LARGEST_BATCH,))
        return z, jax.vmap(lambda one: adapter.log_prob_of_condition(model.likelihood(one), x))(z)

    z, log_weights = jax.lax.map(some, keys)
    return z.reshape(-1, *z.shape[2:]), log_weights.reshape(-1)


@eqx.filter_jit
def _given(model: Model, z: Array, keys: Array, observed: Array) -> Array:
    adapter = adapter_of(model.likelihood)
    return jax.vmap(lambda one, key: adapter.sample_given(model.likelihood(one), key, observed))(z, keys)
