"""Groups of columns with discrete states, categories or spikes: those of similar numbers of states side by side."""

from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from reparax.summary import Column

MOST_STATES = 256
"""Categories with a separate probability; rarer ones share the last one, in proportion to their frequencies."""
NUM_HATS = 8
NUM_SMOOTH = NUM_HATS + 3
"""Smooth functions that shift the probabilities of one column's spikes; one with fewer states has one for each."""
FEWEST_ROWS = 20
"""From this many rows on, a spike that stands alone has a separate function, as others say little about it."""
ALONE = 5
"""A spike stands alone if it is more than this many times as far from others as the nearest two are."""
LARGEST_SHIFT = 20.0
ABSENT = -1e9
"""The log-probability of a state that only pads the array."""


class CategoryGroup(eqx.Module):
    """Columns of categories: one state for each category; beyond `MOST_STATES` the rarer ones share the last state.

    Attributes:
        columns: Which columns of the table.
        shared: Which of them have rarer categories that share a state.
        log_fractions: The log of the fraction of rows in each state.
        log_within: For each column in ``shared``, the log-probability of a category given its state: 0 for a category
            with a separate state, minus infinity for padding.
        log_unseen: The log-probability of a category that occurred in no row.
        num_categories: The number of categories of each column.
    """

    columns: tuple[int, ...] = eqx.field(static=True)
    shared: tuple[int, ...] = eqx.field(static=True)
    log_fractions: Float[Array, "c k"]
    log_within: Float[Array, "s n"]
    log_unseen: Float[Array, " c"]
    num_categories: Int[Array, " c"]

    @classmethod
    def of(cls, places: tuple[int, ...], columns: Sequence[Column], num_examples: int) -> Self:
        """The states of columns, from what is known of them."""
        columns = [columns[place] for place in places]
        shared = tuple(i for i, column in enumerate(columns) if len(column.categories) > MOST_STATES)
        most = max((len(columns[i].categories) for i in shared), default=0)
        within = np.full((len(shared), most), -np.inf)
        for row, i in enumerate(shared):
            within[row, : len(columns[i].categories)] = _log_within(columns[i], num_examples)
        return cls(
            columns=places,
            shared=shared,
            log_fractions=single(_log_fractions([_category_fractions(column) for column in columns], num_examples)),
            log_within=single(within),
            log_unseen=single([_log_unseen(column, num_examples) for column in columns]),
            num_categories=jnp.asarray([len(column.categories) for column in columns], jnp.int32),
        )

    @property
    def size(self) -> int:
        """The number of states, padding included."""
        return self.log_fractions.shape[1]

    @property
    def num_parameters(self) -> int:
        """How many outputs of a network determine the probabilities."""
        return self.log_fractions.size

    def log_probabilities(self, parameters: Float[Array, " p"]) -> Float[Array, "c k"]:
        """The log-probability of each state."""
        return _log_softmax(parameters.reshape(self.log_fractions.shape), self.log_fractions)

    def state(self, x: Float[Array, " c"]) -> Int[Array, " c"]:
        """The state of each cell; an arbitrary one for an unseen category."""
        last = jnp.clip(self.num_categories, 1, MOST_STATES) - 1
        return jnp.clip(x.astype(jnp.int32), 0, last)

    def is_unseen(self, x: Float[Array, " c"]) -> Array:
        """Which cells have a category that occurred in no row."""
        return x >= self.num_categories.astype(x.dtype)

    def log_prob(self, log_probabilities: Float[Array, "c k"], x: Float[Array, " c"]) -> Float[Array, " c"]:
        """The log-probability of each cell: of its state, of its category within it, and of unseen categories."""
        result = pick(log_probabilities, self.state(x))
        if self.shared:
            at = jnp.asarray(self.shared)
            place = jnp.clip(x.astype(jnp.int32)[at], 0, self.log_within.shape[1] - 1)
            result = result.at[at].add(pick(self.log_within, place))
        seen = result + jnp.log1p(-jnp.exp(self.log_unseen))
        return jnp.where(self.is_unseen(x), self.log_unseen, seen)

    def sample(self, log_probabilities: Float[Array, "c k"], key: jax.Array) -> Float[Array, " c"]:
        """Random codes; a state that categories share is resolved to one of them."""
        for_state, for_rare = jax.random.split(key)
        codes = jax.random.categorical(for_state, log_probabilities, axis=-1)
        if self.shared:
            at, first = jnp.asarray(self.shared), MOST_STATES - 1
            cumulative = jnp.cumsum(jnp.exp(self.log_within[:, first:]), axis=1)
            drawn = first + jax.vmap(jnp.searchsorted)(cumulative, jax.random.uniform(for_rare, at.shape))
            drawn = jnp.minimum(drawn, self.num_categories[at] - 1)
            codes = codes.at[at].set(jnp.where(codes[at] == first, drawn, codes[at]))
        return codes.astype(log_probabilities.dtype)


