"""The distribution of one row of a table: a product over its columns, and over what says which cells are missing."""

from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float, PyTree
from numpyro.distributions import constraints

from reparax.tables._family import AbstractCells
from reparax.tables._layout import Layout, Neighborhood


class RowDistribution(dist.Distribution):
    """p(x) = P(gaps) prod_j p_j(x_j) over the observed cells j of one row, in the units of the table; nats.

    A row may have remainders of relations (`reparax.data.Extension`): such a one is counted instead of its child, and
    is a shift of it given its parents, so that this is the density of the user's row. The p_j follow from the family
    of the column: `reparax.tables.Categories`, `Numbers` or `Cyclic`. P(gaps) is the probability that just these cells
    are missing: `reparax.tables.Gaps`.

    Args:
        parameters: The parameters of all columns, family by family. Zeros make the columns independent, each
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
        """Independent columns, each distributed as in the data that the layout was made from."""
        return cls(jnp.zeros(layout.num_parameters), layout)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.real_vector

    @property
    def cells(self) -> list[AbstractCells]:
        """The distributions of the cells, family by family."""
        pieces = self.layout.split_parameters(self.parameters)
        return [family.cells(piece) for family, piece in zip(self.layout.families, pieces, strict=True)]

    def log_prob(self, value: Float[Array, " d"]) -> Float[Array, ""]:
        """The log density of the observed cells, plus the log-probability that just these are observed."""
        cells = self.log_prob_of_cells(value)
        return cells + jnp.sum(self.log_prob_of_gaps(value)) if self.layout.gaps.groups else cells

    def log_prob_of_cells(self, value: Float[Array, " d"]) -> Float[Array, ""]:
        """The log density of the observed cells, whichever these are."""
        return sum(map(jnp.sum, self._log_prob(value)), jnp.zeros((), self.parameters.dtype))

    def log_prob_of_gaps(self, value: Float[Array, " d"]) -> Float[Array, " g"]:
        """The log-probability of each variable of `reparax.tables.Gaps`."""
        x = jnp.asarray(value, self.parameters.dtype)
        return self.layout.gaps.log_prob(self.layout.parameters_of_gaps(self.parameters), x)

    def log_prob_of_condition(self, value: Float[Array, " d"]) -> Float[Array, ""]:
        """The log density of some cells, plus the log-probability that they are observed.

        Args:
            value: The cells; NaN for those of which nothing is said, nor whether they are missing.
        """
        observed, gaps = ~jnp.isnan(value), self.layout.parameters_of_gaps(self.parameters)
        cells = self.log_prob_of_cells(value)
        return cells + self.layout.gaps.log_prob_observed(gaps, observed) if self.layout.gaps.groups else cells

    def log_prob_of_columns(self, value: Float[Array, " d"]) -> Float[Array, " d"]:
        """The log density of each cell; 0 where it is missing."""
        return self.layout.joined(self._log_prob(value))

    def _log_prob(self, value: Float[Array, " d"]) -> list[Float[Array, " c"]]:
        x = jnp.asarray(value, self.parameters.dtype)
        cells = self.layout.split(jnp.where(jnp.isnan(x), 0.0, x))
        result = [cell.log_prob(x) for cell, x in zip(self.cells, cells, strict=True)]
        return self._observed(x, result)

    def log_prob_near(self, near: Neighborhood) -> Float[Array, "r d"]:
        """log P_j(near x_j) of each cell, one row per radius; 0 where it is missing.

        P_j(near x_j) is the probability of its category, or of the numbers within a radius. Unlike a density it is the
        same in every unit and does not tend to infinity at values that many rows share.

        Args:
            near: What is near each cell of a row, `Layout.neighborhood`.
        """
        cells = zip(self.cells, near.families, strict=True)
        families = [cell.log_prob_near(of_cell) for cell, of_cell in cells]
        radii = max(len(values) for values in families)
        joined = self.layout.joined([jnp.broadcast_to(values, (radii, values.shape[1])) for values in families])
        return jnp.where(self.layout.left_out(near.row), 0.0, joined)

    def _observed(self, x: Float[Array, " d"], values: Sequence[Any]) -> list[Any]:
        """Values of each family with zeros in the place of missing cells."""
        missing = self.layout.split(self.layout.left_out(x))
        return [
            jax.tree.map(lambda value, empty=empty: jnp.where(empty, 0.0, value), of_family)
            for of_family, empty in zip(values, missing, strict=True)
        ]

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        """Rows: categories and spikes drawn, numbers rounded and kept within the range seen; NaN for missing cells."""
        size = 1
        for extent in sample_shape:
            size *= extent
        nothing = jnp.zeros(self.layout.size, bool)
        rows = jax.vmap(lambda each: self.sample_given(each, nothing))(jax.random.split(key, size))
        return rows.reshape(*sample_shape, self.layout.size)

    def sample_given(self, key: jax.Array, observed: Bool[Array, " d"]) -> Float[Array, " d"]:
        """One row in which some cells are known not to be missing."""
        row = self.sample_whole(key)
        if not self.layout.gaps.groups:
            return row
        parameters = self.layout.parameters_of_gaps(self.parameters)
        for_gaps = jax.random.fold_in(key, len(self.layout.families))
        return jnp.where(self.layout.gaps.sample(parameters, for_gaps, observed), jnp.nan, row)

    def sample_whole(self, key: jax.Array) -> Float[Array, " d"]:
        """One row without missing cells."""
        keys = jax.random.split(key, len(self.layout.families))
        return self.layout.joined([cell.sample(each) for cell, each in zip(self.cells, keys, strict=True)])

    @property
    def mean(self) -> Float[Array, " d"]:
        """The expected number of a column of numbers; the most probable category of a column of categories."""
        return self.typical(self.statistics())

    def statistics(self) -> list[PyTree[Float[Array, "..."]]]:
        """Expectations that determine `typical` cells; they may be averaged over latent variables."""
        return [cell.statistics() for cell in self.cells]

    def typical(self, statistics: list[PyTree[Float[Array, "..."]]]) -> Float[Array, " d"]:
        """Expected numbers and most probable categories, from `statistics` or their average."""
        families = zip(self.layout.families, statistics, strict=True)
        return self.layout.joined([family.typical(of_family) for family, of_family in families])
