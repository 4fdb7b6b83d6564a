"""Rows of a table whose cells may be those of another row that resembles them: a hot deck, with the model as kernel."""

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from reparax.pytrees import Derived
from reparax.tables._distribution import RowDistribution
from reparax.tables._layout import Layout
from reparax.tables.columns import ColumnsDecoder

LARGEST_SHARE = 0.4
"""The probability that the missing cells are those of a neighbor, of many rows."""
FEW_ROWS = 100
"""The number of rows of which it is half of that."""
FEWEST_EFFECTIVE = 4.0
"""The least effective number of neighbors: a row with many known cells resembles hardly any other one as the model,
which knows the cells by z alone, weighs them."""
LEAST_LOG_POWER, HALVINGS = -14.0, 14
"""The interval in which the logarithm of the power is looked for, and how often it is halved."""


class Donors(eqx.Module):
    """Rows that others may take their missing cells from, in one model.

    Of a row x of which some cells are known, row i is the neighbor with a probability in proportion to
    E_q(z | x_i)[p(known cells of x | z)] to the power of t. With t = 1 it is that of the model in which z is drawn from
    the mixture of q(z | x_i) (Norouzi, Fleet & Norouzi 2020, "Exemplar VAE", equation 4), and the cells are those of
    the row itself. t is 1, or less if the neighbors are effectively fewer than four. Cells that the neighbor lacks are
    left to the model.

    Attributes:
        layout: The columns.
        rows: The rows, NaN for missing cells.
        lent: What others may take of them, NaN elsewhere.
        parameters: Those of p(x | z), for some draws of z from q(z | row) of each.
    """

    layout: Derived
    rows: Float[Array, "n d"]
    lent: Float[Array, "n d"]
    parameters: Float[Array, "n s p"]

    @classmethod
    def of(
        cls,
        likelihood: ColumnsDecoder,
        rows: Float[Array, "n d"],
        lends: Bool[Array, " d"],
        z: Float[Array, "n s *latent"],
    ) -> Self:
        """Rows with draws of their latent variables.

        Args:
            likelihood: The likelihood of the table.
            rows: The rows, as the model takes them.
            lends: In which columns others may take cells of them; those of which nothing is known are never taken.
            z: The draws.
        """
        layout = likelihood.layout.value
        lent = jax.vmap(lambda row: jnp.where(_unseen(layout, row) | ~lends, jnp.nan, row))(rows)
        return cls(likelihood.layout, rows, lent, jax.vmap(jax.vmap(lambda one: likelihood(one).parameters))(z))

    @property
    def num_draws(self) -> int:
        """The number of draws of z of all rows together."""
        return self.parameters.shape[0] * self.parameters.shape[1]

    @property
    def share(self) -> float:
        """The probability that the missing cells of a row are those of a neighbor."""
        return LARGEST_SHARE * len(self.rows) / (len(self.rows) + FEW_ROWS)

    def mixed(self, x: Float[Array, " d"], statistics: list[PyTree[Array]], *, uses_gaps: bool) -> list[PyTree[Array]]:
        """Expectations under the mixture of a model and of what neighbors have.

        Args:
            x: The row whose cells are missing.
            statistics: Those of the model, `RowDistribution.statistics`.
            uses_gaps: Whether rows also resemble each other by which cells are missing.
        """
        log_weights, share = self._log_weights(x, uses_gaps=uses_gaps)
        weights = jax.nn.softmax(log_weights)
        layout = self.layout.value

        def lent(row: Float[Array, " d"]) -> list[PyTree[Array]]:
            families = zip(layout.families, layout.split(row), statistics, strict=True)
            return [family.with_known(cells, own) for family, cells, own in families]

        of_rows = jax.vmap(lent)(self.lent)
        return jax.tree.map(
            lambda own, others: (1 - share) * own + share * jnp.tensordot(weights, others, axes=1), statistics, of_rows
        )

    def replaced(
        self, x: Float[Array, " d"], drawn: Float[Array, "m d"], key: Array, *, uses_gaps: bool
    ) -> Float[Array, "m d"]:
        """Draws of a model, some of them replaced by neighbors; otherwise like `mixed`.

        Args:
            x: The row whose cells are missing.
            drawn: Rows without missing cells that the model draws.
            key: A random key.
            uses_gaps: Whether rows also resemble each other by which cells are missing.
        """
        log_weights, share = self._log_weights(x, uses_gaps=uses_gaps)

        def one(own: Float[Array, " d"], key: Array) -> Float[Array, " d"]:
            for_share, for_row = jax.random.split(key)
            row = self.lent[jax.random.categorical(for_row, log_weights)]
            return jnp.where(jnp.isnan(row) | (jax.random.uniform(for_share) >= share), own, row)

        return jax.vmap(one)(drawn, jax.random.split(key, len(drawn)))

    def _log_weights(self, x: Float[Array, " d"], *, uses_gaps: bool) -> tuple[Float[Array, " n"], Float[Array, ""]]:
        """The log-probabilities of the neighbors, but for a constant; and the share, 0 if none is another row."""

        def log_prob(parameters: Float[Array, " p"]) -> Float[Array, ""]:
            row = RowDistribution(parameters, self.layout.value)
            return row.log_prob(x) if uses_gaps else row.log_prob_of_cells(x)

        of_draws = jax.vmap(jax.vmap(log_prob))(self.parameters)
        # A row with the same known cells and the same gaps, such as x itself, has nothing to lend.
        same = jax.vmap(lambda row: jnp.array_equal(row, x, equal_nan=True))(self.rows)
        log_weights = jnp.where(same, -jnp.inf, jax.scipy.special.logsumexp(of_draws, axis=1))
        others = jnp.any(~same)
        log_weights = _with_effective(jnp.where(others, log_weights, 0.0), FEWEST_EFFECTIVE)
        return log_weights, jnp.where(others, self.share, 0.0)


def _unseen(layout: Layout, row: Float[Array, " d"]) -> Bool[Array, " d"]:
    """Which cells hold a value of which nothing is known."""
    cells = zip(layout.families, layout.split(jnp.where(jnp.isnan(row), 0.0, row)), strict=True)
    return layout.joined([family.is_unseen(cell) for family, cell in cells])


def _with_effective(log_weights: Float[Array, " n"], count: float) -> Float[Array, " n"]:
    """Log weights times the greatest t up to 1 with which the weights are effectively those of so many rows."""
    finite = jnp.isfinite(log_weights)
    shifted = jnp.where(finite, log_weights - jnp.max(log_weights), 0.0)

    def effective(log_power: Float[Array, ""]) -> Float[Array, ""]:
        weights = jnp.where(finite, jnp.exp(jnp.exp(log_power) * shifted), 0.0)
        return jnp.sum(weights) ** 2 / jnp.sum(weights**2)

    def halved(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = effective(middle) >= count
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    none = jnp.zeros((), log_weights.dtype)
    low, _ = jax.lax.fori_loop(0, HALVINGS, halved, (none + LEAST_LOG_POWER, none))
    log_power = jnp.where(effective(none) >= count, none, low)
    return jnp.where(finite, jnp.exp(log_power) * shifted, -jnp.inf)
