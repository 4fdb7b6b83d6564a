"""``reparax fit``: from data to a model folder."""

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from reparax import registry
from reparax.cli.cluster import leave
from reparax.cli.devices import DeviceOptions
from reparax.cli.evaluate import say_verdict
from reparax.cli.model import Data, Id, View, origin_of, prepare_jax, see_working_folder, source_of, streamed
from reparax.cli.options import RecipeOptions
from reparax.cli.terminal import Say, Stop, bound_name, notes, speaker, stoppable, warn, warnings_as_lines, watch
from reparax.cli.words import blocks_text, columns_text, recipe_lines, relations_text
from reparax.disk import unwritable
from reparax.errors import CheckpointWarning, OutputError, TrainingError, TrainingWarning

if TYPE_CHECKING:
    from reparax.data import Dataset, Stream
    from reparax.recipe import FittedModel, Recipe
    from reparax.training import Watcher

DIVERGED = 1
ROWS_FOR_ACTIVITY = 5000
SAMPLES = 100
"""Importance samples for the report, the default of ``reparax report``."""


@dataclass(frozen=True)
class _Watching:
    """Where training is followed.

    Attributes:
        history: A file for the history.
        tensorboard: A folder for TensorBoard.
        mlflow: An experiment of MLflow.
        profile: A folder for a profile.
    """

    history: str | None
    tensorboard: str | None
    mlflow: str | None
    profile: str | None

    def require_outside(self, out: str) -> None:
        """Refuses places in the model folder, which would be found to hold other things only when training is over.

        Raises:
            OutputError: One is there.
        """
        folder = Path(os.path.realpath(Path(out).expanduser()))
        for name, place in (("history", self.history), ("tensorboard", self.tensorboard), ("profile", self.profile)):
            if place is not None and Path(os.path.realpath(Path(place).expanduser())).is_relative_to(folder):
                raise OutputError(
                    expected=f"--{name} outside of the model folder {out}, which is replaced when training is over",
                    got=place,
                    cure="choose another place; the model folder has history.csv in the end",
                )

    def watchers(self) -> "Sequence[Watcher]":
        """What follows the training.

        Raises:
            MissingExtra: A library is not installed.
            OutputError: A folder cannot be written.
        """
        from reparax.training import HistoryFile, MLflow, TensorBoard

        for folder in (self.tensorboard, self.profile):
            if folder is not None:
                try:
                    Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise unwritable(folder, error) from None
        made = ((HistoryFile, self.history), (TensorBoard, self.tensorboard), (MLflow, self.mlflow))
        return [kind(where) for kind, where in made if where is not None]

    def profiled(self) -> AbstractContextManager[None]:
        """Profiles what runs inside, if that is asked for."""
        import jax

        if self.profile is None:
            return nullcontext()
        options = jax.profiler.ProfileOptions()
        # Calls of Python would fill most of the profile and slow down the fit, without a word about the compiled steps.
        options.python_tracer_level = 0
        return jax.profiler.trace(self.profile, profiler_options=options)


def names_in(given: tuple[str, ...]) -> tuple[str, ...]:
    """The names in arguments such as ``sex,age``."""
    return tuple(name.strip() for one in given for name in one.split(",") if name.strip())


