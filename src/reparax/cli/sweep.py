"""``reparax sweep``: combinations of settings, fitted at once and compared."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from reparax import registry
from reparax.cli.fit import names_in
from reparax.cli.model import Data, Id, View, prepare_jax, see_working_folder, source_of, streamed
from reparax.cli.options import SweepOptions
from reparax.cli.terminal import Say, bound_name, notes, speaker, stoppable, warn, warnings_as_lines
from reparax.cli.words import blocks_text
from reparax.errors import TrainingError, TrainingWarning

if TYPE_CHECKING:
    from reparax.applications import Standing, Sweep, Trial

PICTURE = "leaderboard.svg"
MOST_SHOWN = 20


@streamed
def sweep(
    data: Data | None = None,
    /,
    *,
    out: Annotated[str, Parameter(name=["--out", "-o"])],
    view: View = (),
    row_id: Id = None,
    seeds: Annotated[int, Parameter(validator=Number(gte=1))] = 3,
    label: Annotated[
        str | None, Parameter(help="Labels, which are not modeled: a column, an array of an .npz file, or a file.")
    ] = None,
    schema: str | None = None,
    exclude: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    given: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    memory: str | None = None,
    recipe: SweepOptions = SweepOptions(),
    resume: bool = False,
    max_time: Annotated[float, Parameter(validator=Number(gt=0))] = math.inf,
    quiet: bool = False,
) -> int:
    """Fit every combination of the given values with several seeds, at once, and rank them by their held-out bounds.

    Each option of a fit takes one value for all or several, with commas: --latent-dim 2,8,32 --beta 0.5,1,4. The
    leaderboard, with standard errors over the seeds, is printed and written to OUT as leaderboard.csv,
    .json and .svg; the best model is OUT/best, and all
    others are in OUT/models.

    Args:
        data: The data, as of reparax fit.
        out: The folder to write.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        seeds: How many times each combination is fitted, with other seeds.
        label: Where the labels are; they are not modeled.
        schema: A .json or .toml file with the kinds of columns of a table, as of reparax fit.
        exclude: Columns of a table to ignore: id,town.
        given: Columns that are known and not modeled, as of reparax fit.
        memory: The most memory that the values of the data may take, such as 2GB, as of reparax fit; a file with more
            is read in blocks, once for all models of one seed.
        recipe: The choices about models and their training; several values with commas.
        resume: Go on with the sweep in OUT, with the same data and options: finished fits are not repeated.
        max_time: Stop after this many seconds; --resume goes on from there.
        quiet: Show no progress and no notes.
    """
    from reparax.data import Stream, check_output, left_out, opened

    say = speaker(quiet)
    check_output(out, ())
    varied, chosen = recipe.varied()
    source = source_of(data, view, row_id)
    dataset = opened(source, memory=memory, label=label, schema=schema, exclude=exclude, given=names_in(given))
    prepare_jax()
    from reparax import applications

    every = [value for field in registry.ROOM_OF for value in (chosen.get(field), *varied.get(field, ()))]
    if any(":" in str(value) for value in every):
        see_working_folder()
    dropped = left_out(dataset.schema)
    notes(say, [note for note in dataset.notes if note not in dropped])
    for line in dropped:
        warn(f"warning: {line}")
    if isinstance(dataset, Stream):
        say(f"note: {blocks_text(dataset)}")
    count = math.prod(map(len, varied.values())) * seeds
    say(f"sweep       {count} fits: {_words(varied)}{seeds} seed{'s' if seeds > 1 else ''}")
    ended = _Counted(count, say)
    with stoppable(max_time) as stop, warnings_as_lines(TrainingWarning):
        try:
            result = applications.sweep(
                dataset, varied, seeds=seeds, folder=out, resume=resume, stop=stop.asked, ended=ended, **chosen
            )
        except KeyboardInterrupt:
            warn(f"interrupted; finished fits are in {out}: the same command with --resume goes on from there")
            return stop.code
    _say_leaderboard(result, say)
    _write_picture(result, Path(out).expanduser())
    if not result.is_complete:
        warn(f"interrupted; finished fits are in {out}: the same command with --resume goes on from there")
        return stop.code if stop.signal or not stop.is_late else 0
    if result.best is None:
        raise TrainingError(
            expected="a fit that could be trained", got="none", cure=f"see {out}/leaderboard.json for the reasons"
        )
    say(f"best model  {out}/best")
    return 0


class _Counted:
    """Says each trial when it has ended, with its number."""

    def __init__(self, count: int, say: Say) -> None:
        self._count, self._say, self._done = count, say, 0

    def __call__(self, trial: "Trial") -> None:
        self._done += 1
        bound = "failed" if trial.bound is None else f"held-out {trial.bound:.2f}"
        said = "".join(f"{_flag(name)} {value}, " for name, value in trial.options.items())
        self._say(f"{self._done}/{self._count}  {said}seed {trial.seed}: {bound} ({trial.status})")


def _words(varied: dict[str, list[Any]]) -> str:
    return "".join(f"{_flag(name)} {', '.join(map(str, values))}; " for name, values in varied.items())


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _say_leaderboard(result: "Sweep", say: Say) -> None:
    """Prints the leaderboard as a table on standard output, with the note that the held-out rows chose its order."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from reparax.applications import NOTE

    if not result.leaderboard:
        return
    names = list(result.leaderboard[0].options)
    kind = "bound" if result.best is None or result.best.recipe is None else bound_name(
        result.best.recipe.name("objective")
    )  # fmt: skip
    table = Table(box=None, pad_edge=False)
    for name in ("", *map(_flag, names), f"held-out {kind}, nats", "behind the best", "seeds", "failed"):
        table.add_column(name, justify="right")
    for rank, one in enumerate(result.leaderboard[:MOST_SHOWN], 1):
        values = [str(one.options[name]) for name in names]
        figures = (_with_error(one.bound, one.standard_error), _with_error(one.behind, one.behind_standard_error))
        table.add_row(str(rank), *values, *figures, str(len(one.trials)), str(one.failed or ""))
    Console(file=sys.stdout, highlight=False, markup=False).print(table)
    if len(result.leaderboard) > MOST_SHOWN:
        say(f"and {len(result.leaderboard) - MOST_SHOWN} more in leaderboard.csv")
    say(f"note: {NOTE}")


def _with_error(value: float | None, error: float | None) -> str:
    """A mean with its standard error."""
    if value is None:
        return ""
    return f"{value:.3f}" if error is None else f"{value:.3f} \u00b1 {error:.3f}"


def _write_picture(result: "Sweep", folder: Path) -> None:
    from reparax.disk import atomic_write
    from reparax.reports import leaderboard_picture

    shown: list[Standing] = [one for one in result.leaderboard if one.bound is not None]
    if shown:
        with atomic_write(folder / PICTURE) as file:
            file.write_text(leaderboard_picture(shown), "utf-8")
