"""The family of numbers: a logistic density of a monotone transform, and spikes at values that many rows share."""

from collections.abc import Sequence
from itertools import chain
from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from reparax.pytrees import soft_bound
from reparax.summary import Column
from reparax.tables._family import AbstractCells, AbstractColumnFamily
from reparax.tables._state_groups import SpikeGroup, grouped, one_hot, single
from reparax.tables._transform import CoarseSteps, Transforms, on_grid, rounding

LOG_SCALE_BOUNDS = (-6.0, 2.0)

LARGEST_FEATURE = 4.0


class NearNumbers(NamedTuple):
    """What is near each number of one row.

    Attributes:
        x: The numbers.
        radii: Each radius in the units of each column.
        lower: T at the lower ends of the intervals around each number.
        upper: T at the upper ends.
    """

    x: Float[Array, " m"]
    radii: Float[Array, "r m"]
    lower: Float[Array, "r m"]
    upper: Float[Array, "r m"]


class Numbers(AbstractColumnFamily):
    """Columns of numbers and dates: p_j(x) = P_j(spike at x), or P_j(no spike) logistic(T(x); m, s) T'(x).

    T is the column's monotone transform. Where numbers are rounded to a step d, the density is the probability of the
    cell (x - d/2, x + d/2) over d, as in Salimans et al. (2017), equation 2, so that its integral is one and a change
    of units changes it by the Jacobian alone. A spike's probability is divided by d likewise; without a step it is a
    probability, not a density.

    Attributes:
        spikes: The columns with spikes, those with similar numbers of spikes together; they come first.
        plain: The columns without.
        rounded: Whether any column is rounded.
        transforms: T of each column.
        only_spikes: Which columns had no number but spikes: nothing is learned about other numbers.
        step: The rounding of each column; 0 for none.
        coarse: The larger steps that most numbers of some columns are rounded to; None where there are none.
        low: The least value of each column.
        high: The greatest.
        spread: `Column.spread` of each column.
    """

    kinds: ClassVar[tuple[str, ...]] = ("continuous", "positive", "zero-inflated", "count", "ordinal", "datetime")
    spikes: tuple[SpikeGroup, ...]
    plain: tuple[int, ...] = eqx.field(static=True)
    rounded: bool = eqx.field(static=True)
    transforms: Transforms
    only_spikes: Bool[Array, " m"]
    step: Float[Array, " m"]
    coarse: CoarseSteps | None
    low: Float[Array, " m"]
    high: Float[Array, " m"]
    spread: Float[Array, " m"]

    @classmethod
    def of(cls, positions: tuple[int, ...], columns: Sequence[Column], num_examples: int) -> Self:
        counts = {i: len(columns[i].spikes) + 1 for i in positions if columns[i].spikes}
        plain = tuple(i for i in positions if i not in counts)
        spikes = tuple(SpikeGroup.of(places, columns, num_examples) for places in grouped(counts))
        ordered = [columns[i] for i in (*chain.from_iterable(group.columns for group in spikes), *plain)]
        steps = [rounding(column) for column in ordered]
        return cls(
            spikes=spikes,
            plain=plain,
            rounded=any(steps),
            transforms=Transforms.of(ordered),
            only_spikes=jnp.asarray([bool(column.spikes) and not column.quantiles for column in ordered], bool),
            step=single(steps),
            coarse=CoarseSteps.of(ordered),
            low=single([column.low for column in ordered]),
            high=single([column.high for column in ordered]),
            spread=single([column.spread for column in ordered]),
        )

    @property
    def columns(self) -> tuple[int, ...]:
        return (*chain.from_iterable(group.columns for group in self.spikes), *self.plain)

    @property
    def size(self) -> int:
        """The number of columns."""
        return len(self.columns)

    @property
    def num_parameters(self) -> int:
        return sum(group.num_parameters for group in self.spikes) + 2 * self.size

    def cells(self, parameters: Float[Array, " p"]) -> "NumberCells":
        ends = np.cumsum([group.num_parameters for group in self.spikes], dtype=int)
        *pieces, rest = jnp.split(parameters, ends)
        location, log_scale = rest.reshape(2, self.size)
        # A logistic that no number trains would be arbitrary: it stays that of the column's mean and deviation.
        location, log_scale = (jnp.where(self.only_spikes, 0.0, value) for value in (location, log_scale))
        groups = zip(self.spikes, pieces, strict=True)
        of_states = [group.log_probabilities(piece) for group, piece in groups]
        return NumberCells(self, of_states, location, soft_bound(log_scale, *LOG_SCALE_BOUNDS))

    @property
    def num_features(self) -> int:
        return sum(group.log_fractions.size for group in self.spikes) + self.size

    def features(self, x: Float[Array, " m"], absent: Bool[Array, " m"]) -> Float[Array, " f"]:
        """One-hot spikes, and standard scores of the transformed numbers."""
        groups = zip(self.spikes, self.of_spikes(x), self.of_spikes(absent), strict=True)
        pieces = [one_hot(group, cell, empty) for group, cell, empty in groups]
        # Standard logistic scores have the standard deviation pi / sqrt(3); far outliers must not drown the rest.
        bounded = LARGEST_FEATURE * jnp.tanh(self.transforms(x) * (3.0**0.5 / jnp.pi / LARGEST_FEATURE))
        return jnp.concatenate([*pieces, jnp.where(absent, 0.0, bounded)])

    def is_unseen(self, x: Float[Array, " m"]) -> Bool[Array, " m"]:
        return jnp.zeros(x.shape, bool)

    def near(self, x: Float[Array, " m"], radii: Sequence[float]) -> NearNumbers:
        far = jnp.stack([radius * self.spread for radius in radii])
        return NearNumbers(x, far, *self.transforms.around(x, far))

    def typical(self, statistics: Float[Array, " m"]) -> Float[Array, " m"]:
        """The expected numbers."""
        return statistics

    def with_known(self, x: Float[Array, " m"], statistics: Float[Array, " m"]) -> Float[Array, " m"]:
        """The numbers."""
        return jnp.where(jnp.isnan(x), statistics, x)

    def of_spikes(self, x: Array) -> list[Array]:
        """Of one value per column those of the columns with spikes, group by group."""
        return jnp.split(x, np.cumsum([len(group.columns) for group in self.spikes], dtype=int))[:-1]

    def beside_plain(self, of_spikes: list[Array], plain: Array) -> Array:
        """One value per column: the given ones of the columns with spikes, and those of the others from ``plain``."""
        return jnp.concatenate([*of_spikes, plain[self.size - len(self.plain) :]])

    def is_spike(self, x: Float[Array, " m"]) -> Bool[Array, " m"]:
        """Which numbers are spikes."""
        cells = zip(self.spikes, self.of_spikes(x), strict=True)
        result = [group.state(cell) < group.count for group, cell in cells]
        return jnp.concatenate([*result, jnp.zeros(len(self.plain), bool)])

    def as_recorded(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """Numbers rounded and kept within the range, as in the data."""
        return jnp.clip(on_grid(x, self.low, self.step), self.low, self.high)


class NumberCells(AbstractCells):
    """The distribution of the numbers of one row.

    Attributes:
        family: The columns.
        log_probabilities: The log-probability of each state of the columns with spikes, group by group.
        location: m, in units of T.
        log_scale: The logarithm of s, likewise.
    """

    family: Numbers
    log_probabilities: list[Float[Array, "c k"]]
    location: Float[Array, " m"]
    log_scale: Float[Array, " m"]

    def log_prob(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        family = self.family
        smooth = self._log_rest() + self._log_smooth_density(x)
        if not family.spikes:
            return smooth
        groups = zip(family.spikes, self.log_probabilities, family.of_spikes(x), strict=True)
        of_state = family.beside_plain([group.log_prob(log_probs, cell) for group, log_probs, cell in groups], smooth)
        rounded = family.step > 0
        log_step = jnp.log(jnp.where(rounded, family.step, 1.0))
        # A number drawn from the logistic may be rounded to a spike, but is never equal to one without rounding.
        spike = jnp.where(rounded, jnp.logaddexp(of_state - log_step, smooth), of_state)
        return jnp.where(family.is_spike(x), spike, smooth)

    def log_prob_near(self, near: NearNumbers) -> Float[Array, "r m"]:
        """The log-probability of an interval: what the logistic gives it, and the spikes in it."""
        inverse = jnp.exp(-self.log_scale)
        ends = ((ends - self.location) * inverse for ends in (near.lower, near.upper))
        smooth = self._log_rest() + _log_logistic_mass(*ends)
        if not self.family.spikes:
            return smooth
        spikes = jax.vmap(lambda radius: self._spikes_near(near.x, radius))(near.radii)
        # Without one nearby the interval may be as improbable as it is: a cell far out, farther than another one.
        has_spikes = spikes > 0
        return jnp.where(has_spikes, jnp.logaddexp(smooth, jnp.log(jnp.where(has_spikes, spikes, 1.0))), smooth)

    def sample(self, key: jax.Array) -> Float[Array, " m"]:
        family = self.family
        for_spikes, for_place = jax.random.split(key)
        noise = jax.random.logistic(for_place, self.location.shape, self.location.dtype)
        numbers = family.transforms.inverse(self.location + jnp.exp(self.log_scale) * noise)
        if family.coarse is not None:
            numbers = family.coarse.rounded(jax.random.fold_in(key, len(family.spikes)), numbers)
        numbers = family.as_recorded(numbers)
        keys = jax.random.split(for_spikes, len(family.spikes))
        groups = zip(family.spikes, self.log_probabilities, family.of_spikes(numbers), keys, strict=True)
        spikes = [group.sample(log_probs, others, each) for group, log_probs, others, each in groups]
        return family.beside_plain(spikes, numbers)

    def statistics(self) -> Float[Array, " m"]:
        """The expected numbers."""
        family = self.family
        expected = family.transforms.expected(self.location, jnp.exp(self.log_scale))
        smooth = jnp.clip(expected, family.low, family.high)
        groups = zip(family.spikes, self.log_probabilities, family.of_spikes(smooth), strict=True)
        return family.beside_plain([group.mean(log_probs, others) for group, log_probs, others in groups], smooth)

    def _log_rest(self) -> Float[Array, " m"]:
        """The log-probability of not being a spike; 0 for columns without spikes."""
        groups = zip(self.family.spikes, self.log_probabilities, strict=True)
        rest = [group.log_rest(log_probs) for group, log_probs in groups]
        return self.family.beside_plain(rest, jnp.zeros_like(self.location))

    def _log_smooth_density(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        """The log density of the logistics; of rounded numbers that of the cell around them, over its width."""
        family, transforms = self.family, self.family.transforms
        if not family.rounded:
            place = (transforms(x) - self.location) * jnp.exp(-self.log_scale)
            return _log_between(place, place, transforms.slope(x)) - self.log_scale
        rounded = family.step > 0
        below, above = transforms(x - family.step / 2), transforms(x + family.step / 2)
        inverse = jnp.exp(-self.log_scale)
        lower, upper = (below - self.location) * inverse, (above - self.location) * inverse
        width = jnp.where(rounded, jnp.maximum(above - below, 1e-6), 1.0) * inverse
        part = jnp.where(rounded, -jnp.expm1(-width), transforms.slope(x))
        unit = jnp.where(rounded, jnp.log(jnp.where(rounded, family.step, 1.0)), self.log_scale)
        return _log_between(lower, upper, part) - unit

    def _spikes_near(self, x: Float[Array, " m"], radius: Float[Array, " m"]) -> Float[Array, " m"]:
        """The probability of the spikes within a radius."""
        family = self.family
        groups = zip(family.spikes, self.log_probabilities, family.of_spikes(x), family.of_spikes(radius), strict=True)
        near = [group.within(log_probs, cell, far) for group, log_probs, cell, far in groups]
        return family.beside_plain(near, jnp.zeros_like(x))


def _log_logistic_mass(lower: Float[Array, "*m"], upper: Float[Array, "*m"]) -> Float[Array, "*m"]:
    """The log-probability of an interval under the standard logistic.

    sigmoid(u) - sigmoid(l) = (1 - exp(l - u)) sigmoid(u) sigmoid(-l), with exponents that are never positive, and
    1 - exp(-w) = 2 h / (1 + h), h = tanh(w / 2), in half the time of expm1.
    """
    half = jnp.tanh(jnp.maximum(upper - lower, 1e-9) / 2)
    return _log_between(lower, upper, 2 * half / (1 + half))


def _log_between(lower: Float[Array, "*m"], upper: Float[Array, "*m"], part: Float[Array, "*m"]) -> Float[Array, "*m"]:
    """log(part sigmoid(u) sigmoid(-l)), with one logarithm."""
    ends = (1 + jnp.exp(-jnp.abs(upper))) * (1 + jnp.exp(-jnp.abs(lower)))
    return jnp.minimum(upper, 0.0) - jnp.maximum(lower, 0.0) + jnp.log(part / ends)
