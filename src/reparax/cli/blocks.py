"""Applying a model to files larger than memory: rows come in blocks, and results are written batch by batch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from reparax.cli.terminal import Say

if TYPE_CHECKING:
    import numpy as np

    from reparax.data import Blocks, Dataset
    from reparax.recipe import FittedModel

MOST_NOTES = 10

Memory = Annotated[
    str | None,
    Parameter(
        help="The most memory that the values of the data may take, such as 2GB (default: a quarter of what is "
        "available). A .npy file, a Parquet file or a folder of Parquet files with more is read in blocks, and results "
        "are written as they come: .csv, .tsv, .parquet or .npy."
    ),
]
"""How much memory data may take."""

Columns = Callable[["Dataset"], Mapping[str, "np.ndarray"]]


@dataclass(frozen=True)
class Applied:
    """Rows in blocks, to which a model is applied.

    Attributes:
        blocks: The rows.
        fitted: The model.
        say: Shows notes.
        label: Where the labels are, if they are given to the model.
    """

    blocks: "Blocks"
    fitted: "FittedModel"
    say: Say
    label: str | None

    def datasets(self) -> "Iterator[Dataset]":
        """The rows in the form that the model takes, block by block; notes say of which rows they are."""
        from reparax.applications import dataset_of
        from reparax.data import read

        before, shown = 0, 0
        for raw in self.blocks:
            dataset = dataset_of(self.fitted, raw if self.label is None else read(raw, label=self.label))
            for note in dataset.notes[: MOST_NOTES - shown]:
                self.say(f"note: rows {before + 1} to {before + len(dataset)}: {note}")
                shown += 1
            before += len(dataset)
            yield dataset

    def write(self, out: str, columns: Columns) -> None:
        """Writes columns of all rows.

        Args:
            out: The file.
            columns: The columns of some rows.
        """
        from reparax.data import batches_to

        with batches_to(out, len(self.blocks)) as table:
            for dataset in self.datasets():
                table.add(columns(dataset))

    def highest(self, columns: Columns, by: str, count: int) -> "dict[str, np.ndarray]":
        """The columns of the rows with the highest values of one, in descending order, with their numbers from 1 on.

        Args:
            columns: The columns of some rows.
            by: The name of that column.
            count: How many rows.
        """
        import numpy as np

        kept: dict[str, np.ndarray] = {}
        before = 0
        for dataset in self.datasets():
            found = {"row": np.arange(before, before + len(dataset)) + 1, **columns(dataset)}
            both = {name: np.concatenate([kept[name], more]) if kept else more for name, more in found.items()}
            order = np.argsort(-both[by], kind="stable")[:count]
            kept = {name: column[order] for name, column in both.items()}
            before += len(dataset)
        return kept


def applied_in_blocks(
    source: Any, fitted: "FittedModel", say: Say, *, memory: str | None, label: str | None
) -> Applied | None:
    """The rows of data that are to be read in blocks; None if they are to be read at once, as views are.

    Raises:
        DataError: A file is damaged, or cannot be read in blocks.
        RecipeError: The amount of memory is none.
    """
    from reparax.data import blocks_of

    blocks = blocks_of(source, memory=memory) if isinstance(source, str) else None
    return None if blocks is None else Applied(blocks, fitted, say, label)
