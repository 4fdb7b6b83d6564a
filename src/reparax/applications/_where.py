"""Rows in which some cells have chosen values: importance resampling of draws from the prior."""

import re
from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from reparax.applications._door import in_context, some_of
from reparax.applications._given import Conditions
from reparax.applications._rows import LARGEST_BATCH, batch_size, batches
from reparax.compiler import in_float32
from reparax.errors import DataError, RecipeError
from reparax.model import Model
from reparax.recipe import FittedModel, given_numbers
from reparax.tables import adapter_of

PROPOSALS = 20_000
"""The number of draws from the prior that are resampled to meet a condition."""
SAME_LATENT = 20
"""The attempts with the same latent variable, so that the distribution of these hardly changes."""
FOR_MEMBERS = (1 << 31) - 2
"""Folded into the key of a sample to choose the members of an ensemble."""
MIN_EFFECTIVE = 20.0
"""The smallest effective number of proposals: with fewer, rows would repeat a few latent points."""


def conditions_in(fitted: FittedModel, text: str) -> dict[str, str]:
    """Conditions such as ``sex=F,age=30`` as a mapping from columns to values.

    Args:
        fitted: The fitted model, whose names of columns may contain commas and equals signs.
        text: The conditions.

    Raises:
        RecipeError: One of them has another form.
    """
    names = _condition_names(fitted)
    parts = re.split(r",(?=[^,=]*=)", text)
    if any(not part.strip().startswith(tuple(f"{name}=" for name in names)) for part in parts):
        known = "|".join(map(re.escape, names)) if any({",", "="} & set(name) for name in names) else "[^,=]*"
        parts = re.split(rf",(?=\s*(?:{known})=)", text)
    return conditions_of(fitted, parts)


def conditions_of(fitted: FittedModel, texts: Sequence[str]) -> dict[str, str]:
    """Conditions such as ``sex=F`` as a mapping from columns to values.

    Args:
        fitted: The fitted model, whose names of columns may contain equals signs.
        texts: The conditions.

    Raises:
        RecipeError: One of them has another form.
    """
    names = _condition_names(fitted)
    pairs = []
    for text in texts:
        known = next((name for name in names if text.lstrip().startswith(f"{name}=")), None)
        pairs.append(text.partition("=") if known is None else (known, "=", text.lstrip()[len(known) + 1 :]))
    if any(not equals or not name.strip() or not value.strip() for name, equals, value in pairs):
        raise RecipeError(
            expected="conditions such as sex=F,age=30 for --where",
            got=repr(",".join(texts)),
            cure="write column=value, with commas between several",
        )
    return {name.strip(): value.strip() for name, _, value in pairs}


def _condition_names(fitted: FittedModel) -> list[str]:
    """The names of the columns that conditions can be on, the longest first, which may begin with others."""
    columns = (*(fitted.schema.columns or ()), *fitted.schema.given_columns)
    return sorted((column.name for column in columns), key=len, reverse=True)


def keys_of(key: Array, number: int, size: int) -> Array:
    """The keys of a batch."""
    return jax.random.split(jax.random.fold_in(key, number), size)


