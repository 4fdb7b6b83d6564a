"""A family of columns: the kinds of columns it is for, and the density, features and draws of their cells.

To add one, write one file: a final class of `AbstractColumnFamily`, whose ``kinds`` users may then give to columns
(``--schema '{"wind": "degrees"}'``), and a final class of `AbstractCells`. `reparax.tables.cyclic` is an example.
All columns of one family in a table are computed together, as arrays.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, PyTree

from reparax.summary import Column


class AbstractCells(eqx.Module):
    """The distribution of the cells of one row in the columns of one family; the cells are independent given z."""

    @abstractmethod
    def log_prob(self, x: Float[Array, " c"]) -> Float[Array, " c"]:
        """The log density of each cell, in nats and in the units of the table."""

    @abstractmethod
    def log_prob_near(self, near: PyTree[Array]) -> Float[Array, "r c"]:
        """The log-probability of what is near each cell, one row per radius, or one row where radii mean nothing.

        Args:
            near: What `AbstractColumnFamily.near` gave for the row.
        """

    @abstractmethod
    def sample(self, key: jax.Array) -> Float[Array, " c"]:
        """Random cells, rounded as in the data."""

    @abstractmethod
    def statistics(self) -> PyTree[Float[Array, "..."]]:
        """Expectations from which `AbstractColumnFamily.typical` makes a cell, also when averaged over draws of z."""


class AbstractColumnFamily(eqx.Module):
    """The columns of one family in a table; follows from the schema, so it is neither trained nor saved.

    Attributes:
        kinds: The kinds of columns that the family is for.
    """

    kinds: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def of(cls, positions: tuple[int, ...], columns: Sequence[Column], num_examples: int) -> Self:
        """The family's columns, from what is known of the data.

        Args:
            positions: Which columns of the table belong to the family.
            columns: All columns of the table.
            num_examples: The number of rows seen.
        """

    @property
    @abstractmethod
    def columns(self) -> tuple[int, ...]:
        """The positions of the columns in the table, in the order in which the family takes their cells."""

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """How many outputs of a network determine the cells of a row."""

    @abstractmethod
    def cells(self, parameters: Float[Array, " p"]) -> AbstractCells:
        """The distribution of a row's cells; with zeros, each column is distributed as in the data."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """How many numbers `features` gives."""

    @abstractmethod
    def features(self, x: Float[Array, " c"], absent: Bool[Array, " c"]) -> Float[Array, " f"]:
        """What an encoder sees of the cells: numbers near one, zeros for absent cells."""

    @abstractmethod
    def is_unseen(self, x: Float[Array, " c"]) -> Bool[Array, " c"]:
        """Which cells hold a value of which nothing is known; an encoder takes them for missing."""

    @abstractmethod
    def near(self, x: Float[Array, " c"], radii: Sequence[float]) -> PyTree[Array]:
        """What is near each cell, for radii in units of `Column.spread`; computed once per row, for all z."""

    @abstractmethod
    def typical(self, statistics: PyTree[Float[Array, "..."]]) -> Float[Array, " c"]:
        """The expected number, the most probable category, or the like, from expectations."""

    @abstractmethod
    def with_known(self, x: Float[Array, " c"], statistics: PyTree[Float[Array, "..."]]) -> PyTree[Float[Array, "..."]]:
        """The statistics of cells that are known, in the place of expectations.

        Args:
            x: The cells, NaN for those that are not known.
            statistics: The expectations, as `AbstractCells.statistics` gives them, which are kept for these.
        """