@streamed
def fit(
    data: Data | None = None,
    /,
    *,
    out: str,
    view: View = (),
    row_id: Id = None,
    label: Annotated[
        str | None, Parameter(help="Labels, which are not modeled: a column, an array of an .npz file, or a file.")
    ] = None,
    schema: str | None = None,
    exclude: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    given: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    recipe: RecipeOptions = RecipeOptions(),
    place: DeviceOptions = DeviceOptions(),
    memory: str | None = None,
    report: Annotated[bool, Parameter(negative="--no-report")] = True,
    resume: bool = False,
    checkpoint_seconds: Annotated[float, Parameter(validator=Number(gte=0))] = 60.0,
    max_time: Annotated[float, Parameter(validator=Number(gt=0))] = math.inf,
    history: str | None = None,
    tensorboard: str | None = None,
    mlflow: str | None = None,
    profile: str | None = None,
    quiet: bool = False,
) -> int:
    """Fit a model to data; options that you leave out are chosen from the data.

    Training stops when the bound on held-out data no longer rises, and keeps the best model.

    Ctrl-C stops training early and keeps the best model so far; the exit code is then 130. SIGTERM, which schedulers
    and containers send, does the same; the exit code is then 143. It is 1 if training diverged; the best model before
    that is kept.

    While it trains, its state is in the folder OUT.checkpoints, which is deleted when the model has been written. After
    a crash or an interrupt, the same command with --resume goes on from there.

    Args:
        data: A .csv, .tsv, .parquet, .feather, .npy, .npz or IDX file, a folder of tables or images, or
            builtin:digits.
        out: The model folder to write; an existing model there is replaced.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        label: Where the labels are; they are not modeled.
        schema: A .json or .toml file with the kinds of columns of a table: {"zip": "categorical", "id": "exclude"}; and
            with what holds in every row: {"dropoff": {"after": "pickup"}, "total": {"sum": ["fare", "tip"]}}.
        exclude: Columns of a table to ignore: id,town.
        given: Columns that are known and not modeled, such as sex,age, or label for the labels: the model is one of
            p(x | given).
        recipe: The choices about the model and its training.
        place: Where to train.
        memory: The most memory that the values of the data may take, such as 2GB (default: a quarter of what is
            available). A .npy file, a Parquet file or a folder of Parquet files with more is read in blocks while it
            is trained on.
        report: Write report.html into the model folder (the default).
        resume: Go on from the checkpoints in OUT.checkpoints, with the same data and options; the result is the same to
            the last bit as without the interruption. Without checkpoints, start from the beginning.
        checkpoint_seconds: How long to train between two checkpoints (default: 60).
        max_time: Stop training after this many seconds and keep the best model; --resume goes on from there.
        history: A .csv file that is written while it trains: a line for each look at the held-out data, with the terms
            of the objective, the norm of the gradient of each part, the learning rate and the examples per second. The
            model folder has the same as history.csv in the end.
        tensorboard: A folder for TensorBoard, with the same numbers (pip install 'reparax[tensorboard]').
        mlflow: The name of an experiment of MLflow, which gets the same numbers and the settings (pip install
            'reparax[mlflow]'); where it is kept is what MLFLOW_TRACKING_URI says.
        profile: A folder for a profile of the training, for XProf or Perfetto; for short fits.
        quiet: Show no progress and no notes.
    """
    from reparax.data import Stream, check_output, left_out, opened, require_fit

    say = speaker(quiet)
    check_output(out, ())
    if history is not None:
        check_output(history, (".csv",))
    watching = _Watching(history, tensorboard, mlflow, profile)
    watching.require_outside(out)
    source = source_of(data, view, row_id)
    dataset = opened(source, memory=memory, label=label, schema=schema, exclude=exclude, given=names_in(given))
    require_fit(dataset.sample if isinstance(dataset, Stream) else dataset)
    prepare_jax()
    is_first = place.connect()
    say = say if is_first else speaker(quiet=True)
    quiet = quiet or not is_first
    place.use(say)
    from reparax.applications import described_for, plan, shown_rows
    from reparax.artifact import check_folder, save

    if is_first:
        check_folder(out)
    watchers = watching.watchers() if is_first else []
    chosen = recipe.chosen()
    original, dataset = dataset, described_for(dataset, chosen)
    if any(":" in str(chosen.get(field)) for field in registry.ROOM_OF):
        see_working_folder()
    planned = plan(dataset, **chosen)
    for line in recipe_lines(planned, frozenset(chosen), dataset):
        say(line)
    dropped = left_out(dataset.schema)
    notes(say, [note for note in dataset.notes if note not in dropped])
    for line in dropped if is_first else ():
        warn(f"warning: {line}")
    for line in columns_text(dataset.schema):
        say(line)
    if isinstance(dataset, Stream):
        say(f"note: {blocks_text(dataset)}")
    without = planned.dp > 0
    saves = _Saves(None if without else checkpoint_folder(out), resume, checkpoint_seconds)
    with stoppable(max_time) as stop:
        try:
            with watching.profiled():
                fitted = _train(dataset, chosen, planned, stop, saves, watchers, place, quiet=quiet)
        except KeyboardInterrupt:
            return _say_interrupted(stop, saves)
        leave()
        if not is_first:
            return {"interrupted": stop.code, "diverged": DIVERGED}.get(str(fitted.status), 0)
        if not fitted.history and fitted.guarantee is None:
            return _say_interrupted(stop, saves)
        save(fitted, out)
    try:
        shown = shown_rows(original, planned) if isinstance(original, Stream) else original
        return _finish(fitted, shown, str(data), out, stop, saves, say, report=report)
    except KeyboardInterrupt:
        warn(f"interrupted after the model was written to {out}")
        return stop.code


