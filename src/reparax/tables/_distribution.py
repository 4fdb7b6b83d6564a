"""The distribution of one row of a table: a product over its columns, missing cells left out."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.pytrees import soft_bound
from reparax.tables._layout import CellValues, Layout, Neighborhood

LOG_SCALE_BOUNDS = (-6.0, 2.0)

Numbers = TypeVar("Numbers", Array, list[Array])
"""Something for each numeric column, once or for each reach."""


class StateLogProbs(NamedTuple):
    """Log-probabilities of discrete states.

    Attributes:
        categories: Of each group of category-like columns, one array of shape (columns, states).
        spikes: Of each group of numeric columns with spikes, likewise.
    """

    categories: list[Float[Array, "c k"]]
    spikes: list[Float[Array, "c k"]]


class RowDistribution(dist.Distribution):
    """p(x) = prod_j p_j(x_j) over the observed cells of one row, in the units of the table; nats.

    A category-like column: P_j(c) = (1 - e_j) softmax(logits_j)_c and the small share e_j for categories unseen when
    fitted. A number: the probability of its spike where it is one, plus that of being none times the density
    logistic(T(x); m, s) T'(x), T the column's monotone transform. Where numbers are rounded to a step d, the density is
    the probability of the cell (x - d/2, x + d/2) over d, as in Salimans et al. (2017), equation 2, so that its
    integral is one and a change of units changes it by the Jacobian alone. A spike's probability is divided by d
    likewise; without a step it is a probability, not a density.

    Args:
        parameters: What the probabilities of the states follow from, group by group of the layout; then m of each
            numeric column, then its log s before a soft bound, in units of T. Zeros give each column by itself,
            distributed as in the data that the layout was made from.
        layout: The columns.
    """

    arg_constraints = {}
    pytree_data_fields = ("parameters", "layout")

    def __init__(self, parameters: Float[Array, " p"], layout: Layout, *, validate_args: bool | None = None) -> None:
        self.parameters, self.layout = parameters, layout
        super().__init__(event_shape=(layout.size,), validate_args=False)

    @classmethod
    def of_data(cls, layout: Layout) -> Self:
        """Each column by itself, distributed as in the data that the layout was made from."""
        return cls(jnp.zeros(layout.num_parameters), layout)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    def log_prob(self, value: Float[Array, " d"]) -> Float[Array, ""]:
        """The log density of the observed cells."""
        codes, numbers = self._cells(value, self._log_density)
        return sum(map(jnp.sum, codes), jnp.sum(numbers))

    def log_prob_of_columns(self, value: Float[Array, " d"]) -> Float[Array, " d"]:
        """The log density of each cell; 0 where it is missing."""
        return self.layout.joined(*self._cells(value, self._log_density))

    def log_prob_near(self, near: Neighborhood) -> CellValues:
        """log P_j(near x_j) of each cell, for numbers once for each reach; 0 where it is missing.

        P_j(near x_j) is the probability of its category, or of the numbers up to a reach away. Unlike a
        density it is the same in every unit and does not tend to infinity at values that many rows share.

        Args:
            near: What is near each cell of a row, `Layout.neighborhood`.
        """
        return CellValues(*self._cells(near.row, partial(self._log_prob_near_numbers, near)))

    def _cells(
        self, value: Float[Array, " d"], of_numbers: Callable[[Array, StateLogProbs], Numbers]
    ) -> tuple[list[Float[Array, " c"]], Numbers]:
        """The log-probabilities of categories, and of numbers what a function gives; 0 where they are missing."""
        x = jnp.asarray(value, self.parameters.dtype)
        states = self._states()
        codes, numbers = self.layout.split(jnp.where(jnp.isnan(x), 0.0, x))
        missing_codes, missing = self.layout.split(jnp.isnan(x))
        cells = zip(self.layout.categories, states.categories, codes, missing_codes, strict=True)
        result = [jnp.where(empty, 0.0, group.log_prob(log_probs, code)) for group, log_probs, code, empty in cells]
        return result, jax.tree.map(lambda value: jnp.where(missing, 0.0, value), of_numbers(numbers, states))

    def _states(self) -> StateLogProbs:
        """The log-probabilities of all discrete states."""
        groups = self.layout.groups
        *pieces, _ = jnp.split(self.parameters, np.cumsum([group.num_parameters for group in groups], dtype=int))
        result = [group.log_probabilities(piece) for group, piece in zip(groups, pieces, strict=True)]
        return StateLogProbs(result[: len(self.layout.categories)], result[len(self.layout.categories) :])

    def _logistic(self) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
        """Location and log-scale of each numeric column, in units of T."""
        count = self.layout.num_numeric
        location, log_scale = self.parameters[self.parameters.size - 2 * count :].reshape(2, count)
        # A logistic that no number trains would be arbitrary: it stays that of the column's mean and deviation.
        location, log_scale = (jnp.where(self.layout.all_spikes, 0.0, value) for value in (location, log_scale))
        return location, soft_bound(log_scale, *LOG_SCALE_BOUNDS)

    def _log_rest(self, states: StateLogProbs) -> Float[Array, " m"]:
        """The log-probability of being no spike; 0 for columns without spikes."""
        rest = [group.log_rest(log_probs) for group, log_probs in zip(self.layout.spikes, states.spikes, strict=True)]
        return self.layout.beside_plain(rest, jnp.zeros(self.layout.num_numeric, self.parameters.dtype))

    def _log_density(self, x: Float[Array, " m"], states: StateLogProbs) -> Float[Array, " m"]:
        """The log density of each number: its spike's share where it is one, and what the logistic gives it."""
        layout = self.layout
        smooth = self._log_rest(states) + self._log_smooth_density(x)
        if not layout.spikes:
            return smooth
        cells = zip(layout.spikes, states.spikes, layout.of_spikes(x), strict=True)
        of_state = layout.beside_plain([group.log_prob(log_probs, cell) for group, log_probs, cell in cells], smooth)
        rounded = layout.step > 0
        log_step = jnp.log(jnp.where(rounded, layout.step, 1.0))
        # A number drawn from the logistic may be rounded to a spike, but is never equal to one without rounding.
        spike = jnp.where(rounded, jnp.logaddexp(of_state - log_step, smooth), of_state)
        return jnp.where(layout.is_spike(x), spike, smooth)

    def _log_smooth_density(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """The log density of the logistics; of rounded numbers that of the cell around them, over its width."""
        layout = self.layout
        location, log_scale = self._logistic()
        if not layout.rounded:
            place = (layout.transformed(x) - location) * jnp.exp(-log_scale)
            return _log_between(place, place, layout.slope(x)) - log_scale
        rounded = layout.step > 0
        below, above = layout.transformed(x - layout.step / 2), layout.transformed(x + layout.step / 2)
        inverse = jnp.exp(-log_scale)
        lower, upper = (below - location) * inverse, (above - location) * inverse
        width = jnp.where(rounded, jnp.maximum(above - below, 1e-6), 1.0) * inverse
        share = jnp.where(rounded, -jnp.expm1(-width), layout.slope(x))
        unit = jnp.where(rounded, jnp.log(jnp.where(rounded, layout.step, 1.0)), log_scale)
        return _log_between(lower, upper, share) - unit

    def _log_prob_near_numbers(
        self, near: Neighborhood, x: Float[Array, " m"], states: StateLogProbs
    ) -> list[Float[Array, " m"]]:
        """The log-probability of the numbers up to each reach away: what the logistic gives them, and spikes."""
        location, log_scale = self._logistic()
        inverse, log_rest = jnp.exp(-log_scale), self._log_rest(states)
        ends = zip((near.lower - location) * inverse, (near.upper - location) * inverse, strict=True)
        smooth = [log_rest + _log_logistic_mass(lower, upper) for lower, upper in ends]
        if not self.layout.spikes:
            return smooth
        spikes = [self._near_spikes(x, reach, states) for reach in near.reaches]
        return [jnp.logaddexp(log_mass, jnp.log(mass + 1e-30)) for log_mass, mass in zip(smooth, spikes, strict=True)]

    def _near_spikes(
        self, x: Float[Array, " m"], reach: Float[Array, " m"], states: StateLogProbs
    ) -> Float[Array, " m"]:
        """The probability of the spikes up to a reach away."""
        layout = self.layout
        cells = zip(layout.spikes, states.spikes, layout.of_spikes(x), layout.of_spikes(reach), strict=True)
        near = [group.within(log_probs, cell, far) for group, log_probs, cell, far in cells]
        return layout.beside_plain(near, jnp.zeros_like(x))

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        """Rows without missing cells: categories and spikes drawn, numbers rounded and kept within the range seen."""
        size = 1
        for extent in sample_shape:
            size *= extent
        rows = jax.vmap(self._row)(jax.random.split(key, size))
        return rows.reshape(*sample_shape, self.layout.size)

    def _row(self, key: jax.Array) -> Float[Array, " d"]:
        layout, states = self.layout, self._states()
        for_codes, for_spikes, for_place = jax.random.split(key, 3)
        location, log_scale = self._logistic()
        noise = jax.random.logistic(for_place, location.shape, location.dtype)
        numbers = self._rounded(layout.restored(location + jnp.exp(log_scale) * noise))
        keys = jax.random.split(for_codes, len(layout.categories))
        codes = [
            group.sample(log_probs, each)
            for group, log_probs, each in zip(layout.categories, states.categories, keys, strict=True)
        ]
        keys = jax.random.split(for_spikes, len(layout.spikes))
        cells = zip(layout.spikes, states.spikes, layout.of_spikes(numbers), keys, strict=True)
        spikes = [group.sample(log_probs, others, each) for group, log_probs, others, each in cells]
        return layout.joined(codes, layout.beside_plain(spikes, numbers))

    def _rounded(self, number: Float[Array, "*s m"]) -> Float[Array, "*s m"]:
        step = jnp.where(self.layout.step > 0, self.layout.step, 1.0)
        # Whole steps from the least value, which is itself a whole multiple: shifted units stay exact.
        rounded = self.layout.low + jnp.round((number - self.layout.low) / step) * step
        number = jnp.where(self.layout.step > 0, rounded, number)
        return jnp.clip(number, self.layout.low, self.layout.high)

    @property
    def mean(self) -> Float[Array, " d"]:
        """The expected number of a numeric column; the most probable category of a category-like one."""
        return self.with_most_probable(self.expected_numbers(), self.category_probabilities())

    def expected_numbers(self) -> Float[Array, " m"]:
        """The expected number of each numeric column, in the order of the layout."""
        layout, states = self.layout, self._states()
        location, log_scale = self._logistic()
        smooth = jnp.clip(layout.expected(location, jnp.exp(log_scale)), layout.low, layout.high)
        cells = zip(layout.spikes, states.spikes, layout.of_spikes(smooth), strict=True)
        return layout.beside_plain([group.mean(log_probs, others) for group, log_probs, others in cells], smooth)

    def category_probabilities(self) -> list[Float[Array, "c k"]]:
        """The probability of each state of the category-like columns, group by group of the layout."""
        return [jnp.exp(log_probs) for log_probs in self._states().categories]

    def with_most_probable(
        self, numbers: Float[Array, " m"], probabilities: list[Float[Array, "c k"]]
    ) -> Float[Array, " d"]:
        """A row of given numbers, and of the most probable categories under given probabilities of their states."""
        codes = [jnp.argmax(probs, axis=1).astype(numbers.dtype) for probs in probabilities]
        return self.layout.joined(codes, numbers)


def _log_logistic_mass(lower: Float[Array, " m"], upper: Float[Array, " m"]) -> Float[Array, " m"]:
    """The log-probability of an interval under the standard logistic.

    sigmoid(u) - sigmoid(l) = (1 - exp(l - u)) sigmoid(u) sigmoid(-l), with exponents that are never positive, and
    1 - exp(-w) = 2 h / (1 + h), h = tanh(w / 2), in half the time of expm1.
    """
    half = jnp.tanh(jnp.maximum(upper - lower, 1e-9) / 2)
    return _log_between(lower, upper, 2 * half / (1 + half))


def _log_between(lower: Float[Array, " m"], upper: Float[Array, " m"], share: Float[Array, " m"]) -> Float[Array, " m"]:
    """log(share sigmoid(u) sigmoid(-l)), with one logarithm."""
    ends = (1 + jnp.exp(-jnp.abs(upper))) * (1 + jnp.exp(-jnp.abs(lower)))
    return jnp.minimum(upper, 0.0) - jnp.maximum(lower, 0.0) + jnp.log(share / ends)
