"""Rows in which some cells have chosen values: importance resampling of draws from the prior."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

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
ROUNDS = 16
"""So many times the proposals are drawn at most, while few meet the condition."""
ROUNDS_TO_SOLVE = 4
"""The same where a child of a relation is chosen, which takes longer."""
FOR_ROUNDS = 1 << 28
"""Folded into keys for the rounds after the first."""
ENOUGH = 100.0, 500.0
"""As many effective proposals as rows are enough, but not fewer than the first number nor more than the second."""
FEW_EFFECTIVE = 200.0
"""With fewer, and fewer than rows, these are said to be alike."""
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


class Where(NamedTuple):
    """Draws of rows that meet a condition.

    Attributes:
        draw: Draws rows by their indices, and the number of the attempt.
        used: Which of the conditions each row has; drawing changes that along with the latent variable.
        notes: A sentence for the user if the rows come from few draws of the latent variable.
    """

    draw: Callable[[np.ndarray, int], np.ndarray]
    used: np.ndarray
    notes: tuple[str, ...]


def drawn_where(
    fitted: FittedModel,
    num_samples: int,
    cells: Mapping[int, float],
    key: jax.Array,
    conditions: Conditions | None = None,
) -> Where:
    """Draws rows whose latent variable is resampled from the prior with the probability of the cells as weight.

    Raises:
        DataError: Too few draws from the prior meet the condition.
    """
    row = np.full((1, len(fitted.schema.columns or ())), np.nan)
    for column, value in cells.items():
        row[0, column] = value
    for_z, for_choice, for_x = jax.random.split(key, 3)
    proposals = _proposed_until_enough(fitted, num_samples, row, (for_z, for_x, key), conditions)
    weights, effective = _weights(proposals.log_weights)
    if effective < MIN_EFFECTIVE:
        raise DataError(
            expected=f"a condition that at least {MIN_EFFECTIVE:g} of {len(weights)} draws from the prior meet",
            got=f"one that {effective:.1f} of them meet, which is too rare under the model",
            cure="condition on fewer columns, or on more common values",
        )
    picked = jax.random.choice(for_choice, len(weights), (num_samples,), p=jnp.asarray(weights / weights.sum()))
    chosen = np.asarray(picked)
    size, used = batch_size(fitted), proposals.used[chosen % proposals.per_member]

    def draw(places: np.ndarray, attempt: int) -> np.ndarray:
        of_attempt = for_x if attempt == 0 else jax.random.fold_in(for_x, LARGEST_BATCH + attempt)
        # A z that does not lead to rows that meet the constraints is given up for another one.
        other = chosen[places if attempt <= SAME_LATENT else (places + attempt) % num_samples]
        used[places] = proposals.used[other % proposals.per_member]
        if proposals.rows is not None:
            start = Particles(proposals.rows[other], proposals.log_weights[other])
            return proposals.moved(start, other, places, of_attempt, size)
        return proposals.drawn(other, keys_at(of_attempt, places, size), size)

    return Where(draw, used, _notes(effective, len(weights), num_samples))


def _notes(effective: float, count: int, num_samples: int) -> tuple[str, ...]:
    if effective >= min(num_samples, FEW_EFFECTIVE):
        return ()
    return (
        f"an effective number of {effective:.0f} of {count:,} draws from the prior meet the condition: the "
        f"{num_samples:,} rows come from so few latent points, resemble each other and may repeat; "
        "for others, condition on fewer columns or on more common values",
    )


def _weights(log_weights: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " n"], float]:
    """Importance weights but for a factor, and the effective number of draws."""
    largest = float(np.max(log_weights))
    if not np.isfinite(largest):
        return np.zeros(len(log_weights)), 0.0
    weights = np.exp(np.asarray(log_weights, np.float64) - largest)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return weights, effective if np.isfinite(effective) else 0.0


def _proposed_until_enough(
    fitted: FittedModel,
    num_samples: int,
    row: Float[np.ndarray, "1 d"],
    keys: tuple[Array, Array, Array],
    conditions: Conditions | None,
) -> "_Proposals":
    """Draws from the prior: more of them while few meet the condition, unless hardly any do.

    Args:
        fitted: The fitted model.
        num_samples: The number of rows that are asked for.
        row: The chosen cells, NaN elsewhere.
        keys: Those for z, for rows, and for what is given.
        conditions: What is given of rows, if anything is.
    """
    extension = fitted.units.extension
    is_related = extension is not None and is_solved(extension, ~np.isnan(row[0]))
    usual, most = (PROPOSALS_TO_SOLVE, ROUNDS_TO_SOLVE) if is_related else (PROPOSALS, ROUNDS)
    count = -(-max(usual, 2 * num_samples) // LARGEST_BATCH)
    most = -(-most * usual // (count * LARGEST_BATCH))
    whole = None
    for number in range(most):
        # The keys of the first round do not depend on how many there are.
        of_round = tuple(jax.random.fold_in(key, FOR_ROUNDS + number) if number else key for key in keys)
        more = _Proposals.of(fitted, row, count, of_round, conditions, is_related=is_related)
        whole = more if whole is None else whole.joined(more)
        _, effective = _weights(whole.log_weights)
        if effective >= np.clip(num_samples, *ENOUGH) or effective * most < MIN_EFFECTIVE * (number + 1):
            break
    assert whole is not None
    return whole


class _Proposals(NamedTuple):
    """Draws of z from the prior, and rows given them that have the chosen cells.

    Attributes:
        fitted: The fitted model.
        row: The chosen cells, NaN elsewhere.
        z: The draws, those of one member of an ensemble after those of another.
        per_member: How many each has.
        contexts: What is given of each draw of a member as numbers, if anything is.
        used: Which of the conditions that is.
        log_weights: The log importance weights of all draws.
        rows: A row given each in which the relations of chosen children hold; None if there is none to solve.
    """

    fitted: FittedModel
    row: Float[np.ndarray, "1 d"]
    z: np.ndarray
    per_member: int
    contexts: np.ndarray | None
    used: np.ndarray
    log_weights: Float[np.ndarray, " n"]
    rows: Float[np.ndarray, "n d"] | None

    @classmethod
    def of(
        cls,
        fitted: FittedModel,
        row: Float[np.ndarray, "1 d"],
        count: int,
        keys: tuple[Array, ...],
        conditions: Conditions | None,
        *,
        is_related: bool,
    ) -> Self:
        """Some batches of draws; of an ensemble, of all members: those that make the cells more probable count more."""
        for_z, for_x, for_conditions = keys
        seen = jnp.asarray(fitted.units.stored(row)[0], jnp.float32)
        of_batches = jax.random.split(for_z, count)
        contexts, used = _contexts(conditions, count * LARGEST_BATCH, for_conditions)
        z, log_weights = map(np.concatenate, zip(*(
            tuple(map(np.asarray, _proposed(member.model, seen, of_batches, contexts))) for member in fitted.members
        ), strict=True))  # fmt: skip
        numbers = None if contexts is None else np.asarray(contexts).reshape(len(used), -1)
        made = cls(fitted, row, z, len(used), numbers, used, log_weights, None)
        if not is_related:
            return made
        whole = np.arange(len(z))
        solved = made.solved(whole, keys_at(jax.random.fold_in(for_x, FOR_SOLVED), whole, LARGEST_BATCH))
        return made._replace(log_weights=solved.log_weights, rows=solved.values)

    def joined(self, other: Self) -> Self:
        """These draws and others, those of each member together."""

        def both(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            size = len(self.fitted.members)
            pieces = [part.reshape(size, -1, *part.shape[1:]) for part in (first, second)]
            return np.concatenate(pieces, axis=1).reshape(-1, *first.shape[1:])

        return self._replace(
            z=both(self.z, other.z),
            per_member=self.per_member + other.per_member,
            contexts=_together(self.contexts, other.contexts),
            used=np.concatenate([self.used, other.used]),
            log_weights=both(self.log_weights, other.log_weights),
            rows=None if self.rows is None or other.rows is None else both(self.rows, other.rows),
        )

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
            keys = keys_at(jax.random.fold_in(key, FOR_SOLVED + 1 + move), places, size)
            other = self.solved(of_rows, keys)
            uniform = np.asarray(jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, FOR_ACCEPT)))(keys))
            with np.errstate(divide="ignore"):
                accepted = np.log(uniform) < other.log_weights - log_weights
            values = np.where(accepted[:, None], other.values, values)
            log_weights = np.where(accepted, other.log_weights, log_weights)
        return values


def _together(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second])


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