def _finish(
    fitted: "FittedModel",
    dataset: "Dataset",
    data: str,
    out: str,
    stop: Stop,
    saves: "_Saves",
    say: Say,
    *,
    report: bool,
) -> int:
    """Says how training went, and writes the report; gives the exit code."""
    from reparax.artifact import REPORT

    for line in relations_text(fitted.schema):
        say(line)
    if fitted.guarantee is None:
        _say_result(fitted, dataset, say)
    else:
        say(f"private     {fitted.guarantee}")
    say(f"model       {out}")
    if fitted.status == "interrupted":
        if saves.folder is not None:
            warn(f"checkpoints {saves.folder}: the same command with --resume goes on from there")
        if stop.signal or not stop.is_late:
            return stop.code
    else:
        saves.remove()
    if fitted.status == "diverged":
        return DIVERGED
    if stop.signal:  # during the last steps, with which training was over anyway
        warn(f"interrupted after the model was written to {out}")
        return stop.code
    if report and fitted.guarantee is not None:
        _say_price(fitted, dataset, data, out, say)
    elif report and (dataset.is_sparse or dataset.schema.views):
        say(f"note: no report, as {'the data are sparse' if dataset.is_sparse else 'there are several views'}")
    elif report:
        _write_report(fitted, dataset, data, out, say)
        say(f"report      {out}/{REPORT}")
    else:
        _say_still_improving(fitted, say)
    return 0


@dataclass(frozen=True)
class _Saves:
    """The checkpoints of a fit, as the user asked for them."""

    folder: Path | None
    """None for a differentially private fit, which has none."""
    resume: bool
    seconds: float

    def exist(self) -> bool:
        from reparax.training import has_checkpoints

        return self.folder is not None and has_checkpoints(self.folder)

    def remove(self) -> None:
        from reparax.training import remove

        if self.folder is not None:
            remove(self.folder)


def checkpoint_folder(out: str) -> Path:
    """Where the checkpoints of a fit are: beside the model folder, which is replaced all at once."""
    target = Path(os.path.realpath(Path(out).expanduser()))
    return target.with_name(f"{target.name}.checkpoints")


def _say_interrupted(stop: Stop, saves: _Saves) -> int:
    """Says that there is no model to keep yet.

    Raises:
        TrainingError: It was the clock that ended training.
    """
    if stop.is_late and not stop.signal:
        raise TrainingError(
            expected="a first look at the held-out data within --max-time",
            got=f"none; nothing was written{f' but checkpoints in {saves.folder}' if saves.folder else ''}",
            cure=f"give it more time{', or go on with --resume' if saves.folder else ''}",
        )
    kept = f"; {saves.folder} has checkpoints for --resume" if saves.exist() else ""
    warn(f"interrupted before the first training steps finished; nothing was written{kept}")
    return stop.code


def _train(
    dataset: "Dataset | Stream",
    chosen: dict[str, Any],
    planned: "Recipe",
    stop: Stop,
    saves: _Saves,
    watchers: "Sequence[Watcher]",
    place: DeviceOptions,
    *,
    quiet: bool,
) -> "FittedModel":
    """Trains, and shows its progress and its warnings as lines."""
    import jax

    from reparax import applications

    name = bound_name(planned.name("objective"))
    kinds = (CheckpointWarning, TrainingWarning) if jax.process_index() == 0 else ()
    with (
        warnings_as_lines(*kinds),
        watch(planned.epochs, name, planned.batch_size, quiet=quiet) as show,
    ):
        try:
            return applications.fit(
                dataset, progress=show, stop=stop.asked, checkpoints=saves.folder, resume=saves.resume,
                checkpoint_seconds=saves.seconds, watchers=watchers, devices=place.devices,
                device=place.device, **chosen,
            )  # fmt: skip
        except TrainingError:
            saves.remove()  # resumed, it would end in the same way
            raise


