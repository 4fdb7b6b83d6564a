"""Which cells of a row are missing: a model of the gaps, beside that of the cells."""

from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from reparax.summary import Column

LARGEST_SHIFT = 20.0
"""The largest change of the log odds of a gap from those in the data."""


class Gaps(eqx.Module):
    r"""P(gaps | z) = prod_g P_g, over the variables that say which cells are missing; follows from the schema.

    Columns that were missing in exactly the same rows share one variable, so that they are missing together in every
    drawn row. The others with gaps have one each, and columns without gaps in the data have none: it is not accounted
    for whether their cells are missing. With o_g the log odds of a gap in the data and k_g columns,

        P_g = (1 - e_g) sigmoid(+-(o_g + s_g(z)))  if all of its cells are missing (+), or none (-),
        P_g = e_g / (2^k_g - 2)                    if some are missing and others not,

    with s_g = 0 unless the rest of the row says something of these gaps in the data (`Column.missing_depends`): else
    the network would learn by heart which cells of which row are missing, and impute worse for it.
    e_g = 1 / (n + 2) if k_g > 1 and 0 else: no such row was among the n of the data, so that the density stays
    positive, but none is drawn.

    Gaps and cells are independent given z. Ipsen, Mattei & Frellsen (2021), "not-MIWAE", have gaps that
    depend on the missing values; here they depend on the latent variable, which the values depend on.

    Attributes:
        groups: The columns of the table that share each variable.
        dependent: The numbers of those variables that depend on z.
        log_odds: Those of a gap in the data.
        log_whole: log(1 - e_g).
        log_part: log(e_g / (2^k_g - 2)), the log-probability of each pattern in which only some cells are missing.
    """

    groups: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    dependent: tuple[int, ...] = eqx.field(static=True)
    log_odds: Float[Array, " g"]
    log_whole: Float[Array, " g"]
    log_part: Float[Array, " g"]

    @classmethod
    def of(cls, columns: Sequence[Column], num_examples: int) -> Self:
        """The gaps of a table's columns.

        Args:
            columns: All columns of the table.
            num_examples: The number of rows seen.
        """
        shared: dict[str, list[int]] = {}
        for index, column in enumerate(columns):
            if column.missing > 0:
                shared.setdefault(column.missing_with or column.name, []).append(index)
        groups = tuple(map(tuple, shared.values()))
        counts = num_examples * np.array([columns[first].missing for first, *_ in groups])
        log_odds = np.log(counts + 0.5) - np.log(num_examples - counts + 0.5)
        size = np.array([len(group) for group in groups])
        # log(2^k - 2) without overflow; 2^k - 2 is 0 for one column, which cannot be missing in part.
        log_patterns = size * np.log(2.0) + np.log1p(-(2.0 ** (1.0 - np.maximum(size, 2))))
        rare = np.log(num_examples + 2.0)
        return cls(
            groups=groups,
            dependent=tuple(number for number, (first, *_) in enumerate(groups) if columns[first].missing_depends),
            log_odds=jnp.asarray(log_odds, jnp.float32),
            log_whole=jnp.asarray(np.where(size > 1, np.log1p(-np.exp(-rare)), 0.0), jnp.float32),
            log_part=jnp.asarray(-rare - log_patterns, jnp.float32),
        )

    @property
    def num_parameters(self) -> int:
        """How many outputs of a network determine the gaps of a row: one for each variable that depends on z."""
        return len(self.dependent)

    def log_prob(self, parameters: Float[Array, " p"], x: Float[Array, " d"]) -> Float[Array, " g"]:
        """The log-probability of each variable.

        Args:
            parameters: The changes of the log odds of those that depend on z; with zeros, gaps are as
                frequent as in the data.
            x: The row, NaN where cells are missing; cells beyond the columns of the table are not looked at.
        """
        missing = jnp.isnan(x[np.asarray([first for first, *_ in self.groups], int)])
        log_odds = self._shifted(parameters)
        whole = self.log_whole + jax.nn.log_sigmoid(jnp.where(missing, log_odds, -log_odds))
        members = [(number, place) for number, (_, *others) in enumerate(self.groups) for place in others]
        if not members:
            return whole
        number, place = np.asarray(members).T
        differs = jnp.isnan(x[place]) != missing[number]
        of_group = jnp.asarray(number == np.arange(len(self.groups))[:, None])
        return jnp.where((of_group & differs).any(axis=1), self.log_part, whole)

    def log_prob_observed(self, parameters: Float[Array, " p"], observed: Bool[Array, " d"]) -> Float[Array, ""]:
        """The log-probability that some cells are observed, in a drawn row.

        Args:
            parameters: As of `log_prob`.
            observed: Which cells; nothing is said of the others.
        """
        log_probs = jax.nn.log_sigmoid(-self._shifted(parameters))
        return jnp.sum(jnp.where(self._any(observed), log_probs, 0.0))

    def sample(self, parameters: Float[Array, " p"], key: jax.Array, observed: Bool[Array, " d"]) -> Bool[Array, " d"]:
        """Which cells of a random row are missing.

        Args:
            parameters: As of `log_prob`.
            key: The random key.
            observed: Which cells are known not to be missing.
        """
        drawn = jax.random.bernoulli(key, jax.nn.sigmoid(self._shifted(parameters)))
        return self._spread(drawn & ~self._any(observed), jnp.zeros_like(observed))

    def shared_out(self, values: Float[Array, " g"], size: int) -> Float[Array, " d"]:
        """A value of each variable, divided equally among its columns; 0 for columns without gaps.

        Args:
            values: The values.
            size: The number of columns.
        """
        return self._spread(values / np.asarray([len(group) for group in self.groups], np.float32), jnp.zeros(size))

    def _shifted(self, parameters: Float[Array, " p"]) -> Float[Array, " g"]:
        if not self.dependent:
            return self.log_odds
        return self.log_odds.at[np.asarray(self.dependent)].add(LARGEST_SHIFT * jnp.tanh(parameters / LARGEST_SHIFT))

    def _any(self, cells: Bool[Array, " d"]) -> Bool[Array, " g"]:
        """For each variable, whether any of its cells is among some cells."""
        return jnp.stack([cells[np.asarray(group)].any() for group in self.groups])

    def _spread(self, values: Array, among: Array) -> Array:
        """An array with the value of each variable in the places of its columns."""
        places = np.asarray([place for group in self.groups for place in group], int)
        number = np.repeat(np.arange(len(self.groups)), [len(group) for group in self.groups])
        return among.at[places].set(values[number])