def keys_at(key: jax.Array, places: np.ndarray, size: int) -> jax.Array:
    """The keys of rows by their indices, as `keys_of` gives them batch by batch."""
    numbers = np.unique(places // size)
    data = np.concatenate([jax.random.key_data(keys_of(key, int(number), size)) for number in numbers])
    keys = jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(key))
    return keys[np.searchsorted(numbers, places // size) * size + places % size]


def members_of(fitted: FittedModel, count: int, key: Array) -> Int[np.ndarray, " n"]:
    """Which member of an ensemble each of some rows is drawn from, at random."""
    if not fitted.others:
        return np.zeros(count, np.int64)
    seed = np.asarray(jax.random.key_data(jax.random.fold_in(key, FOR_MEMBERS))).ravel().tolist()
    return np.random.default_rng(seed).integers(0, len(fitted.members), count)


def by_member(
    fitted: FittedModel,
    member: Int[np.ndarray, " n"],
    places: Int[np.ndarray, " m"],
    draw: Callable[[Model, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Rows by their indices, each from its member.

    Args:
        fitted: The fitted model.
        member: The number of the member of each row.
        places: The indices of the rows that are drawn.
        draw: Draws rows from a model by their indices.
    """
    if not fitted.others:
        return draw(fitted.model, places)
    whole: np.ndarray | None = None
    for number in np.unique(member[places]).tolist():
        of_member = np.flatnonzero(member[places] == number)
        rows = draw(fitted.members[number].model, places[of_member])
        whole = np.empty((len(places), *rows.shape[1:]), rows.dtype) if whole is None else whole
        whole[of_member] = rows
    assert whole is not None
    return whole


def drawn_where(
    fitted: FittedModel,
    num_samples: int,
    cells: Mapping[int, float],
    key: jax.Array,
    conditions: Conditions | None = None,
) -> tuple[Callable[[np.ndarray, int], np.ndarray], np.ndarray]:
    """Draws rows whose latent variable is resampled from the prior with the probability of the cells as weight.

    Returns:
        The function that draws rows by their indices, and for each row which of the conditions it has; the function
        changes that along with the latent variable.
    """
    row = np.full((1, len(fitted.schema.columns or ())), np.nan)
    for column, value in cells.items():
        row[0, column] = value
    seen = jnp.asarray(fitted.units.stored(row)[0], jnp.float32)
    for_z, for_choice, for_x = jax.random.split(key, 3)
    keys = jax.random.split(for_z, -(-max(PROPOSALS, 2 * num_samples) // LARGEST_BATCH))
    contexts, of_proposals = _contexts(conditions, len(keys) * LARGEST_BATCH, key)
    # Of an ensemble, the proposals of all members: those that make the cells more probable are drawn more often.
    z, log_weights = map(np.concatenate, zip(*(
        tuple(map(np.asarray, _proposed(member.model, seen, keys, contexts))) for member in fitted.members
    ), strict=True))  # fmt: skip
    per_member = len(keys) * LARGEST_BATCH
    weights = np.exp(np.asarray(log_weights, np.float64) - float(np.max(log_weights)))
    effective = float(weights.sum() ** 2 / (weights**2).sum()) if np.isfinite(weights).all() else 0.0
    if effective < MIN_EFFECTIVE:
        raise DataError(
            expected=f"a condition that at least {MIN_EFFECTIVE:g} of {len(weights)} draws from the prior meet",
            got=f"one that {effective:.1f} of them meet, which is too rare under the model",
            cure="condition on fewer columns, or on more common values",
        )
    picked = jax.random.choice(for_choice, len(weights), (num_samples,), p=jnp.asarray(weights / weights.sum()))
    of_proposals = np.tile(of_proposals, len(fitted.members))
    chosen = np.asarray(picked)
    size, used = batch_size(fitted), of_proposals[chosen]

    def draw(places: np.ndarray, attempt: int) -> np.ndarray:
        of_attempt = for_x if attempt == 0 else jax.random.fold_in(for_x, LARGEST_BATCH + attempt)
        # A z that does not lead to rows that meet the constraints is given up for another one.
        other = places if attempt <= SAME_LATENT else (places + attempt) % num_samples
        used[places] = of_proposals[chosen[other]]
        observed, of_rows = ~jnp.isnan(seen), chosen[other]
        given = None if contexts is None else np.asarray(contexts).reshape(per_member, -1)[of_rows % per_member]

        def of_member(model: Model, rows: np.ndarray) -> np.ndarray:
            keys = keys_at(of_attempt, places[rows], size)
            return np.concatenate([
                np.asarray(
                    _given(model, jnp.asarray(z[of_rows[rows[some]]]), keys[some], observed, some_of(given, rows[some]))
                )[:kept]
                for _, some, kept in batches(len(rows), size)
            ])  # fmt: skip

        pieces = by_member(fitted, of_rows // per_member, np.arange(len(places)), of_member)
        known = np.full((len(places), row.shape[1]), np.nan)
        known[:, list(cells)] = list(cells.values())
        return fitted.units.restored(pieces.astype(np.float64), known)

    return draw, used


def _contexts(conditions: Conditions | None, count: int, key: Array) -> tuple[Array | None, np.ndarray]:
    """What is given of each proposal as numbers, block by block, and which of the conditions that is."""
    if conditions is None:
        return None, np.zeros(count, np.int64)
    numbers = given_numbers(conditions.schema, conditions.rows)
    places = conditions.places(count, key)
    return jnp.asarray(numbers[places].reshape(-1, LARGEST_BATCH, numbers.shape[1])), places


@eqx.filter_jit
@in_float32
def _proposed(model: Model, x: Array, keys: Array, contexts: Array | None) -> tuple[Array, Array]:
    """Draws of z from the prior, and the log density of a condition x given each."""
    adapter = adapter_of(model.likelihood)
    prior = model.prior(model.posterior) if contexts is None else None

    def some(key: Array) -> tuple[Array, Array]:
        assert prior is not None
        z = prior.sample(key, (LARGEST_BATCH,))
        return z, jax.vmap(lambda one: adapter.log_prob_of_condition(model.likelihood(one), x))(z)

    def given_some(block: tuple[Array, Array]) -> tuple[Array, Array]:
        return jax.vmap(one_given)(jax.random.split(block[0], LARGEST_BATCH), block[1])

    def one_given(key: Array, context: Array) -> tuple[Array, Array]:
        plain = model.given(context)
        z = plain.prior(plain.posterior).sample(key)
        return z, adapter.log_prob_of_condition(plain.likelihood(z), x)

    z, log_weights = jax.lax.map(some, keys) if contexts is None else jax.lax.map(given_some, (keys, contexts))
    return z.reshape(-1, *z.shape[2:]), log_weights.reshape(-1)


@eqx.filter_jit
@in_float32
def _given(model: Model, z: Array, keys: Array, observed: Array, contexts: Array | None) -> Array:
    adapter = adapter_of(model.likelihood)

    def one(z: Array, key: Array, context: Array | None) -> Array:
        return adapter.sample_given(in_context(model, context).likelihood(z), key, observed)

    return jax.vmap(one)(z, keys, contexts)
