"""Fitting: from data, and the choices of the user, to a fitted model."""

import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from msgspec import to_builtins

from reparax.applications._differential import Budget, described_for
from reparax.applications._job import Job, done_of, trained, worst
from reparax.applications._rows_of_fit import classified, rows_of
from reparax.applications._saves import checkpoints_in, identity_of
from reparax.data import Dataset, Stream, left_out, opened, require_fit
from reparax.errors import ColumnsLeftOut, RecipeError
from reparax.model import Model
from reparax.objectives import AbstractObjective
from reparax.recipe import Choice, Chosen, FittedModel, Recipe, Settings, checked, given_size, held_out_share, suggest
from reparax.training import (
    SECONDS,
    Checkpoints,
    Devices,
    FitResult,
    Kind,
    Progress,
    Result,
    Stop,
    Watch,
    Watcher,
    digest,
    history_in,
    require_same,
)
from reparax.training import fit as train


def fit(
    data: Any,
    *,
    model: Model | None = None,
    objective: AbstractObjective | Choice | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    given: Iterable[str] = (),
    context: Any = None,
    memory: str | float | None = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    checkpoint_seconds: float = SECONDS,
    devices: int | None = None,
    device: Kind | None = None,
    watchers: Sequence[Watcher] = (),
    **chosen: Unpack[Settings],
) -> FittedModel:
    """Fits a model to data; choices that are left open follow from the data by the rules of `reparax.recipe.suggest`.

    Some of the data are held out. Training stops when the bound on them no longer rises, and keeps the best model.
    Ctrl-C stops training early and keeps the best model so far.

    ``ensemble=4`` trains four models at once, in one program. They differ in their first weights and their noise, and
    have the same data held out. The result is their mixture, p(x) = 1/4 sum_i p_i(x); see `FittedModel.members`.

    With a folder of checkpoints, a fit that is killed loses at most the last minute: the same call with ``resume=True``
    goes on from there, and gives the same weights, history and status to the last bit as one that was not killed (on
    the same machine; only the seconds in the history differ).

    Args:
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        model: A custom model; by default, the one that the recipe describes.
        objective: An objective: its name, its name and options, or the objective itself; by default that of the recipe.
        progress: Called after each look at the held-out data with its record.
        stop: Asked several times a minute; when it is true, training ends with the best model so far.
        given: Columns that are known of each example and not modeled, or ``"label"`` for the labels of the data: the
            model is then one of p(x | given). Wherever it is applied, it takes them from the columns of the data.
        context: The same by name, as a mapping (``{"digit": digits}``) or a frame, where they are no columns of the
            data; or numbers without names, one row for each example, which are then needed wherever it is applied.
        memory: The most memory that the values may take, such as ``"2GB"``; by default a quarter of what is available.
            A ``.npy`` file, a Parquet file or a folder of these with more is read in blocks while it is trained on; see
            `reparax.data.opened` and `reparax.data.Stream`.
        checkpoints: A folder for the state of training, which is saved there now and then and at the end; the last two
            checkpoints are kept. By default nothing is saved.
        resume: Go on from the newest checkpoint, of the same data and settings; if there is none, from the beginning.
        checkpoint_seconds: How long to train between two checkpoints.
        devices: The number of devices of this process to train on, such as GPUs, each with its part of every batch; by
            default all that jax lists. The result is the same up to rounding.
        device: The kind of the devices: ``"cpu"`` or ``"gpu"``; by default that of the default device of jax.
        watchers: What follows the training: `reparax.training.HistoryFile`, `TensorBoard`, `MLflow`, or any object with
            the three methods of `reparax.training.Watcher`. Of an ensemble they are told the means over its members.
        **chosen: Fields of `reparax.recipe.Recipe`: ``latent_dim=16``, ``likelihood="bernoulli"``, ``seed=1``...; and
            options of its parts: ``beta=4.0``, or ``prior={"name": "normal-mixture", "num_components": 6}``.

    Raises:
        DataError: The data cannot be read, or the likelihood has no density for such data.
        RecipeError: A setting is out of range, parts do not go together, or parts are chosen along with a custom model.
        TrainingError: The objective is not finite from the start, or the model is worse than before training and than
            the data's own marginals.
        ArtifactError: The checkpoints are of other data or settings, or all damaged.
        OutputError: The folder of the checkpoints cannot be written, or another fit writes to it.
        ProcessLost: Of several processes that train the model, another one has ended.

    Warns:
        TrainingWarning: Steps of training were not finite.
        CheckpointWarning: A checkpoint could not be written or is damaged, or there is none to resume.
        ColumnsLeftOut: Columns of a table are not modeled: identifiers, free text, empty ones.
    """
    among = Devices.of(devices, device)
    dataset = opened(data, memory=memory, given=given, context=context)
    if dataset is not data:
        for note in left_out(dataset.schema):
            warnings.warn(note, ColumnsLeftOut, stacklevel=2)
    require_fit(dataset.sample if isinstance(dataset, Stream) else dataset)
    dataset = described_for(dataset, chosen)
    # The encoder of a custom model need not be able to hide cells.
    settled: Settings = {} if model is None else {"hide": 0.0, "relations": "none"}
    recipe = plan(dataset, objective=objective, **(settled | chosen))
    if among.num_processes > 1:
        _refuse_for_processes(recipe)
    rows = rows_of(dataset, recipe)
    watch = Watch(watchers if among.is_first else (), to_builtins(recipe))
    ready = objective if isinstance(objective, AbstractObjective) else None
    if recipe.ensemble > 1:
        _refuse_for_ensembles(model)
        jobs = [Job.of(rows, recipe, member=member, objective=ready) for member in range(recipe.ensemble)]
        first = jobs[0]
        identity = partial(identity_of, first.fitted.model, recipe, first.stream or first.part, first.held_out)
        saves = checkpoints_in(checkpoints, identity, checkpoint_seconds, resume=resume)
        return done_of(jobs, _trained_together(jobs, watch, progress, stop, among, saves), recipe)
    if recipe.dp:
        _refuse_for_private(model, checkpoints, resume=resume)
    budget = Budget.of(recipe, rows[0]) if recipe.dp else None
    job = Job.of(rows, recipe, model=model, objective=ready, chosen=chosen, budget=budget)
    rows_of_job = (job.stream or job.part, job.held_out)
    identity = partial(identity_of, job.fitted.model, recipe, *rows_of_job, is_custom=model is not None)
    if among.num_processes > 1:
        weights, where = digest(job.fitted.model), (checkpoints is None, resume)
        require_same({**identity(), "first weights": weights, "checkpoints": where}, among)
    saves = checkpoints_in(checkpoints, identity, checkpoint_seconds, resume=resume)
    run = job.run(among)
    job.check(run)
    return job.done(train(**vars(run), progress=progress, stop=stop, checkpoints=saves, watch=watch))


