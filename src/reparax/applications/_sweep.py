"""Sweeps: every combination of some settings, fitted with several seeds, and compared on held-out rows."""

import itertools
import json
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import msgspec
import numpy as np

from reparax import artifact
from reparax.applications._many import Fitted, Planned, fit_planned, planned_of
from reparax.applications._rows_of_fit import classified
from reparax.applications._saves import identity_of_data
from reparax.data import Dataset, Stream, opened, require_fit
from reparax.disk import atomic_write, is_left_behind, owned, unwritable
from reparax.errors import ArtifactError, OutputError, RecipeError, TrainingError
from reparax.recipe import Chosen, FittedModel, Recipe
from reparax.training import Progress, Stop

NOT_SWEPT = {
    "objective": "bounds of different objectives differ",
    "num_samples": "bounds of different tightness differ",
    "objective.num_samples": "bounds of different tightness differ",
    "likelihood": "densities of numbers and probabilities of levels differ",
    "binarize": "the data would differ",
    "valid": "the rows of the comparison would differ",
    "trim": "the rows of the comparison would differ",
    "ensemble": "the members already differ in the seed",
    "seed": "seeds=3 repeats every combination with three seeds",
}
"""What a sweep may not vary, and why: the held-out bounds would not be comparable."""
LARGEST = 10_000

MODELS, BEST, LOCK = "models", "best", "lock"
STATE, TABLE, NUMBERS = "sweep.json", "leaderboard.csv", "leaderboard.json"
NOTE = (
    "The held-out rows chose the best step of each fit and the order of this table, so the figures at its top are "
    "optimistic. Judge the chosen model on rows that the sweep has not seen."
)


@dataclass(frozen=True)
class Trial:
    """One fit of a sweep.

    Attributes:
        options: Its combination of the settings.
        seed: Its seed.
        bound: The best held-out bound, in nats per example; None if it could not be trained.
        status: How training ended, or why it could not.
    """

    options: Mapping[str, Any]
    seed: int
    bound: float | None
    status: str


@dataclass(frozen=True)
class Standing:
    """A combination of settings on the leaderboard.

    Attributes:
        options: The combination.
        bound: The mean over seeds of the best held-out bound, in nats per example; None if no fit could be trained.
        standard_error: Its standard error over the seeds; None for fewer than two.
        trials: The fits, one for each seed.
        behind: How far it is behind the best combination: the mean over the seeds that both have.
        behind_standard_error: Its standard error, of the differences seed by seed. It is what to compare combinations
            by: which rows are held out differs between seeds, and moves the bounds of all combinations alike.
    """

    options: Mapping[str, Any]
    bound: float | None
    standard_error: float | None
    trials: tuple[Trial, ...]
    behind: float | None = None
    behind_standard_error: float | None = None

    @property
    def failed(self) -> int:
        """How many of the fits could not be trained or diverged."""
        return sum(trial.bound is None or trial.status == "diverged" for trial in self.trials)


@dataclass(frozen=True)
class Sweep:
    """The result of a sweep.

    Attributes:
        leaderboard: The combinations, the best first: by the mean held-out bound, those with failed fits last.
        best: Of the best combination, the model of the seed with the best held-out bound; None if all fits failed.
        is_complete: Whether nothing was interrupted.
    """

    leaderboard: tuple[Standing, ...]
    best: FittedModel | None
    is_complete: bool = True