def _say_result(fitted: "FittedModel", dataset: "Dataset", say: Say) -> None:
    """Says the result, with a warning if the latent variable carries no information."""
    from reparax.applications import marginal_bound
    from reparax.training import kept_record

    assert fitted.recipe is not None
    best = kept_record(fitted.history)
    assert best is not None
    kind, bound = ("held-out", best.valid["bound"]) if best.valid else ("training", best.train["bound"])
    last = fitted.history[-1]
    say(
        f"{fitted.status} after {last.epoch:.0f} epochs, {last.seconds:.0f} s; kept the model of epoch {best.epoch:.0f}"
    )
    say(f"{kind} {bound_name(fitted.recipe.name('objective'))} {bound:.2f} nats per example")
    if fitted.status == "interrupted":
        warn("interrupted: the best model so far was kept")
    if fitted.status == "diverged":
        warn(
            "error: expected training to end; got diverged steps, which are not finite; the best model before them was "
            "kept, and a lower --learning-rate may help"
        )
    alone = marginal_bound(fitted, dataset)
    if alone is not None and bound < alone:
        warn(
            f"warning: no better than the values taken one by one, {alone:.2f} nats per example: train longer, or with "
            "another --learning-rate"
        )
    if fitted.others:
        _say_members(fitted, dataset, say)
    active, size = _active_units(fitted.members[0], dataset)
    say(f"active      {active} of {size} latent dimensions")
    if active == 0:
        warn(
            "warning: posterior collapse: no latent dimension carries information on the data, so embeddings are "
            "meaningless; try --warmup-epochs, --free-bits 0.1, --beta 0.5 or more epochs"
        )
    elif size >= 4 and active <= size // 4:
        warn(f"warning: only {active} of {size} latent dimensions are used; a smaller --latent-dim would do as well")


def _say_members(fitted: "FittedModel", dataset: "Dataset", say: Say) -> None:
    """Says the bounds of the members of an ensemble and of their mixture."""
    from reparax.applications import evaluate, held_out_of

    rows = held_out_of(fitted, dataset)
    found = evaluate(fitted, dataset if rows is None else rows, num_samples=SAMPLES)
    where = "these rows, on which it was fitted" if rows is None else "held-out rows"
    say(f"ensemble    {len(fitted.members)} members; importance-weighted bounds on {where}, nats per example:")
    if found.iwae is not None and found.members is not None:
        of_members = ", ".join(f"{one.iwae:.2f}" for one in found.members)
        say(f"            members {of_members}; the mixture of all {found.iwae:.2f}")


def _say_still_improving(fitted: "FittedModel", say: Say) -> None:
    """Says that more epochs would help, as the verdict of a report does."""
    from reparax.training import rise_at_end

    assert fitted.recipe is not None
    rise = None if fitted.status != "all epochs done" else rise_at_end(fitted.history, fitted.recipe.warmup_epochs)
    if rise is not None:
        say(f"note: still improving when it stopped, by {rise:.2f} nats in the last quarter: try more --epochs")


def _say_price(fitted: "FittedModel", dataset: "Dataset", data: str, out: str, say: Say) -> None:
    """Says how good the synthetic rows of a private model are; a report in its folder would show the rows."""
    from reparax.reports import study_of

    say("note: the lines below come from the rows themselves and are not private; the model folder is, so that no")
    say("      report is written into it: reparax report MODEL DATA writes one elsewhere")
    say_verdict(study_of(fitted, dataset, label=None, origin=origin_of(out, data), num_samples=SAMPLES, seed=0), say)


def _write_report(fitted: "FittedModel", dataset: "Dataset", data: str, out: str, say: Say) -> None:
    from reparax.artifact import REPORT
    from reparax.reports import study_of, write

    study = study_of(fitted, dataset, label=None, origin=origin_of(out, data), num_samples=SAMPLES, seed=0)
    write(study, Path(out).expanduser() / REPORT)
    say_verdict(study, say)


def _active_units(fitted: "FittedModel", dataset: "Dataset") -> tuple[int, int]:
    import numpy as np

    from reparax.applications import active_dimensions, encode

    rows = np.arange(len(dataset))[:: -(-len(dataset) // ROWS_FOR_ACTIVITY)]
    active = active_dimensions(fitted.model.posterior, encode(fitted, dataset.take(rows)))
    return int(active.sum()), len(active)
