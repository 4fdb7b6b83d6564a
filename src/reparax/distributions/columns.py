"""The distribution of one row of a table: a product over its columns, missing cells left out."""

from collections.abc import Callable
from typing import Self

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.nn import log_sigmoid
from jaxtyping import Array, Float, Int
from numpyro.distributions import constraints

from reparax.distributions._layout import MOST_STATES, Layout
from reparax.pytrees import soft_bound

LOG_SCALE_BOUNDS = (-6.0, 2.0)
LARGEST_LOGIT = 20.0

OfNumbers = Callable[[Array, Array, list[Array]], Array]


class Columns(dist.Distribution):
    """p(x) = prod_j p_j(x_j) over the observed cells of one row, in the units of the table; nats.

    A category-like column: P_j(c) = (1 - e_j) softmax(logits_j)_c and the small share e_j for categories unseen when
    fitted. A number: the probability of its atom where it is one, plus that of being none times the density
    sum_k w_k logistic(T(x); m_k, s_k) T'(x), T the column's monotone transform. Where numbers are rounded to a step d,
    the density is the probability of the cell (x - d/2, x + d/2) over d, as in Salimans et al. (2017), equation 2, so
    that its integral is one and a change of units changes it by the Jacobian alone. An atom's probability is divided
    by d likewise; without a step it is a probability, not a density.

    Args:
        logits: One number for each state of the layout's groups, shape ``(num_states,)``.
        mixture: Logits, locations and log-scales of the components, shape ``(3, components, numeric)``, in units of T.
        layout: The columns.
    """

    arg_constraints = {}
    pytree_data_fields = ("logits", "mixture", "layout")

    def __init__(
        self,
        logits: Float[Array, " states"],
        mixture: Float[Array, "3 k numeric"],
        layout: Layout,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.logits, self.mixture, self.layout = logits, mixture, layout
        super().__init__(event_shape=(layout.size,), validate_args=False)

    @classmethod
    def of_data(cls, layout: Layout) -> Self:
        """Each column by itself, distributed as in the data that the layout was made from."""
        return cls(jnp.zeros(layout.num_states), jnp.zeros((3, 1, len(layout.numeric))), layout)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    def log_prob(self, value: Float[Array, " d"]) -> Float[Array, ""]:
        """The log density of the observed cells."""
        return jnp.sum(self.log_prob_of_columns(value))

    def log_prob_of_columns(self, value: Float[Array, " d"]) -> Float[Array, " d"]:
        """The log density of each cell; 0 where it is missing."""
        return self._of_cells(value, self._log_density_of_numbers)

    def log_mass_near(self, value: Float[Array, " d"]) -> Float[Array, " d"]:
        """log P_j(near x_j) of each cell; 0 where it is missing.

        P_j(near x_j) is the probability of its category, or the mean of the probabilities of the numbers up to each of
        `Column.reaches` away. Unlike a density it is the same in every unit and does not tend to infinity at values
        that many rows share.
        """
        return self._of_cells(value, self._log_mass_of_numbers)

    def _of_cells(self, value: Float[Array, " d"], of_numbers: OfNumbers) -> Float[Array, " d"]:
        """The log-probability of each state, in place of which numbers have what a function gives; 0 where missing."""
        x = jnp.asarray(value, self.logits.dtype)
        observed = ~jnp.isnan(x)
        x = jnp.where(observed, x, 0.0)
        of_states = self._log_probabilities()
        total = self._discrete(x, of_states)
        if self.layout.numeric:
            numeric = jnp.asarray(self.layout.numeric)
            total = total.at[numeric].set(of_numbers(x, total[numeric], of_states))
        return jnp.where(observed, total, 0.0)

    def _log_mass_of_numbers(
        self, x: Float[Array, " d"], of_state: Float[Array, " m"], of_states: list[Float[Array, "c k"]]
    ) -> Float[Array, " m"]:
        """The log-probability of the numbers near each number: what the mixture gives them, and atoms."""
        numeric = jnp.asarray(self.layout.numeric)
        log_rest = self._log_rest(of_states)[numeric]

        def within(reach: Float[Array, " d"]) -> Float[Array, " m"]:
            half = reach[numeric].astype(x.dtype)
            log_mass = log_rest + self._log_mass(x[numeric] - half, x[numeric] + half)
            return jnp.logaddexp(log_mass, self._log_atoms_within(reach, x, of_states)[numeric])

        found = jax.vmap(within)(self.layout.reaches.T)
        return jax.nn.logsumexp(found, axis=0) - jnp.log(float(len(found)))

    def _log_atoms_within(
        self, reach: Float[Array, " d"], x: Float[Array, " d"], of_states: list[Float[Array, "c k"]]
    ) -> Float[Array, " d"]:
        """The log-probability of the atoms up to a reach away from a number; hardly any where there is none."""
        near = jnp.full(self.layout.size, 1e-30, self.logits.dtype)
        for group, log_probability in zip(self.layout.groups, of_states, strict=True):
            _, numbers = self._split(group.columns)
            if numbers:
                at, atoms, _ = self._atoms_of(numbers)
                shares = jnp.exp(log_probability[jnp.asarray([i for i, _ in numbers])])[:, : atoms.shape[1]]
                atoms = atoms[:, : shares.shape[1]]
                inside = jnp.abs(atoms - x[at][:, None]) <= reach[at][:, None] * (1 + 1e-5)
                near = near.at[at].add(jnp.sum(jnp.where(inside, shares, 0.0), axis=1))
        return jnp.log(near)

    def _log_mass(self, low: Float[Array, " m"], high: Float[Array, " m"]) -> Float[Array, " m"]:
        """The log-probability that the mixtures give to intervals."""
        log_weights, locations, log_scales = self._components()
        inverse = jnp.exp(-log_scales)
        lower = (self.layout.transformed(low)[0] - locations) * inverse
        upper = (self.layout.transformed(high)[0] - locations) * inverse
        width = jnp.log(-jnp.expm1(-jnp.maximum(upper - lower, 1e-9)))
        return jax.nn.logsumexp(log_weights + log_sigmoid(upper) + log_sigmoid(-lower) + width, axis=0)

    def _log_density_of_numbers(
        self, x: Float[Array, " d"], of_state: Float[Array, " m"], of_states: list[Float[Array, "c k"]]
    ) -> Float[Array, " m"]:
        """The log density of each number: its atom's share where it is one, and what the mixture gives it."""
        layout = self.layout
        numeric = jnp.asarray(layout.numeric)
        rounded = layout.step > 0
        log_step = jnp.log(jnp.where(rounded, layout.step, 1.0))
        mixture = self._log_rest(of_states)[numeric] + self._log_density(x[numeric])
        # A number drawn from the mixture may be rounded to an atom, but is never equal to one without rounding.
        atom = jnp.where(rounded, jnp.logaddexp(of_state - log_step, mixture), of_state)
        return jnp.where(layout.is_atom(x), atom, mixture)

    def _log_rest(self, of_states: list[Float[Array, "c k"]]) -> Float[Array, " d"]:
        """The log-probability of being no atom; 0 for columns without atoms."""
        rest = jnp.zeros(self.layout.size, self.logits.dtype)
        for group, log_probability in zip(self.layout.groups, of_states, strict=True):
            _, numbers = self._split(group.columns)
            if numbers:
                at, _, count = self._atoms_of(numbers)
                rows = log_probability[jnp.asarray([i for i, _ in numbers])]
                rest = rest.at[at].set(jnp.take_along_axis(rows, count[:, None], axis=1)[:, 0])
        return rest

    def _discrete(self, x: Float[Array, " d"], of_states: list[Float[Array, "c k"]]) -> Float[Array, " d"]:
        """The log-probability of each cell's state, of its category within the state, and of unseen categories."""
        layout = self.layout
        state = layout.state(x)
        total = jnp.zeros(layout.size, self.logits.dtype)
        for group, log_probability in zip(layout.groups, of_states, strict=True):
            columns = jnp.asarray(group.columns)
            found = jnp.take_along_axis(log_probability, state[columns][:, None], axis=1)[:, 0]
            total = total.at[columns].set(found)
        category = layout.num_categories > 0
        code = x.astype(jnp.int32)
        unseen = code >= layout.num_categories
        if layout.shared:
            shared = jnp.asarray(layout.shared)
            place = jnp.clip(code[shared], 0, layout.log_within.shape[1] - 1)
            within = jnp.take_along_axis(layout.log_within, place[:, None], axis=1)[:, 0]
            total = total.at[shared].add(within)
        seen = total + jnp.log1p(-jnp.exp(jnp.where(category, layout.log_unseen, -1.0)))
        return jnp.where(category, jnp.where(unseen, layout.log_unseen, seen), total)

    def _log_probabilities(self) -> list[Float[Array, "c k"]]:
        """The log-probabilities of the states, group by group."""
        found, start = [], 0
        for group, exists, log_shares in zip(
            self.layout.groups, self.layout.states, self.layout.log_shares, strict=True
        ):
            size = len(group.columns) * group.size
            logits = self.logits[start : start + size].reshape(len(group.columns), group.size)
            start += size
            bounded = LARGEST_LOGIT * jnp.tanh(logits / LARGEST_LOGIT) + log_shares
            found.append(jax.nn.log_softmax(jnp.where(exists, bounded, -1e9), axis=-1))
        return found

    def _components(self) -> tuple[Float[Array, "k m"], Float[Array, "k m"], Float[Array, "k m"]]:
        """Log-weights, locations and log-scales."""
        weights, locations, log_scales = self.mixture
        count = weights.shape[0]
        spread = jnp.linspace(-1.0, 1.0, count)[:, None] if count > 1 else jnp.zeros((1, 1))
        return jax.nn.log_softmax(weights, axis=0), locations + spread, soft_bound(log_scales, *LOG_SCALE_BOUNDS)

    def _log_density(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """The log density of the mixtures; of rounded numbers that of the cell around them, over its width."""
        layout = self.layout
        log_weights, locations, log_scales = self._components()
        rounded = layout.step > 0
        below, slope = layout.transformed(x - layout.step / 2)
        above, _ = layout.transformed(x + layout.step / 2)
        inverse = jnp.exp(-log_scales)
        lower, upper = (below - locations) * inverse, (above - locations) * inverse
        width = jnp.where(rounded, jnp.maximum(above - below, 1e-6), 1.0) * inverse
        cell = jnp.log(-jnp.expm1(-width)) - jnp.log(jnp.where(rounded, layout.step, 1.0))
        point = jnp.log(slope) - log_scales
        terms = log_weights + log_sigmoid(upper) + log_sigmoid(-lower) + jnp.where(rounded, cell, point)
        return jax.nn.logsumexp(terms, axis=0)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        """Rows without missing cells: categories and atoms drawn, numbers rounded and kept within the range seen."""
        size = 1
        for extent in sample_shape:
            size *= extent
        rows = jax.vmap(self._row)(jax.random.split(key, size))
        return rows.reshape(*sample_shape, self.layout.size)

    def _row(self, key: jax.Array) -> Float[Array, " d"]:
        layout = self.layout
        for_state, for_component, for_place, for_rare = jax.random.split(key, 4)
        row = jnp.zeros(layout.size, self.logits.dtype)
        if layout.numeric:
            log_weights, locations, log_scales = self._components()
            which = jax.random.categorical(for_component, log_weights, axis=0)[None]
            location, log_scale = (jnp.take_along_axis(a, which, axis=0)[0] for a in (locations, log_scales))
            noise = jax.random.logistic(for_place, location.shape, location.dtype)
            number = layout.restored(location + jnp.exp(log_scale) * noise)
            row = row.at[jnp.asarray(layout.numeric)].set(self._rounded(number))
        keys = jax.random.split(for_state, max(1, len(layout.groups)))
        for group, log_probability, own in zip(layout.groups, self._log_probabilities(), keys, strict=False):
            state = jax.random.categorical(own, log_probability, axis=-1)
            row = self._with_states(row, group.columns, state)
        return self._with_rare(row, for_rare)

    def _rounded(self, number: Float[Array, "*s m"]) -> Float[Array, "*s m"]:
        step = jnp.where(self.layout.step > 0, self.layout.step, 1.0)
        # Whole steps from the least value, which is itself a whole multiple: shifted units stay exact.
        whole = self.layout.low + jnp.round((number - self.layout.low) / step) * step
        number = jnp.where(self.layout.step > 0, whole, number)
        return jnp.clip(number, self.layout.low, self.layout.high)

    def _with_states(
        self, row: Float[Array, " d"], columns: tuple[int, ...], state: Int[Array, " c"]
    ) -> Float[Array, " d"]:
        """A row with the values of drawn states: codes, or atoms where the state is one."""
        codes, numbers = self._split(columns)
        if codes:
            drawn = state[jnp.asarray([i for i, _ in codes])].astype(row.dtype)
            row = row.at[jnp.asarray([column for _, column in codes])].set(drawn)
        if numbers:
            at, atoms, count = self._atoms_of(numbers)
            chosen = state[jnp.asarray([i for i, _ in numbers])]
            value = jnp.take_along_axis(atoms, jnp.minimum(chosen, atoms.shape[1] - 1)[:, None], axis=1)[:, 0]
            row = row.at[at].set(jnp.where(chosen >= count, row[at], value))
        return row

    def _with_rare(self, row: Float[Array, " d"], key: jax.Array) -> Float[Array, " d"]:
        """A row whose shared states are drawn out into the categories that share them."""
        if not self.layout.shared:
            return row
        columns = jnp.asarray(self.layout.shared)
        first = MOST_STATES - 1
        cumulative = jnp.cumsum(jnp.exp(self.layout.log_within[:, first:]), axis=1)
        uniform = jax.random.uniform(key, (self.layout.size,))[columns]
        drawn = first + jax.vmap(jnp.searchsorted)(cumulative, uniform)
        drawn = jnp.minimum(drawn, self.layout.num_categories[columns] - 1)
        return row.at[columns].set(jnp.where(row[columns] == first, drawn.astype(row.dtype), row[columns]))

    @property
    def mean(self) -> Float[Array, " d"]:
        """The expected number of a numeric column; the most probable category of a category-like one."""
        row = jnp.zeros(self.layout.size, self.logits.dtype)
        if self.layout.numeric:
            row = row.at[jnp.asarray(self.layout.numeric)].set(self._expected_numbers())
        shares = self.state_probabilities()
        for group, of_states in zip(self.layout.groups, shares, strict=True):
            _, numbers = self._split(group.columns)
            if numbers:
                row = self._with_expected_atoms(row, numbers, of_states)
        return self.with_most_probable(row, shares)

    def state_probabilities(self) -> list[Float[Array, "c k"]]:
        """The probability of each state, group by group of the layout."""
        return [jnp.exp(log_probability) for log_probability in self._log_probabilities()]

    def with_most_probable(self, row: Float[Array, " d"], shares: list[Float[Array, "c k"]]) -> Float[Array, " d"]:
        """A row whose category-like cells are the most probable categories under given probabilities of states."""
        for group, of_states in zip(self.layout.groups, shares, strict=True):
            codes, _ = self._split(group.columns)
            if codes:
                found = jnp.argmax(of_states[jnp.asarray([i for i, _ in codes])], axis=1)
                row = row.at[jnp.asarray([column for _, column in codes])].set(found.astype(row.dtype))
        return row

    def _expected_numbers(self) -> Float[Array, " m"]:
        """The means of the mixtures, in the units of the table."""
        log_weights, locations, log_scales = self._components()
        means = self.layout.expected(locations, jnp.exp(log_scales))
        return jnp.clip(jnp.sum(jnp.exp(log_weights) * means, axis=0), self.layout.low, self.layout.high)

    def _with_expected_atoms(
        self, row: Float[Array, " d"], numbers: list[tuple[int, int]], shares: Float[Array, "c k"]
    ) -> Float[Array, " d"]:
        at, atoms, count = self._atoms_of(numbers)
        shares = shares[jnp.asarray([i for i, _ in numbers])]
        padded = jnp.pad(atoms, ((0, 0), (0, shares.shape[1])))[:, : shares.shape[1]]
        is_atom = jnp.arange(shares.shape[1])[None] < count[:, None]
        of_atoms = jnp.sum(jnp.where(is_atom, shares * jnp.nan_to_num(padded), 0.0), axis=1)
        rest = jnp.take_along_axis(shares, count[:, None], axis=1)[:, 0]
        return row.at[at].set(of_atoms + rest * row[at])

    def _split(self, columns: tuple[int, ...]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """A group's category-like columns and its numeric ones: places in the group and in the table."""
        mixed = frozenset(self.layout.mixed)
        codes = [(i, column) for i, column in enumerate(columns) if column not in mixed]
        return codes, [(i, column) for i, column in enumerate(columns) if column in mixed]

    def _atoms_of(self, numbers: list[tuple[int, int]]) -> tuple[Array, Array, Array]:
        """Where numeric columns with atoms are, their atoms, and how many these are."""
        place = {column: index for index, column in enumerate(self.layout.mixed)}
        atoms = self.layout.atoms[jnp.asarray([place[column] for _, column in numbers])]
        return jnp.asarray([column for _, column in numbers]), atoms, jnp.sum(~jnp.isnan(atoms), axis=1)
