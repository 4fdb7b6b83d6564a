"""Many models fitted at once to the same data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from reparax.applications._fit import plan
from reparax.applications._job import Job, done_of, trained
from reparax.applications._rows_of_fit import RowsOfFit, row_settings, rows_of
from reparax.data import Dataset, Stream, opened, require_fit
from reparax.errors import RecipeError, TrainingError
from reparax.objectives import AbstractObjective
from reparax.recipe import Chosen, FittedModel, Recipe
from reparax.training import Progress, Result, Stop

Fitted = FittedModel | TrainingError


@dataclass(frozen=True)
class Planned:
    """One model that is to be fitted.

    Attributes:
        chosen: What is chosen of its recipe.
        recipe: Its recipe.
    """

    chosen: Mapping[str, Any]
    recipe: Recipe


def fit_many(
    data: Any,
    settings: Iterable[Mapping[str, Any]],
    *,
    given: Iterable[str] = (),
    context: Any = None,
    memory: str | float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    ended: Callable[[int, FittedModel], None] | None = None,
    **chosen: Unpack[Chosen],
) -> list[FittedModel]:
    """Fits many models to the same data, each as `fit` would with its settings, up to rounding.

    Models of equal structure are trained side by side in one compiled program: those that differ in the seed, in the
    learning rate or in weights such as ``beta``. Others follow one after another.

    Args:
        data: As of `fit`.
        settings: For each model what is chosen in addition: ``[{"beta": 0.5}, {"beta": 4.0, "seed": 1}]``.
        given: As of `fit`.
        context: As of `fit`.
        memory: As of `fit`. Of a file that is read in blocks, models of one seed read them once.
        progress: Called after each look at the held-out data with a record of the means over the models that are
            trained side by side.
        stop: As of `fit`; ends all of them.
        ended: Called with the place of a model and the model, as soon as it is fitted.
        **chosen: What is chosen for all of them, as of `fit`.

    Raises:
        DataError: As of `fit`.
        RecipeError: As of `fit`.
        TrainingError: One of them could not be trained; after the others are fitted, so that ``ended`` had these.
    """
    dataset = opened(data, memory=memory, given=given, context=context)
    require_fit(dataset.sample if isinstance(dataset, Stream) else dataset)
    planned = [planned_of(dataset, {**chosen, **each}) for each in settings]
    errors: list[TrainingError] = []

    def keep(place: int, fitted: Fitted) -> None:
        if isinstance(fitted, TrainingError):
            errors.append(fitted)
        elif ended is not None:
            ended(place, fitted)

    fitted = fit_planned(dataset, planned, progress=progress, stop=stop, ended=keep)
    if errors:
        raise errors[0]
    return [one for one in fitted if isinstance(one, FittedModel)]


def planned_of(dataset: Dataset | Stream, chosen: Mapping[str, Any]) -> Planned:
    """What is to be fitted with some choices.

    Raises:
        RecipeError: A setting is out of range, or unknown.
    """
    if "model" in chosen:
        raise RecipeError(
            expected="fields of a recipe and options of its parts", got="a custom model among many", cure="use rx.fit"
        )
    return Planned(chosen, plan(dataset, **chosen))


def fit_planned(
    dataset: Dataset | Stream,
    planned: Sequence[Planned],
    *,
    progress: Progress | None,
    stop: Stop | None,
    ended: Callable[[int, Fitted], None],
) -> list[Fitted]:
    """Fits models at once; one that cannot be trained is the error instead."""
    rows: dict[Any, RowsOfFit] = {}
    jobs: list[Job] = []
    owner: list[int] = []
    for place, each in enumerate(planned):
        of_rows = row_settings(each.recipe)
        rows[of_rows] = rows.get(of_rows) or rows_of(dataset, each.recipe)
        objective = each.chosen.get("objective")
        ready = objective if isinstance(objective, AbstractObjective) else None
        for member in range(each.recipe.ensemble):
            jobs.append(Job.of(rows[of_rows], each.recipe, member=member, objective=ready))
            owner.append(place)
    found: dict[int, Fitted] = {}
    waiting: dict[int, dict[int, Result]] = {place: {} for place in range(len(planned))}

    def keep(index: int, result: Result) -> None:
        place = owner[index]
        waiting[place][index] = result
        if len(waiting[place]) == planned[place].recipe.ensemble:
            of_place = sorted(waiting[place])
            found[place] = _done([jobs[i] for i in of_place], [waiting[place][i] for i in of_place], planned[place])
            ended(place, found[place])

    trained(jobs, progress, stop, keep)
    return [found[place] for place in range(len(planned))]


def _done(jobs: Sequence[Job], results: Sequence[Result], planned: Planned) -> Fitted:
    try:
        return done_of(jobs, results, planned.recipe)
    except TrainingError as error:
        return error