def sweep(
    data: Any,
    options: Mapping[str, Sequence[Any]],
    *,
    seeds: int = 3,
    folder: str | Path | None = None,
    resume: bool = False,
    given: Iterable[str] = (),
    context: Any = None,
    memory: str | float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    ended: Callable[[Trial], None] | None = None,
    **chosen: Unpack[Chosen],
) -> Sweep:
    """Fits every combination of some settings with several seeds, at once where it can, and compares them.

    Each fit is that of `fit` with the same settings and seed: a seed also determines which rows are held out. The means
    over seeds of the best held-out bounds order the combinations. As the held-out rows chose, the best figures are
    optimistic.

    Args:
        data: As of `fit`.
        options: The values of each setting: ``{"latent_dim": [2, 8, 32], "beta": [0.5, 1.0, 4.0]}``.
        seeds: How many seeds each combination is fitted with, from the chosen ``seed`` on (default 0).
        folder: Where to write the leaderboard (``leaderboard.csv``, ``leaderboard.json``), all models (``models/``) and
            the best one (``best/``), each a usual model folder; its parent folder must exist.
        resume: Go on with the sweep in the folder: finished fits are not repeated.
        given: As of `fit`.
        context: As of `fit`.
        memory: As of `fit_many`.
        progress: As of `fit_many`.
        stop: As of `fit`; the sweep then ends, and what has been finished can be resumed.
        ended: Called with each trial as soon as it has ended.
        **chosen: What is chosen for all of them, as of `fit`.

    Raises:
        DataError: As of `fit`.
        RecipeError: As of `fit`; or the held-out bounds of the combinations would not be comparable.
        OutputError: The folder cannot be written, or is not empty and nothing is to be resumed.
        ArtifactError: The folder holds a sweep of other data or settings.
    """
    dataset = opened(data, memory=memory, given=given, context=context)
    if isinstance(dataset, Dataset):
        # Labels that the objective takes are part of the data, which a resumed sweep must have too.
        dataset = classified(dataset, chosen.get("objective"))
    require_fit(dataset.sample if isinstance(dataset, Stream) else dataset)
    combinations, planned = _planned(dataset, options, seeds, chosen)
    if resume and folder is None:
        raise RecipeError(
            expected="the folder of a sweep to resume", got="none", cure="add folder=, or leave resume out"
        )
    with _stored(folder, dataset, planned, resume=resume) as store:
        known = {} if store is None else store.known()
        models: dict[int, FittedModel] = {}
        # As they were asked for: a part comes back from JSON as a mapping.
        trials = {place: replace(trial, options=combinations[place // seeds]) for place, trial in known.items()}
        left = [place for place in range(len(planned)) if place not in known]

        def keep(index: int, fitted: Fitted) -> None:
            place = left[index]
            trial = _trial(combinations[place // seeds], planned[place].recipe.seed, fitted)
            if trial.status == "interrupted":
                return
            trials[place] = trial
            if store is not None:
                store.keep(place, trial, fitted)
            elif isinstance(fitted, FittedModel):
                models[place] = fitted
            if ended is not None:
                ended(trial)

        fit_planned(dataset, [planned[place] for place in left], progress=progress, stop=stop, ended=keep)
        standings = _standings(combinations, trials, seeds)
        chosen_place = _best(standings, trials)
        best = None
        if chosen_place is not None:
            best = models[chosen_place] if store is None else store.model(chosen_place)
        result = Sweep(standings, best, len(trials) == len(planned))
        if store is not None:
            store.finish(result)
        return result


def _planned(
    dataset: Dataset | Stream, options: Mapping[str, Sequence[Any]], seeds: int, chosen: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[Planned]]:
    """The combinations, and the fits: of each combination one for each seed.

    Raises:
        RecipeError: They cannot be compared, or there are too many.
    """
    if not isinstance(options, Mapping):
        raise RecipeError(
            expected="a mapping from settings to lists of their values", got=f"{type(options).__name__} {options!r}",
            cure='write {"latent_dim": [2, 8]}; the folder is folder=',
        )  # fmt: skip
    for name, why in NOT_SWEPT.items():
        if name in options:
            raise RecipeError(
                expected="settings whose held-out bounds are comparable", got=f"{name} ({why})",
                cure="leave it out, or choose one value for all",
            )  # fmt: skip
    if chosen.get("ensemble") not in {None, 1}:
        raise RecipeError(
            expected="single models in a sweep", got=f"ensemble={chosen['ensemble']}",
            cure="sweep without it, then fit the best settings with it",
        )  # fmt: skip
    empty = [
        name
        for name, values in options.items()
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values)
    ]
    if empty:
        raise RecipeError(
            expected="a list of values for each setting", got=f"{empty[0]}={options[empty[0]]!r}",
            cure='write {"latent_dim": [2, 8]}',
        )  # fmt: skip
    if not isinstance(seeds, int) or not 1 <= seeds <= LARGEST:
        raise RecipeError(expected=f"a number of seeds from 1 to {LARGEST}", got=repr(seeds), cure="choose 3")
    count = math.prod(map(len, options.values())) * seeds
    if count > LARGEST:
        raise RecipeError(expected=f"at most {LARGEST:,} fits", got=f"{count:,}", cure="give fewer values")
    listed = {name: [_plain(value) for value in values] for name, values in options.items()}
    combinations = [dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values())]
    first = chosen.get("seed") or 0
    planned = [
        planned_of(dataset, {**chosen, **combination, "seed": first + seed})
        for combination in combinations
        for seed in range(seeds)
    ]
    _require_comparable([each.recipe for each in planned])
    return combinations, planned


def _plain(value: Any) -> Any:
    """The same, but numbers of numpy as those of Python, which JSON has."""
    return value.item() if isinstance(value, np.generic) else value


def _require_comparable(recipes: Sequence[Recipe]) -> None:
    """Refuses fits that hold out nothing, or of which some have a density and others none.

    Raises:
        RecipeError: They are such.
    """
    if recipes[0].valid == 0:
        raise RecipeError(
            expected="held-out rows to compare models on", got="valid=0", cure="leave --valid (and --trim) out"
        )
    kinds = {recipe.name("posterior") == "deterministic" for recipe in recipes}
    if len(kinds) > 1:
        raise RecipeError(
            expected="models that all have a density, or none", got="the deterministic posterior among others",
            cure="sweep it by itself",
        )  # fmt: skip


def _trial(options: Mapping[str, Any], seed: int, fitted: Fitted) -> Trial:
    if isinstance(fitted, TrainingError):
        return Trial(options, seed, None, str(fitted))
    bounds = [record.valid["bound"] for record in fitted.history if record.valid]
    best = max(bounds, default=-math.inf)
    return Trial(options, seed, best if math.isfinite(best) else None, fitted.status)


def _standings(combinations: Sequence[dict[str, Any]], trials: Mapping[int, Trial], seeds: int) -> tuple[Standing, ...]:
    """The combinations of which a trial has ended, the best first."""
    found = []
    for number, options in enumerate(combinations):
        places = range(number * seeds, (number + 1) * seeds)
        of_options = tuple(trials[place] for place in places if place in trials)
        if of_options:
            bounds = [trial.bound for trial in of_options if trial.bound is not None]
            found.append(Standing(options, *_mean(bounds), of_options))
    ranked = sorted(found, key=lambda one: (one.failed, -(one.bound if one.bound is not None else -math.inf)))
    return tuple(_compared(one, ranked[0]) for one in ranked)


def _mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean and its standard error."""
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return (float(np.mean(values)) if values else None), error


def _compared(one: Standing, best: Standing) -> Standing:
    """A combination with how far it is behind the best one."""
    of_best = {trial.seed: trial.bound for trial in best.trials}
    pairs = [(of_best.get(trial.seed), trial.bound) for trial in one.trials]
    behind = [high - bound for high, bound in pairs if high is not None and bound is not None]
    mean, error = _mean(behind)
    return replace(one, behind=mean, behind_standard_error=error)


def _best(standings: Sequence[Standing], trials: Mapping[int, Trial]) -> int | None:
    """The place of the best trial of the best combination."""
    if not standings:
        return None
    of_best = [(place, trial.bound) for place, trial in trials.items()
               if trial.options == standings[0].options and trial.bound is not None]  # fmt: skip
    return max(of_best, key=lambda pair: pair[1])[0] if of_best else None


@contextmanager
def _stored(
    folder: str | Path | None, dataset: Dataset | Stream, planned: Sequence[Planned], *, resume: bool
) -> Generator["_Store | None"]:
    """The folder of a sweep, for this process alone; None for no folder.

    Raises:
        OutputError: It cannot be written, another process writes to it, or it is not empty, with nothing to resume.
        ArtifactError: It holds another sweep, or none.
    """
    if folder is None:
        yield None
        return
    path = Path(folder).expanduser()
    _require_new_or_sweep(path, resume=resume)
    try:
        path.mkdir(exist_ok=True)
        (path / LOCK).touch()
    except OSError as error:
        raise unwritable(path, error) from error
    with owned(path / LOCK) as free:
        if not free:
            raise OutputError(
                expected=f"to be the only sweep that writes into {path}", got="another one, which is running",
                cure="wait for it, or choose another folder",
            )  # fmt: skip
        try:
            _require_new_or_sweep(path, resume=resume)  # it may have ended since
            yield _Store(path, dataset, planned)
        finally:
            (path / LOCK).unlink(missing_ok=True)


def _require_new_or_sweep(folder: Path, *, resume: bool) -> None:
    """Refuses a folder with something in it, unless it is a sweep that is to be resumed.

    Raises:
        OutputError: It is not empty, and nothing is to be resumed.
        ArtifactError: It holds no sweep.
    """
    if _is_new(folder):
        return
    if not resume:
        raise OutputError(
            expected=f"{folder} to be a new folder", got="one with something in it",
            cure="choose another name, or go on with the sweep in it (--resume, resume=True)",
        )  # fmt: skip
    if not (folder / STATE).is_file():
        raise _no_sweep(folder)


def _is_new(folder: Path) -> bool:
    """Whether there is nothing in a folder but what a sweep leaves that is killed before it begins to train."""
    if not folder.is_dir():
        return not folder.exists()
    names = {path.name for path in folder.iterdir() if not is_left_behind(path.name)}
    return names <= {LOCK, MODELS} and not (MODELS in names and any((folder / MODELS).iterdir()))


def _no_sweep(folder: Path) -> ArtifactError:
    return ArtifactError(
        expected=f"a sweep in {folder}", got="none that can be read",
        cure="choose another folder, or begin anew in a new one",
    )  # fmt: skip


class _Store:
    """The folder of a sweep, whose lock is held.

    Args:
        folder: The folder.
        dataset: The data.
        planned: All fits.

    Raises:
        OutputError: It cannot be written.
        ArtifactError: It holds another sweep, or none.
    """

    def __init__(self, folder: Path, dataset: Dataset | Stream, planned: Sequence[Planned]) -> None:
        self._folder = folder
        # As JSON gives it back.
        self._identity = json.loads(
            json.dumps({
                **identity_of_data(dataset), "recipes": [msgspec.to_builtins(each.recipe) for each in planned],
            })
        )  # fmt: skip
        self._trials: dict[int, Trial] = {} if _is_new(folder) else self._read()
        try:
            (folder / MODELS).mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
        self._write()

    def _read(self) -> dict[int, Trial]:
        """The finished trials of the folder whose models are whole."""
        try:
            content = json.loads((self._folder / STATE).read_text("utf-8"))
            identity = dict(content["identity"])
            known = {int(place): Trial(**trial) for place, trial in dict(content["trials"]).items()}
        except (OSError, ValueError, KeyError, TypeError):
            raise _no_sweep(self._folder) from None
        for name, asked in self._identity.items():
            if identity.get(name) != asked:
                raise ArtifactError(
                    expected=f"the {name} of the sweep in {self._folder}", got=f"other {name}",
                    cure="resume with the same data and options, or choose a new folder",
                )  # fmt: skip
        return {place: trial for place, trial in known.items() if trial.bound is None or self._is_whole(place)}

    def _is_whole(self, place: int) -> bool:
        try:
            artifact.check_whole(self._path(place))
        except ArtifactError:
            return False
        return True

    def known(self) -> dict[int, Trial]:
        """The trials that are finished."""
        return self._trials

    def keep(self, place: int, trial: Trial, fitted: Fitted) -> None:
        """Writes a finished trial: first its model, then that it is finished."""
        if isinstance(fitted, FittedModel):
            artifact.save(fitted, self._path(place))
        self._trials = {**self._trials, place: trial}
        self._write()

    def model(self, place: int) -> FittedModel:
        """The model of a trial."""
        recipe = self._identity["recipes"][place]
        modules = msgspec.convert(recipe, Recipe).own_modules()  # chosen by the user in this very call
        return artifact.load(self._path(place), allow=modules)

    def finish(self, result: Sweep) -> None:
        """Writes the leaderboard and the best model."""
        _write_text(self._folder / TABLE, _as_csv(result.leaderboard))
        _write_text(self._folder / NUMBERS, json.dumps(_as_json(result), indent=1, allow_nan=False) + "\n")
        if result.best is not None:
            artifact.save(result.best, self._folder / BEST)

    def _path(self, place: int) -> Path:
        return self._folder / MODELS / f"{place + 1:04}"

    def _write(self) -> None:
        trials = {str(place): msgspec.to_builtins(trial) for place, trial in sorted(self._trials.items())}
        content = {"format": "reparax sweep", "format_version": 1, "identity": self._identity, "trials": trials}
        _write_text(self._folder / STATE, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write_text(text, "utf-8")


def _as_json(result: Sweep) -> dict[str, Any]:
    return {
        "note": NOTE,
        "is_complete": result.is_complete,
        "leaderboard": [
            {**msgspec.to_builtins(standing), "failed": standing.failed} for standing in result.leaderboard
        ],
    }


def _as_csv(leaderboard: Sequence[Standing]) -> str:
    """One line for each combination, the best first."""
    import csv
    import io

    names = list(dict.fromkeys(name for standing in leaderboard for name in standing.options))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = ("bound", "standard_error", "behind", "behind_standard_error")
    writer.writerow(["rank", *names, "held_out_bound", *figures[1:], "seeds", "failed"])
    for rank, one in enumerate(leaderboard, 1):
        numbers = ["" if getattr(one, name) is None else repr(getattr(one, name)) for name in figures]
        values = [json.dumps(x) if isinstance(x, dict) else x for x in (one.options[name] for name in names)]
        writer.writerow([rank, *values, *numbers, len(one.trials), one.failed])
    return text.getvalue()
