"""Applying a model to files larger than memory: rows come in blocks, and results are written batch by batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from reparax.cli.model import labeled
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
Rows = Callable[["Dataset"], Any]
"""What is written of some rows: columns, a data frame, or an array with an example in each row."""


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

    def opened(self, raw: Any) -> "Dataset":
        """Rows of the files in the form that the model takes."""
        from reparax.applications import dataset_of

        return dataset_of(self.fitted, labeled(raw, self.label))

    def held_out(self) -> "Dataset | None":
        """The rows that were held out of the fit to these files; None if they are others, or none were held out."""
        from reparax.applications import held_out_of_blocks

        return held_out_of_blocks(self.fitted, self.blocks, self.opened)

    def sample(self) -> "Dataset":
        """A uniform sample of the rows, in memory."""
        return self.opened(self.blocks.at(self.blocks.sampled()))

    def datasets(self) -> "Iterator[Dataset]":
        """The rows in the form that the model takes, block by block; notes say of which rows they are."""
        before, shown = 0, 0
        for raw in self.blocks:
            dataset = self.opened(raw)
            for note in dataset.notes[: MOST_NOTES - shown]:
                self.say(f"note: rows {before + 1} to {before + len(dataset)}: {note}")
                shown += 1
            before += len(dataset)
            yield dataset

    def write(self, out: str, rows: Rows) -> None:
        """Writes what a function gives of all rows.

        Args:
            out: The file.
            rows: The function of some rows.
        """
        self.write_all([out], lambda dataset: [rows(dataset)])

    def write_all(
        self, outs: Sequence[str], rows: Callable[["Dataset"], Sequence[Any]], after: Callable[[], None] | None = None
    ) -> None:
        """Writes several files at once.

        Args:
            outs: The files.
            rows: Gives what is written of some rows to each.
            after: Called after the last row; if it raises an error, no file is written.
        """
        from reparax.data import batches_to

        with ExitStack() as opened:
            tables = [opened.enter_context(batches_to(out, len(self.blocks))) for out in outs]
            for dataset in self.datasets():
                for table, some in zip(tables, rows(dataset), strict=True):
                    table.add(some)
            if after is not None:
                after()

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
