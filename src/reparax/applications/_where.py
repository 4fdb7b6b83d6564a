"""Rows in which some cells have chosen values: importance resampling of draws from the prior."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from reparax.applications._door import in_context, some_of
from reparax.applications._given import Conditions
from reparax.applications._rows import LARGEST_BATCH, batch_size, batches
from reparax.applications._solved import Particles, particles
from reparax.compiler import in_float32
from reparax.data import is_solved
from reparax.errors import DataError, RecipeError
from reparax.model import Model
from reparax.recipe import FittedModel, given_numbers
from reparax.tables import adapter_of

PROPOSALS = 20_000
"""The number of draws from the prior that are resampled to meet a condition."""
PROPOSALS_TO_SOLVE = 60_000
"""The same where a child of a relation is chosen: of these draws, many have no parents from which it follows."""
SAME_LATENT = 20
"""The attempts with the same latent variable, so that the distribution of these hardly changes."""
FOR_MEMBERS = (1 << 31) - 2
"""Folded into the key of a sample to choose the members of an ensemble."""
FOR_SOLVED = 1 << 29
"""Folded into keys for rows in which relations are solved for parents, beside those of attempts."""
FOR_ACCEPT = (1 << 30) + 1
MOVES = 12
"""The moves away from a row that was resampled."""
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
    is_related = fitted.units.extension is not None and is_solved(fitted.units.extension, ~np.isnan(row[0]))
    proposed = PROPOSALS_TO_SOLVE if is_related else PROPOSALS
    keys = jax.random.split(for_z, -(-max(proposed, 2 * num_samples) // LARGEST_BATCH))
    per_member = len(keys) * LARGEST_BATCH
    contexts, of_proposals = _contexts(conditions, per_member, key)
    # Of an ensemble, the proposals of all members: those that make the cells more probable are drawn more often.
    z, log_weights = map(np.concatenate, zip(*(
        tuple(map(np.asarray, _proposed(member.model, seen, keys, contexts))) for member in fitted.members
    ), strict=True))  # fmt: skip
    numbers = (
        None if contexts is None else np.tile(np.asarray(contexts).reshape(per_member, -1), (len(fitted.members), 1))
    )
    proposals = _Proposals(fitted, row, z, per_member, numbers)
    first = None
    if is_related:
        whole = np.arange(len(z))
        first = proposals.solved(whole, keys_at(jax.random.fold_in(for_x, FOR_SOLVED), whole, LARGEST_BATCH))
        log_weights = first.log_weights
    weights = _weights(log_weights)
    picked = jax.random.choice(for_choice, len(weights), (num_samples,), p=jnp.asarray(weights / weights.sum()))
    of_proposals = np.tile(of_proposals, len(fitted.members))
    chosen = np.asarray(picked)
    size, used = batch_size(fitted), of_proposals[chosen]

    def draw(places: np.ndarray, attempt: int) -> np.ndarray:
        of_attempt = for_x if attempt == 0 else jax.random.fold_in(for_x, LARGEST_BATCH + attempt)
        # A z that does not lead to rows that meet the constraints is given up for another one.
        other = chosen[places if attempt <= SAME_LATENT else (places + attempt) % num_samples]
        used[places] = of_proposals[other]
        if first is not None:
            return proposals.moved(Particles(*(part[other] for part in first)), other, places, of_attempt, size)
        return proposals.drawn(other, keys_at(of_attempt, places, size), size)

    return draw, used


def _weights(log_weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Importance weights but for a factor.

    Raises:
        DataError: They are those of too few proposals.
    """
    largest = float(np.max(log_weights))
    weights = np.exp(np.asarray(log_weights, np.float64) - largest) if np.isfinite(largest) else np.zeros(1)
    effective = float(weights.sum() ** 2 / (weights**2).sum()) if weights.any() and np.isfinite(weights).all() else 0.0
    if effective < MIN_EFFECTIVE:
        raise DataError(
            expected=f"a condition that at least {MIN_EFFECTIVE:g} of {len(log_weights)} draws from the prior meet",
            got=f"one that {effective:.1f} of them meet, which is too rare under the model",
            cure="condition on fewer columns, or on more common values",
        )
    return weights


class _Proposals(NamedTuple):
    """Draws of z from the prior, and rows given them that have the chosen cells.

    Attributes:
        fitted: The fitted model.
        row: The chosen cells, NaN elsewhere.
        z: The draws, those of one member of an ensemble after those of another.
        per_member: How many each has.
        contexts: What is given of each draw of a member as numbers, if anything is.
    """

    fitted: FittedModel
    row: Float[np.ndarray, "1 d"]
    z: np.ndarray
    per_member: int
    contexts: np.ndarray | None

    def drawn(self, of_rows: Int[np.ndarray, " n"], keys: Array, size: int) -> Float[np.ndarray, "n d"]:
        """Rows given draws of z, by their indices."""
        observed = ~np.isnan(self.fitted.units.stored(self.row)[0])
        given = None if self.contexts is None else self.contexts[of_rows % self.per_member]

        def of_member(model: Model, rows: np.ndarray) -> np.ndarray:
            return np.concatenate([
                np.asarray(_given(
                    model, jnp.asarray(self.z[of_rows[rows[some]]]), keys[rows[some]], jnp.asarray(observed),
                    some_of(given, rows[some]),
                ))[:kept]
                for _, some, kept in batches(len(rows), size)
            ])  # fmt: skip

        pieces = by_member(self.fitted, of_rows // self.per_member, np.arange(len(of_rows)), of_member)
        return self.fitted.units.restored(pieces.astype(np.float64), np.tile(self.row, (len(of_rows), 1)))

    def solved(self, of_rows: Int[np.ndarray, " n"], keys: Array) -> Particles:
        """Rows given draws of z in which the relations of chosen children hold, with their weights."""
        given = np.tile(self.row, (len(of_rows), 1))
        contexts = None if self.contexts is None else self.contexts[of_rows % self.per_member]

        def of_member(model: Model, rows: np.ndarray) -> np.ndarray:
            found = particles(
                self.fitted, model, self.z[of_rows[rows]], keys[rows], given[rows],
                None if contexts is None else contexts[rows], gaps=True,
            )  # fmt: skip
            return np.concatenate([found.values, found.log_weights[:, None]], axis=1)

        both = by_member(self.fitted, of_rows // self.per_member, np.arange(len(of_rows)), of_member)
        return Particles(both[:, :-1], both[:, -1])

    def moved(
        self, start: Particles, of_rows: Int[np.ndarray, " n"], places: Int[np.ndarray, " n"], key: Array, size: int
    ) -> Float[np.ndarray, "n d"]:
        """Other rows with the same z: proposals are accepted with probability min(1, w' / w), Metropolis & Hastings.

        Resampling alone would give several rows that are the same; these moves keep p(row | z, chosen cells).
        """
        values, log_weights = start
        for move in range(MOVES):
            keys = keys_at(jax.random.fold_in(key, FOR_SOLVED + move), places, size)
            other = self.solved(of_rows, keys)
            uniform = np.asarray(jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, FOR_ACCEPT)))(keys))
            with np.errstate(divide="ignore"):
                accepted = np.log(uniform) < other.log_weights - log_weights
            values = np.where(accepted[:, None], other.values, values)
            log_weights = np.where(accepted, other.log_weights, log_weights)
        return values


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
