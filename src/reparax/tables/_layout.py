"""Where each column of a table is: its family, and its place in the family's order."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from reparax import registry
from reparax.summary import Column, Remainder, Summary
from reparax.tables._family import AbstractColumnFamily
from reparax.tables.categories import Categories
from reparax.tables.gaps import Gaps


class Neighborhood(NamedTuple):
    """What is near each cell of one row.

    Attributes:
        row: The row.
        families: What is near its cells, family by family.
    """

    row: Float[Array, " d"]
    families: list[PyTree[Array]]


class Layout(eqx.Module):
    """The families of a table's columns.

    Cells are taken family by family, so that none need be put into its place before the very end.

    The last columns may be remainders: what relations leave of others. Where a remainder is known, it is modeled
    instead of its child.

    Attributes:
        families: Those that have columns in the table.
        gaps: Which of their cells may be missing.
        remainders: What the last columns are.
        added: For each parameter, the place of another one that is added to it; its own number of all where none is.
    """

    families: tuple[AbstractColumnFamily, ...]
    gaps: Gaps
    remainders: tuple[Remainder, ...] = eqx.field(static=True, default=())
    added: Int[Array, " p"] | None = None

    @classmethod
    def of(cls, columns: Sequence[Column], num_examples: int, remainders: tuple[Remainder, ...] = ()) -> Self:
        """The layout of a table's columns."""
        positions: dict[type[AbstractColumnFamily], list[int]] = {family: [] for family in registry.column_families()}
        of_kind = {kind: family for family in positions for kind in family.kinds}
        for i, column in enumerate(columns):
            positions[of_kind[column.kind]].append(i)
        families = ((family, tuple(chosen)) for family, chosen in positions.items() if chosen)
        gaps = Gaps.of(columns[: len(columns) - len(remainders)], num_examples)
        made = tuple(family.of(chosen, columns, num_examples) for family, chosen in families)
        return cls(made, gaps, remainders, _added(made, gaps.num_parameters, remainders, columns))

    @classmethod
    def of_summary(cls, summary: Summary) -> Self:
        """The layout of the columns of a table."""
        return cls.of(summary.columns, summary.num_examples, summary.remainders)

    @property
    def order(self) -> tuple[int, ...]:
        """The columns of the table in the order in which they are taken."""
        return sum((family.columns for family in self.families), ())

    @property
    def size(self) -> int:
        """The number of columns, including remainders."""
        return len(self.order)

    @property
    def num_cells(self) -> int:
        """The number of columns of the user's table."""
        return self.size - len(self.remainders)

    @property
    def num_parameters(self) -> int:
        """How many outputs of a network determine the distribution of a row."""
        return sum(family.num_parameters for family in self.families) + self.gaps.num_parameters

    def split(self, x: Array) -> list[Array]:
        """The cells of a row, family by family."""
        ends = np.cumsum([len(family.columns) for family in self.families], dtype=int)[:-1]
        return jnp.split(_taken(x, np.asarray(self.order, int)), ends)

    def joined(self, cells: Sequence[Array]) -> Array:
        """The row that `split` takes apart."""
        return _taken(jnp.concatenate(cells, axis=-1), np.argsort(self.order))

    def split_parameters(self, parameters: Float[Array, " p"]) -> list[Float[Array, "..."]]:
        """The parameters of each family; those of the gaps come after them.

        Where categories imply those of another column (a zone its borough), the logit of the implied category is added
        to those of all that imply it: the network learns what these have in common once, not for each anew.
        """
        if self.added is not None:
            parameters = parameters + jnp.append(parameters, 0.0)[self.added]
        ends = np.cumsum([family.num_parameters for family in self.families], dtype=int)
        return jnp.split(parameters, ends)[:-1]

    def parameters_of_gaps(self, parameters: Float[Array, " p"]) -> Float[Array, " g"]:
        """The parameters of the gaps."""
        return parameters[self.num_parameters - self.gaps.num_parameters :]

    def neighborhood(self, x: Float[Array, " d"], radii: Sequence[float]) -> Neighborhood:
        """What is near each cell of a row, for radii in units of `Column.spread`."""
        cells = zip(self.families, self.split(jnp.where(jnp.isnan(x), 0.0, x)), strict=True)
        return Neighborhood(x, [family.near(cell, radii) for family, cell in cells])

    def left_out(self, x: Float[Array, " d"]) -> Bool[Array, " d"]:
        """Which cells have no part in the density of a row: missing ones, and children whose remainder is known."""
        missing = jnp.isnan(x)
        if not self.remainders:
            return missing
        return missing.at[self._children].max(~missing[self.num_cells :])

    def folded(self, values: Float[Array, " d"]) -> Float[Array, " c"]:
        """One number for each column of the user's table: that of a remainder belongs to its child."""
        if not self.remainders:
            return values
        return values[: self.num_cells].at[self._children].add(values[self.num_cells :])

    def hidden(self, cells: Bool[Array, " d"]) -> Bool[Array, " d"]:
        """Which columns cannot be seen if some cells of the user's table cannot: remainders need all of theirs."""
        if not self.remainders:
            return cells
        needed = [jnp.any(cells[np.asarray((each.child, *each.parents))]) for each in self.remainders]
        return jnp.concatenate([cells[: self.num_cells], jnp.stack(needed)])

    @property
    def _children(self) -> Int[np.ndarray, " r"]:
        return np.asarray([each.child for each in self.remainders])


def _added(
    families: Sequence[AbstractColumnFamily],
    num_others: int,
    remainders: Sequence[Remainder],
    columns: Sequence[Column],
) -> Int[Array, " p"] | None:
    """For each parameter, the place of the one that is added to it; None if none is."""
    starts = np.cumsum([0, *(family.num_parameters for family in families)])
    size = int(starts[-1]) + num_others
    added = np.full(size, size)
    for remainder in remainders:
        if not remainder.implied:
            continue
        of_parent, of_child = (
            next(
                start + family.logits_of(place, len(columns[place].categories))
                for start, family in zip(starts, families, strict=False)
                if isinstance(family, Categories) and place in family.columns
            )
            for place in (remainder.parents[0], remainder.child)
        )
        codes = np.asarray(remainder.implied)[: len(of_parent)]
        known = (codes >= 0) & (codes < len(of_child))
        added[of_parent[known]] = of_child[codes[known]]
    return jnp.asarray(added, jnp.int32) if (added < size).any() else None


def _taken(x: Float[Array, "*r d"], places: Int[np.ndarray, " d"]) -> Float[Array, "*r d"]:
    """x[places]; where these are in order already, no gather is fused into what follows, to be repeated there."""
    return x if (places == np.arange(len(places))).all() else x[..., places]
