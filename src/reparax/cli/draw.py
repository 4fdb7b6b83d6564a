"""``reparax sample`` and ``impute``: new examples, and what is missing of given ones, to a file."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from reparax.cli.blocks import Memory, applied_in_blocks
from reparax.cli.model import (
    Allow,
    Data,
    Id,
    ImputeGiven,
    Label,
    View,
    open_data,
    open_filled,
    open_model,
    refuse_beside_unknown,
    source_of,
    streamed,
)  # fmt: skip
from reparax.cli.outputs import (
    IMAGES,
    TABLES,
    Out,
    can_be_written_in_pieces,
    check_picture,
    enlarged,
    files_of,
    framed,
    pixels,
    write_filled,
    write_pieces,
    write_values,
)  # fmt: skip
from reparax.cli.terminal import notes, speaker, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reparax.applications import RowsLeft
    from reparax.data import Dataset

LARGEST_GRID = 64
PIECE_ROWS = 65_536
PIECE_VALUES = 1 << 24
"""Samples that are drawn and written at once, and the number of their values."""


@streamed
def sample(
    model: str,
    /,
    *,
    out: Out,
    count: Annotated[int, Parameter(name=["-n", "--count"])] = LARGEST_GRID,
    seed: int = 0,
    where: str | None = None,
    means: Annotated[bool | None, Parameter(negative="--no-means")] = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Draw new examples from the model; rows of a table look like those of the data, including missing cells.

    Args:
        model: The model folder.
        out: The file to write, or - for standard output as CSV: .npy, .npz, .csv, .parquet, ..., or .png for images (a
            grid).
        count: The number of examples.
        seed: The seed; the same seed gives the same examples.
        where: The values of some columns of a table, and of what is given, in every example: sex=F,age=30, label=7.
        means: Write E[x | z] for drawn z: smoother than samples, but not samples of the data. The default of pictures
            (.png), in which the noise of single pixels hides the rest; --no-means draws that too.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, IMAGES)
    fitted = open_model(model, allow)
    check_picture(fitted, out)
    import jax

    from reparax import applications

    key = jax.random.key(seed)
    is_picture = out.lower().endswith(".png")
    shows_means = is_picture if means is None else means
    cells = applications.conditions_in(fitted, where) if where else {}
    rows = max(1, min(PIECE_ROWS, PIECE_VALUES // fitted.units.summary.size))
    if not shows_means and count > rows and can_be_written_in_pieces(fitted, out):
        said: list[str] = []

        def pieces() -> "Iterator[Dataset]":
            for piece in applications.sample_pieces(fitted, count, key=key, where=cells, rows=rows):
                said[:] = piece.notes
                yield piece

        write_pieces(out, count, pieces)
        notes(speaker(quiet), (*applications.notes_on_where(fitted, cells), *said))
        speaker(quiet)(f"wrote {out}: {count} samples")
        return
    draw = applications.means_dataset if shows_means else applications.sample_dataset
    drawn = draw(fitted, count, key=key, where=cells)
    notes(speaker(quiet), (*applications.notes_on_where(fitted, cells), *drawn.notes))
    if is_picture:
        files.write(out, framed(enlarged(pixels(fitted, drawn.values))))
        what = "means given z, without the noise of pixels (--no-means)" if shows_means else "samples"
        speaker(quiet)(f"wrote {out}: {count} {what}")
        return
    for name, view in files_of(out, drawn):
        write_values(name, view)
        speaker(quiet)(f"wrote {name}: {count} {'means' if shows_means else 'samples'}")


@streamed
def impute(
    model: str,
    data: Data | None = None,
    /,
    *,
    out: Out,
    view: View = (),
    row_id: Id = None,
    draws: int | None = None,
    missing: Literal["at-random", "not-at-random"] = "at-random",
    duplicates: Literal["use", "ignore"] = "use",
    neighbors: Literal["use", "ignore"] = "use",
    impossible: Literal["refuse", "leave"] = "refuse",
    samples: int = 400,
    seed: int = 0,
    label: Label = None,
    impute_given: ImputeGiven = False,
    memory: Memory = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Fill the missing cells of a table with the expected number or the most probable category given the other cells.

    Args:
        model: The model folder.
        data: A table with the columns of the fit; - for standard input.
        out: The file to write, or - for standard output as CSV; all other cells and columns are kept.
        draws: Write this many tables with randomly drawn cells instead (multiple imputation), to OUT numbered 1, 2, ...
        missing: Whether to ignore which cells are missing, or to use what it says of the missing ones (gaps and cells
            are then taken to be independent given the latent variables).
        duplicates: Whether cells are taken from rows that agree in all else, where known cells, left out in turn, show
            that this is right in 95 %; a table larger than --memory is not searched for them.
        neighbors: Whether rows that resemble a row count, beside the model; not in a table larger than --memory.
        impossible: Whether rows in which relations between columns leave no values for what is missing (a total below
            its parts) are refused, or keep their gaps, with a warning.
        samples: The number of importance samples for each row.
        seed: The random seed.
        label: Where the labels are, if they are given to the model.
        impute_given: Take the most probable values given the row in place of what is missing of what is given; the
            given cells themselves stay as they are.
        memory: The most memory that the values may take.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, TABLES)
    say = speaker(quiet)
    fitted = open_model(model, allow)
    source = source_of(data, view, row_id)
    names = [out] if draws is None else [_numbered(out, number) for number in range(1, draws + 1)]
    for name in names:
        files.check_output(name, TABLES)
    from reparax import applications

    def filled(rows: "Dataset", left: "Callable[[RowsLeft], None]", *, in_blocks: bool = False) -> "Sequence[Any]":
        chosen: dict[str, Any] = {
            "num_samples": samples, "seed": seed, "missing": missing, "impossible": left,
            "duplicates": "ignore" if in_blocks else duplicates, "neighbors": "ignore" if in_blocks else neighbors,
        }  # fmt: skip
        if draws is None:
            return [applications.impute(fitted, rows, **chosen)]
        return applications.impute_draws(fitted, rows, draws, **chosen)

    what = "filled" if draws is None else "drawn"
    counts = _Counts(impossible)
    if impute_given:
        refuse_beside_unknown(memory=memory is not None)
    in_blocks = None if impute_given else applied_in_blocks(source, fitted, say, memory=memory, label=label)
    if in_blocks is not None:
        if "use" in (duplicates, neighbors):
            say("no cells are taken from the same or similar rows, as the table is larger than --memory")
        in_blocks.write_all(
            names, lambda rows: counts.of(rows, partial(filled, rows, in_blocks=True)), after=counts.settle
        )
        for name in names:
            say(f"wrote {name}: {counts.filled} cells {what}")
        return
    dataset = (open_filled if impute_given else open_data)(source, fitted, say, label=label)
    tables = counts.of(dataset, partial(filled, dataset))
    counts.settle()
    for name, table in zip(names, tables, strict=True):
        write_filled(name, table, dataset, f"{counts.filled} cells {what}", say)


@dataclass
class _Counts:
    """What is known of the gaps of a table that is filled, in one block or several.

    Attributes:
        impossible: What is done with rows that no values agree with.
        num_rows: The number of rows.
        gaps: The number of gaps.
        left: The rows that keep theirs, with the number of rows before the block that they are in.
    """

    impossible: Literal["refuse", "leave"]
    num_rows: int = 0
    gaps: int = 0
    left: "list[tuple[int, RowsLeft]]" = field(default_factory=list)

    def of(self, rows: "Dataset", filled: "Callable[[Callable[[RowsLeft], None]], Sequence[Any]]") -> "Sequence[Any]":
        """The tables that come from more rows, whose gaps are counted."""
        tables = filled(lambda left: self.left.append((self.num_rows, left)))
        self.num_rows, self.gaps = self.num_rows + len(rows), self.gaps + _gaps(rows)
        return tables

    @property
    def filled(self) -> int:
        """The number of gaps that do not stay."""
        return self.gaps - sum(left.num_cells for _, left in self.left)

    def settle(self) -> None:
        """Refuses the rows that keep their gaps, or says which they are: after the last row.

        Raises:
            DataError: There are some, and they are refused.
        """
        from reparax.applications import RowsLeft

        if not self.left:
            return
        whole = RowsLeft.of_blocks(self.left, self.num_rows)
        if self.impossible == "refuse":
            whole.refuse()
        warn(f"warning: {whole.warning}")


def _gaps(dataset: "Dataset") -> int:
    import numpy as np

    return int(np.isnan(dataset.values).sum()) if dataset.values.dtype.kind == "f" else 0


def _numbered(out: str, number: int) -> str:
    """``people-1.csv`` for ``people.csv``."""
    path = PurePath(out)
    return str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
