"""The family of categories: each has a probability."""

from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from reparax.summary import Column
from reparax.tables._family import AbstractCells, AbstractColumnFamily
from reparax.tables._state_groups import CategoryGroup, grouped, one_hot


class Categories(AbstractColumnFamily):
    """Columns of categories: P_j(c) = (1 - e_j) softmax(logits_j)_c, and e_j for all unseen categories together.

    Attributes:
        groups: Columns with similar numbers of categories.
    """

    kinds: ClassVar[tuple[str, ...]] = ("binary", "boolean", "categorical")
    groups: tuple[CategoryGroup, ...]

    @classmethod
    def of(cls, positions: tuple[int, ...], columns: Sequence[Column], num_examples: int) -> Self:
        counts = {i: max(1, len(columns[i].categories)) for i in positions}
        return cls(tuple(CategoryGroup.of(places, columns, num_examples) for places in grouped(counts)))

    @property
    def columns(self) -> tuple[int, ...]:
        return sum((group.columns for group in self.groups), ())

    @property
    def num_parameters(self) -> int:
        return sum(group.num_parameters for group in self.groups)

    def cells(self, parameters: Float[Array, " p"]) -> "CategoryCells":
        ends = np.cumsum([group.num_parameters for group in self.groups], dtype=int)[:-1]
        pieces = zip(self.groups, jnp.split(parameters, ends), strict=True)
        return CategoryCells(self, [group.log_probabilities(piece) for group, piece in pieces])

    def logits_of(self, column: int, num_categories: int) -> Int[np.ndarray, " k"]:
        """The places of the logits of a column's separate states among the parameters of the family.

        Args:
            column: The position of the column in the table.
            num_categories: The number of its categories.
        """
        start = 0
        for group in self.groups:
            if column in group.columns:
                row = group.columns.index(column)
                separate = group.size - 1 if row in group.shared else num_categories
                return start + row * group.size + np.arange(separate)
            start += group.num_parameters
        raise KeyError(column)

    @property
    def num_features(self) -> int:
        return sum(group.log_fractions.size for group in self.groups)

    def features(self, x: Float[Array, " c"], absent: Bool[Array, " c"]) -> Float[Array, " f"]:
        """One-hot categories."""
        cells = zip(self.groups, self.split(x), self.split(absent), strict=True)
        return jnp.concatenate([one_hot(group, cell, empty) for group, cell, empty in cells])

    def is_unseen(self, x: Float[Array, " c"]) -> Bool[Array, " c"]:
        cells = zip(self.groups, self.split(x), strict=True)
        return jnp.concatenate([group.is_unseen(cell) for group, cell in cells])

    def near(self, x: Float[Array, " c"], radii: Sequence[float]) -> Float[Array, " c"]:
        """The categories themselves: no other category is near."""
        return x

    def typical(self, statistics: list[Float[Array, "c k"]]) -> Float[Array, " c"]:
        """The most probable categories."""
        codes = [jnp.argmax(probabilities, axis=1) for probabilities in statistics]
        return jnp.concatenate(codes).astype(statistics[0].dtype)

    def with_known(self, x: Float[Array, " c"], statistics: list[Float[Array, "c k"]]) -> list[Float[Array, "c k"]]:
        """Ones for the categories, zeros for the others."""
        groups = zip(self.groups, self.split(x), statistics, strict=True)
        return [
            jnp.where(jnp.isnan(cell)[:, None], others, jax.nn.one_hot(group.state(cell), others.shape[1]))
            for group, cell, others in groups
        ]

    def split(self, x: Array) -> list[Array]:
        """One value per column, group by group."""
        return jnp.split(x, np.cumsum([len(group.columns) for group in self.groups], dtype=int)[:-1])


class CategoryCells(AbstractCells):
    """The distribution of the categories of one row.

    Attributes:
        family: The columns.
        log_probabilities: The log-probability of each state, group by group.
    """

    family: Categories
    log_probabilities: list[Float[Array, "c k"]]

    def log_prob(self, x: Float[Array, " c"]) -> Float[Array, " c"]:
        cells = zip(self.family.groups, self.log_probabilities, self.family.split(x), strict=True)
        return jnp.concatenate([group.log_prob(log_probs, cell) for group, log_probs, cell in cells])

    def log_prob_near(self, near: Float[Array, " c"]) -> Float[Array, "1 c"]:
        return self.log_prob(near)[None]

    def sample(self, key: jax.Array) -> Float[Array, " c"]:
        keys = jax.random.split(key, len(self.family.groups))
        groups = zip(self.family.groups, self.log_probabilities, keys, strict=True)
        return jnp.concatenate([group.sample(log_probs, each) for group, log_probs, each in groups])

    def statistics(self) -> list[Float[Array, "c k"]]:
        """The probability of each state, group by group."""
        return [jnp.exp(log_probs) for log_probs in self.log_probabilities]
