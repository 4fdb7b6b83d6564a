"""Rows whose gaps no values fill, as relations between columns leave none: refused, or named in a warning."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Self

import numpy as np
from jaxtyping import Int

from reparax.applications._impute_solved import contradiction, open_relations
from reparax.data import Dataset
from reparax.errors import DataError, RowsNotFilled
from reparax.recipe import FittedModel

MOST_LISTED = 5


@dataclass(frozen=True)
class RowsLeft:
    """Rows of a table whose gaps no values fill.

    Attributes:
        places: Which rows, from 0 on.
        num_rows: The number of all rows.
        num_cells: The number of gaps.
        cells: Of the first of these rows, the known cells that contradict the others, such as ``total=-500``.
        relations: The relations that have a part in it.
    """

    places: Int[np.ndarray, " m"]
    num_rows: int
    num_cells: int
    cells: tuple[str, ...]
    relations: tuple[str, ...]

    @classmethod
    def of(cls, fitted: FittedModel, dataset: Dataset, places: Int[np.ndarray, " m"]) -> Self:
        """Some rows of a table."""
        values = dataset.values[places]
        relations = (str(relation) for row in values for relation in open_relations(fitted, row))
        cells = tuple(contradiction(fitted, row) for row in values[:MOST_LISTED])
        return cls(places, len(dataset), int(np.isnan(values).sum()), cells, tuple(dict.fromkeys(relations)))

    @classmethod
    def of_blocks(cls, blocks: Sequence[tuple[int, "RowsLeft"]], num_rows: int) -> Self:
        """Those of several blocks, each with the number of rows before it, in a table of so many rows."""
        return cls(
            np.concatenate([before + left.places for before, left in blocks]),
            num_rows,
            sum(left.num_cells for _, left in blocks),
            tuple(cells for _, left in blocks for cells in left.cells)[:MOST_LISTED],
            tuple(dict.fromkeys(relation for _, left in blocks for relation in left.relations)),
        )

    def __str__(self) -> str:
        """How many rows these are of how many, and the first of them."""
        pairs = zip(self.places, self.cells, strict=False)
        named = ", ".join(f"row {place + 1:,} ({cells})" for place, cells in pairs)
        more = f" and {len(self.places) - MOST_LISTED:,} more" if len(self.places) > MOST_LISTED else ""
        return f"{len(self.places):,} of {self.num_rows:,} rows ({named}{more})"

    @property
    def warning(self) -> RowsNotFilled:
        """What is said if they keep their gaps."""
        text = f"{self} keep their gaps, as no values in the range of the fit were found"
        return RowsNotFilled(text, self.num_cells)

    def warn(self) -> None:
        """Warns the caller of `impute` that they keep their gaps."""
        warnings.warn(self.warning, stacklevel=4)

    def refuse(self) -> NoReturn:
        """Refuses them.

        Raises:
            DataError: Always.
        """
        raise DataError(
            expected=f"known cells from which the others can follow: {', '.join(self.relations)}",
            got=f"{self} for which no values in the range of the fit were found",
            cure="correct or clear these cells, give what they follow from, leave the gaps of such rows as they are "
            "(--impossible leave; impossible='leave'), or fit with --relations none",
        )