class SpikeGroup(eqx.Module):
    """Numeric columns with values that many rows share: one state for each such spike, and a last one for the rest.

    P(k | z) is proportional to f_k exp(sum_b c_b phi_b(k)), with the fraction f_k of rows in each state as the carrier.
    The functions phi depend on the rank of the spike, smoothly where there are many spikes, so that what is learned
    about one spike holds for its neighbors: Efron & Tibshirani (1996), "Using specially designed exponential families
    for density estimation". Spikes that stand alone, as among amounts of money of which only certain ones occur, have
    separate functions besides.

    Attributes:
        columns: Which columns of the table.
        values: The spikes, padded with NaN.
        count: The number of spikes, which is also the state of all other numbers.
        log_fractions: The log of the fraction of rows in each state.
        functions: phi_b(k).
    """

    columns: tuple[int, ...] = eqx.field(static=True)
    values: Float[Array, "c k"]
    count: Int[Array, " c"]
    log_fractions: Float[Array, "c k"]
    functions: Float[Array, "c b k"]

    @classmethod
    def of(cls, places: tuple[int, ...], columns: Sequence[Column], num_examples: int) -> Self:
        """The states of columns, from what is known of them."""
        fractions = [_spike_fractions(columns[place]) for place in places]
        log_fractions = _log_fractions(fractions, num_examples)
        size = log_fractions.shape[1]
        values = np.full((len(places), size), np.nan)
        bases = [_functions(columns[place], num_examples) for place in places]
        functions = np.zeros((len(places), max(map(len, bases)), size))
        for row, (place, basis) in enumerate(zip(places, bases, strict=True)):
            spikes = columns[place].spikes
            values[row, : len(spikes)] = spikes
            functions[row, : len(basis), : basis.shape[1]] = basis
        count = jnp.asarray([len(columns[place].spikes) for place in places], jnp.int32)
        return cls(places, single(values), count, single(log_fractions), single(functions))

    @property
    def size(self) -> int:
        """The number of states, padding included."""
        return self.values.shape[1]

    @property
    def num_parameters(self) -> int:
        """How many outputs of a network determine the probabilities."""
        return len(self.columns) * self.functions.shape[1]

    def log_probabilities(self, parameters: Float[Array, " p"]) -> Float[Array, "c k"]:
        """The log-probability of each state."""
        coefficients = parameters.reshape(len(self.columns), -1)
        return _log_softmax(jnp.einsum("cb,cbk->ck", coefficients, self.functions), self.log_fractions)

    def state(self, x: Float[Array, " c"]) -> Int[Array, " c"]:
        """The state of each number."""
        same = x[:, None] == self.values
        return jnp.where(same.any(axis=1), jnp.argmax(same, axis=1), self.count)

    def log_prob(self, log_probabilities: Float[Array, "c k"], x: Float[Array, " c"]) -> Float[Array, " c"]:
        """The log-probability of each number's state."""
        return pick(log_probabilities, self.state(x))

    def log_rest(self, log_probabilities: Float[Array, "c k"]) -> Float[Array, " c"]:
        """The log-probability of being no spike."""
        return pick(log_probabilities, self.count)

    def within(
        self, log_probabilities: Float[Array, "c k"], x: Float[Array, " c"], radius: Float[Array, " c"]
    ) -> Float[Array, " c"]:
        """The probability of the spikes within a radius of a number."""
        inside = jnp.abs(self.values - x[:, None]) <= radius[:, None] * (1 + 1e-5)
        return jnp.sum(jnp.where(inside, jnp.exp(log_probabilities), 0.0), axis=1)

    def mean(self, log_probabilities: Float[Array, "c k"], others: Float[Array, " c"]) -> Float[Array, " c"]:
        """The expected numbers, given the expectation of those that are not spikes."""
        spikes = jnp.where(jnp.isnan(self.values), 0.0, self.values)
        return jnp.sum(jnp.exp(log_probabilities) * spikes, axis=1) + jnp.exp(self.log_rest(log_probabilities)) * others

    def sample(
        self, log_probabilities: Float[Array, "c k"], others: Float[Array, " c"], key: jax.Array
    ) -> Float[Array, " c"]:
        """Random numbers: a spike, or the given other number."""
        state = jax.random.categorical(key, log_probabilities, axis=-1)
        return jnp.where(state == self.count, others, pick(self.values, state))


def one_hot(group: CategoryGroup | SpikeGroup, x: Float[Array, " c"], absent: Bool[Array, " c"]) -> Float[Array, " f"]:
    """The state of each cell as a one-hot vector, zeros for absent cells."""
    states = jax.nn.one_hot(group.state(x), group.size, dtype=x.dtype)
    return jnp.ravel(jnp.where(absent[:, None], 0.0, states))