def _trained_together(
    jobs: Sequence[Job],
    watch: Watch,
    progress: Progress | None,
    stop: Stop | None,
    devices: Devices,
    checkpoints: Checkpoints | None,
) -> Sequence[Result]:
    """The members of an ensemble, with the watchers told of the means over them."""
    before = history_in(checkpoints) if checkpoints is not None and checkpoints.resume else []
    if before and progress is not None:
        progress(before[-1])
    with watch.following(before) as ended:
        results = trained(jobs, watch.beside(progress), stop, devices=devices, checkpoints=checkpoints)
        ended(worst([result.status for result in results if isinstance(result, FitResult)]))
        return results


def _refuse_for_ensembles(model: Model | None) -> None:
    """Refuses what only a single model can be.

    Raises:
        RecipeError: A custom model.
    """
    if model is not None:
        raise RecipeError(
            expected="a model that a recipe describes, whose members differ in their first weights",
            got="a custom model for an ensemble",
            cure="leave model out, or ensemble; members can be fitted one by one, each newly built",
        )


def _refuse_for_processes(recipe: Recipe) -> None:
    """Refuses what several processes cannot train together.

    Raises:
        RecipeError: An ensemble, or a differentially private fit.
    """
    if recipe.ensemble > 1 or recipe.dp:
        raise RecipeError(
            expected="a single model without differential privacy, whose noise each process would draw for itself, to "
            "train in several processes",
            got="an ensemble" if recipe.ensemble > 1 else f"dp={recipe.dp:g}",
            cure="fit it in one process (--num-processes 1), which uses all devices of its machine",
        )


def _refuse_for_private(model: Model | None, checkpoints: Any, *, resume: bool) -> None:
    """Refuses what would keep more of the rows than the guarantee is for.

    Raises:
        RecipeError: A custom model, or checkpoints.
    """
    if model is not None or checkpoints is not None or resume:
        raise RecipeError(
            expected="a model that a recipe describes, and no checkpoints, for a differentially private fit: models of "
            "one's own are built from the rows, and checkpoints hold the key of the noise",
            got="a custom model" if model is not None else "checkpoints",
            cure="leave model, checkpoints and resume (--resume) out",
        )


def plan(data: Any, *, given: Iterable[str] = (), **chosen: Unpack[Chosen]) -> Recipe:
    """The recipe that `fit` would use: what is chosen, and the rest by the rules of `reparax.recipe.suggest`.

    Args:
        data: As of `fit`.
        given: As of `fit`.
        **chosen: Fields of a recipe, and options of its parts.

    Raises:
        DataError: The data cannot be read.
        RecipeError: A setting is out of range, or unknown.
    """
    dataset = described_for(opened(data, given=given), chosen)
    if isinstance(dataset, Dataset):
        dataset = classified(dataset, chosen.get("objective"))
    if dataset.context is not None and dataset.conditions is not None:
        raise RecipeError(
            expected="either names of what is given, or a context of numbers", got="both",
            cure="leave the context out, and give its columns by name",
        )  # fmt: skip
    chosen["context_dim"] = given_size(dataset.schema) if dataset.context is None else dataset.context.shape[1]
    given_valid = chosen.pop("valid", None)
    # A trimmed fit is short, of fixed length, and mostly has few rows: it needs all of them.
    default = 0.0 if chosen.get("trim") or chosen.get("dp") else held_out_share(len(dataset))
    valid = default if given_valid is None else checked("valid", given_valid)
    if isinstance(dataset, Stream):
        valid = dataset.held_out_share(valid)
    is_private = isinstance(dataset, Dataset) and dataset.release is not None
    count = dataset.schema.num_examples if is_private else len(dataset)
    return suggest(dataset.schema, max(1, round(count * (1 - valid))), valid=valid, **chosen)
