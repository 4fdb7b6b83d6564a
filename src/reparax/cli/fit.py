"""``reparax fit``: from data to a model folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from reparax import registry
from reparax.cli.evaluate import say_verdict
from reparax.cli.model import Data, origin_of, prepare_jax, see_working_folder, streamed
from reparax.cli.options import RecipeOptions
from reparax.cli.terminal import Say, bound_name, notes, speaker, stoppable, warn, watch
from reparax.cli.words import columns_text, recipe_lines, relations_text

if TYPE_CHECKING:
    from reparax.data import Dataset
    from reparax.recipe import FittedModel, Recipe
    from reparax.training import Record

INTERRUPTED = 130
ROWS_FOR_ACTIVITY = 5000
SAMPLES = 100
"""Importance samples for the report, the default of ``reparax report``."""


def names_in(given: tuple[str, ...]) -> tuple[str, ...]:
    """The names in arguments such as ``sex,age``."""
    return tuple(name.strip() for one in given for name in one.split(",") if name.strip())


@streamed
def fit(
    data: Data,
    /,
    *,
    out: str,
    label: Annotated[
        str | None, Parameter(help="Labels, which are not modeled: a column, an array of an .npz file, or a file.")
    ] = None,
    schema: str | None = None,
    exclude: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    given: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    recipe: RecipeOptions = RecipeOptions(),
    report: Annotated[bool, Parameter(negative="--no-report")] = True,
    quiet: bool = False,
) -> int:
    """Fit a model to data; options that you leave out are chosen from the data.

    Training stops when the bound on held-out data no longer rises, and keeps the best model.

    Ctrl-C stops training early and keeps the best model so far; the exit code is then 130.

    Args:
        data: A .csv, .tsv, .parquet, .feather, .npy, .npz or IDX file, a folder of tables or images, or
            builtin:digits.
        out: The model folder to write; an existing model there is replaced.
        label: Where the labels are; they are not modeled.
        schema: A .json or .toml file with the kinds of columns of a table: {"zip": "categorical", "id": "exclude"}; and
            with what holds in every row: {"dropoff": {"after": "pickup"}, "total": {"sum": ["fare", "tip"]}}.
        exclude: Columns of a table to ignore.
        given: Columns that are known and not modeled, such as sex,age, or label for the labels: the model is one of
            p(x | given).
        recipe: The choices about the model and its training.
        report: Write report.html into the model folder (the default).
        quiet: Show no progress and no notes.
    """
    from reparax.data import check_output, left_out, read, require_fit

    say = speaker(quiet)
    check_output(out, ())
    dataset = read(data, label=label, schema=schema, exclude=exclude, given=names_in(given))
    require_fit(dataset)
    prepare_jax()
    from reparax.applications import plan
    from reparax.artifact import REPORT, check_folder, save

    check_folder(out)
    chosen = recipe.chosen()
    if any(":" in str(chosen.get(field)) for field in registry.ROOM_OF):
        see_working_folder()
    planned = plan(dataset, **chosen)
    for line in recipe_lines(planned, frozenset(chosen), dataset):
        say(line)
    dropped = left_out(dataset.schema)
    notes(say, [note for note in dataset.notes if note not in dropped])
    for line in dropped:
        warn(f"warning: {line}")
    for line in columns_text(dataset.schema):
        say(line)
    with stoppable() as stop:
        fitted = _train(dataset, chosen, planned, stop.check, quiet=quiet)
        if not fitted.history:
            warn("interrupted before the first training steps finished; nothing was written")
            return INTERRUPTED
        save(fitted, out)
    for line in relations_text(fitted.schema):
        say(line)
    _say_result(fitted, dataset, say)
    say(f"model       {out}")
    if fitted.status == "interrupted":
        return INTERRUPTED
    if report:
        _write_report(fitted, dataset, data, out, say)
        say(f"report      {out}/{REPORT}")
    return 0


def _train(
    dataset: "Dataset", chosen: dict[str, Any], planned: "Recipe", check: Callable[[], None], *, quiet: bool
) -> "FittedModel":
    from reparax import applications

    with watch(planned.epochs, bound_name(planned.name("objective")), planned.batch_size, quiet=quiet) as show:

        def progress(record: "Record") -> None:
            show(record)
            check()

        return applications.fit(dataset, progress=progress, **chosen)


def _say_result(fitted: "FittedModel", dataset: "Dataset", say: Say) -> None:
    """Says the result, with a warning if the latent variable carries no information."""
    assert fitted.recipe is not None
    held_out = [record for record in fitted.history if record.valid]
    best = max(held_out, key=lambda record: record.valid["bound"]) if held_out else fitted.history[-1]
    kind, bound = ("held-out", best.valid["bound"]) if held_out else ("training", best.train["bound"])
    last = fitted.history[-1]
    say(
        f"{fitted.status} after {last.epoch:.0f} epochs, {last.seconds:.0f} s; kept the model of epoch {best.epoch:.0f}"
    )
    say(f"{kind} {bound_name(fitted.recipe.name('objective'))} {bound:.2f} nats per example")
    if fitted.status == "interrupted":
        warn("interrupted: the best model so far was kept")
    if fitted.status == "diverged":
        warn("warning: training diverged; the best model before that was kept; a lower --learning-rate may help")
    active, size = _active_units(fitted, dataset)
    say(f"active      {active} of {size} latent dimensions")
    if active == 0:
        warn(
            "warning: posterior collapse: no latent dimension carries information on the data, so embeddings are "
            "meaningless; try --warmup-epochs, --free-bits 0.1, --beta 0.5 or more epochs"
        )
    elif size >= 4 and active <= size // 4:
        warn(f"warning: only {active} of {size} latent dimensions are used; a smaller --latent-dim would do as well")


def _write_report(fitted: "FittedModel", dataset: "Dataset", data: str, out: str, say: Say) -> None:
    from reparax.artifact import REPORT
    from reparax.reports import study_of, write

    study = study_of(fitted, dataset, label=None, origin=origin_of(out, data), num_samples=SAMPLES, seed=0)
    write(study, Path(out).expanduser() / REPORT)
    say_verdict(study, say)


def _active_units(fitted: "FittedModel", dataset: "Dataset") -> tuple[int, int]:
    import numpy as np

    from reparax.applications import ACTIVE_VARIANCE, encode

    rows = np.arange(len(dataset))[:: -(-len(dataset) // ROWS_FOR_ACTIVITY)]
    means = encode(fitted, dataset.take(rows))
    return int((means.var(axis=0) > ACTIVE_VARIANCE).sum()), means.shape[1]