def grouped(counts: dict[int, int]) -> list[tuple[int, ...]]:
    """Columns grouped by the power of two that holds their number of states."""
    sizes: dict[int, list[int]] = {}
    for place, count in counts.items():
        sizes.setdefault((count - 1).bit_length(), []).append(place)
    return [tuple(places) for _, places in sorted(sizes.items())]


def single(values: object) -> Array:
    """An array of float32."""
    return jnp.asarray(np.asarray(values, np.float32))


def pick(table: Float[Array, "m p"], index: Int[Array, " m"]) -> Float[Array, " m"]:
    """One entry of each row, as a sum: a gather, and the scatter that is its derivative, take longer to compile."""
    is_it = jnp.arange(table.shape[1])[None] == index[:, None]
    return jnp.sum(jnp.where(is_it, table, 0.0), axis=1)


def _log_softmax(shift: Float[Array, "c k"], log_fractions: Float[Array, "c k"]) -> Float[Array, "c k"]:
    # Bounded logits need not be shifted before the exponential: it neither overflows nor is zero for all states.
    logits = LARGEST_SHIFT * jnp.tanh(shift / LARGEST_SHIFT) + log_fractions
    return logits - jnp.log(jnp.sum(jnp.exp(logits), axis=-1, keepdims=True))


def _log_fractions(fractions: Sequence[np.ndarray], num_examples: int) -> Float[np.ndarray, "c k"]:
    """The log of smoothed fractions, padded with `ABSENT`."""
    table = np.full((len(fractions), max(map(len, fractions))), ABSENT)
    for row, of_column in enumerate(fractions):
        smoothed = (of_column * num_examples + 0.5) / (num_examples + 0.5 * len(of_column))
        table[row, : len(of_column)] = np.log(smoothed)
    return table


def _category_fractions(column: Column) -> np.ndarray:
    fractions = np.asarray(column.category_fractions)
    if len(fractions) <= MOST_STATES:
        return fractions if len(fractions) else np.ones(1)
    return np.append(fractions[: MOST_STATES - 1], fractions[MOST_STATES - 1 :].sum())


def _spike_fractions(column: Column) -> np.ndarray:
    fractions = np.asarray(column.spike_fractions)
    return np.append(fractions, max(0.0, 1.0 - fractions.sum()))


def _functions(column: Column, num_examples: int) -> np.ndarray:
    """Functions of a column's states: an indicator for each; or, for many spikes, functions of the rank.

    These are the logistic score of the spike's rank, its square, hats at even steps of the rank, and one function for
    the numbers that are not spikes; then an indicator for each spike that stands alone.
    """
    count = len(column.spikes)
    if count < NUM_SMOOTH:
        return np.eye(count + 1)
    counts = np.asarray(column.spike_fractions) * num_examples + 0.5
    rank = (np.cumsum(counts) - counts / 2) / counts.sum()
    score = np.log(rank / (1 - rank)) * np.sqrt(3.0) / np.pi
    middles = np.linspace(0.0, 1.0, NUM_HATS)[:, None]
    hats = np.maximum(0.0, 1.0 - np.abs(rank - middles) * (NUM_HATS - 1))
    alone = np.eye(count)[_stands_alone(column) & (counts * (1 - column.missing) >= FEWEST_ROWS)]
    of_spikes = np.concatenate([score[None], (score[None] ** 2 - 1) / np.sqrt(2.0), hats])
    smooth = np.block([[of_spikes, np.zeros((len(of_spikes), 1))], [np.zeros((1, count)), np.ones((1, 1))]])
    return np.concatenate([smooth, np.pad(alone, ((0, 0), (0, 1)))])


def _stands_alone(column: Column) -> np.ndarray:
    """Which spikes are far from all others; none in a column whose spikes are spread evenly."""
    gaps = np.diff(np.asarray(column.spikes))
    nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    return nearest > ALONE * gaps.min() * (1 + 1e-6)


def _log_within(column: Column, num_examples: int) -> np.ndarray:
    """The log-probability of each category given its state: 0 except for those that share one."""
    rare = np.asarray(column.category_fractions[MOST_STATES - 1 :]) * num_examples + 0.5
    return np.append(np.zeros(MOST_STATES - 1), np.log(rare / rare.sum()))


def _log_unseen(column: Column, num_examples: int) -> float:
    """Good and Turing: unseen categories together have the probability of those seen once."""
    once = sum(1 for share in column.category_fractions if round(share * num_examples * (1 - column.missing)) <= 1)
    return float(np.log((once + 0.5) / (num_examples + 1 + once)))
