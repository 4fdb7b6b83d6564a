"""What is trained: the rows of the fit, the model before training, and its objective, ready for the loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import msgspec
import numpy as np

from reparax import registry
from reparax.applications._differential import Budget, require_budget, require_single_rows
from reparax.applications._door import require_context
from reparax.applications._encode import encode
from reparax.applications._marginals import require_sense
from reparax.applications._parts import known_by
from reparax.applications._rows_of_fit import RowsOfFit
from reparax.applications._stream import StreamedRows
from reparax.data import (
    UNLABELED,
    Dataset,
    Stream,
    repeated_labels,
)
from reparax.errors import DataError, RecipeError, TrainingError
from reparax.model import Model
from reparax.networks import context_size
from reparax.objectives import (
    AbstractCompanionObjective,
    AbstractObjective,
    Accompanied,
    ByDimension,
    InContext,
    InPrecision,
    Penalized,
    check_objective,
    with_low_networks,
)
from reparax.objectives.labels import SemiSupervised, WithLabels, check_classes
from reparax.parts import option_names
from reparax.priors.learned import Moments
from reparax.recipe import BesideContext, FittedModel, Recipe, build, part_of
from reparax.recipe import objective as recipe_objective
from reparax.reparameterization import is_reparameterizable
from reparax.tables import HidingCells, HidingViews, ViewsAdapter, adapter_of
from reparax.training import (
    Checkpoints,
    Devices,
    Ended,
    FitResult,
    Progress,
    Result,
    Run,
    Status,
    Stop,
    cosine_adam,
    fit_many,
    sees_batch,
)

COMPANION = 1 << 30
"""Folded into the key for the initial weights of a companion, so that the noise of training is the same without it."""
MEMBER = 1 << 29
"""Folded into the key of the seed, plus its number, for all random numbers of a member of an ensemble but the first."""

ORDER = 1 << 28
"""Folded into the key of the seed for the order of a stream, which members of an ensemble share: they read it once."""

LABELED_SHARE = 0.1
"""The fraction of labeled examples in a fit that takes labels; where fewer are labeled, they are repeated."""

MODEL_FIELDS = frozenset({"posterior", "prior", "likelihood", "network", "latent_dim", "width", "depth", "binarize"})
"""The fields of a recipe that define the model, not its training."""


@dataclass(frozen=True)
class Job:
    """One model to train.

    Attributes:
        fitted: The model before training, with what else is known of it.
        recipe: The recipe.
        objective: The objective.
        part: The rows of the fit; of a stream a sample of them.
        held_out: The rows that are held out.
        known: The rows that the fit is recognized by.
        key: The key of all noise of training.
        budget: The noise and the guarantee of a differentially private fit; None for any other.
        stream: The rows of the fit, if they are read in blocks.
    """

    fitted: FittedModel
    recipe: Recipe
    objective: AbstractObjective
    part: Dataset
    held_out: Dataset | None
    known: Dataset
    key: jax.Array
    budget: Budget | None = None
    stream: Stream | None = None

    @classmethod
    def of(
        cls,
        rows: RowsOfFit,
        recipe: Recipe,
        *,
        member: int = 0,
        model: Model | None = None,
        objective: AbstractObjective | None = None,
        chosen: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> "Job":
        """The job of a recipe.

        Args:
            rows: What `rows_of` gave.
            recipe: The recipe.
            member: The number of the member of an ensemble.
            model: A custom model.
            objective: The objective itself, if the user gave one.
            chosen: What the user chose, of which nothing may be about parts along with a custom model.
            budget: Of a differentially private fit.

        Raises:
            RecipeError: Parts do not go together, or are chosen along with a custom model.
        """
        all_rows, held_out, known = rows
        stream = all_rows if isinstance(all_rows, Stream) else None
        part = all_rows.sample if isinstance(all_rows, Stream) else all_rows
        base = jax.random.key(recipe.seed)
        initial, training = jax.random.split(jax.random.fold_in(base, MEMBER + member) if member else base)
        if model is None:
            # What is given by name is standardized by its schema.
            contexts = part.context if part.conditions is None else None
            untrained = build(recipe, part.schema, key=initial, contexts=contexts)
            fitted = FittedModel(
                untrained, part.schema, recipe, frame_kind=part.frame_kind, frame_labels=part.frame_labels
            )
            _refuse_gaps_held_out(fitted, recipe, held_out)
        else:
            _refuse_parts(chosen or {}, recipe)
            require_context(context_size(model), recipe.context_dim)
            fitted = FittedModel(model, part.schema, frame_kind=part.frame_kind, frame_labels=part.frame_labels)
        labeled = 0 if part.classes is None else int((part.classes >= 0).sum())
        steps = _steps_per_epoch(recipe, all_rows)
        ready = recipe_objective(recipe, steps, objective, num_examples=len(all_rows), num_labeled=labeled)
        check_objective(ready, fitted.model)
        if part.classes is not None:
            check_classes(*_typical(fitted, recipe), part.schema.classes)
        training = training if budget is None else budget.key
        return cls(fitted, recipe, ready, part, held_out, known, training, budget, stream)

    def run(self, devices: Devices = Devices()) -> Run[Model | Accompanied]:
        """What the loop trains.

        Args:
            devices: Where.

        Raises:
            RecipeError: Cells are to be hidden where there are none, or from a companion.
        """
        recipe, part = self.recipe, self.part
        require_budget(recipe, self.budget, self.fitted.model, part)
        if recipe.hide and not (part.schema.views or adapter_of(self.fitted.model.likelihood).is_table):
            raise RecipeError(
                expected="a table with the columns likelihood for hidden cells, or several views",
                got=f"data of kind {part.schema.kind} with the {recipe.name('likelihood')} likelihood",
                cure="leave --hide out",
            )
        seen = self._with_labels() if part.classes is not None else self._seen()
        return Run(
            _with_companion(self.fitted.model, self.objective, self.key),
            self._in_precision(seen.objective),
            seen.examples if self.stream is None else StreamedRows(self.stream, self.fitted.binarize),
            key=self.key,
            optimizer=cosine_adam(recipe.learning_rate, seen.steps_per_epoch * recipe.epochs, recipe.weight_decay),
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            valid=seen.held_out,
            patience=None if self.held_out is None else recipe.patience,
            warmup=recipe.warmup_epochs,
            judge=seen.judge,
            transform=seen.transform,
            private=None if self.budget is None else self.budget.private,
            devices=devices,
            order=None if self.stream is None else jax.random.fold_in(jax.random.key(recipe.seed), ORDER),
        )

    def _seen(self) -> "_Seen":
        """What training sees."""
        transform = self.fitted.units.transform_of(self.part.values)
        return _Seen(
            self._trained_with(),
            self._wrap(ByDimension(self.objective)),
            _examples(self.fitted, self.part),
            None if self.held_out is None else _examples(self.fitted, self.held_out),
            transform if self.part.context is None else BesideContext(transform),
            _steps_per_epoch(self.recipe, self.part if self.stream is None else self.stream),
        )

    def _with_labels(self) -> "_Seen":
        """What training sees if it takes labels: those of held-out examples remain unseen."""
        assert isinstance(self.objective, SemiSupervised)
        plain = self._seen()
        part, copies = repeated_labels(self.part, LABELED_SHARE, self.objective.repeats)
        objective = replace(self.objective, repeats=copies)
        unknown = None if self.held_out is None else np.full(len(self.held_out), UNLABELED, np.int32)
        return _Seen(
            WithLabels(objective, self._wrap._replace(hide=self.recipe.hide)),
            WithLabels(objective, self._wrap),
            (_examples(self.fitted, part), part.classes),
            None if unknown is None else (plain.held_out, unknown),
            BesideContext(plain.transform),
            _steps_per_epoch(self.recipe, part),
        )

    @property
    def _wrap(self) -> "_Wrap":
        adapter = adapter_of(self.fitted.model.likelihood)
        views = adapter.layout.value.slices if isinstance(adapter, ViewsAdapter) else ()
        return _Wrap(0.0, self.part.context is not None, views=views)

    def _trained_with(self) -> Any:
        """The objective of training.

        Raises:
            RecipeError: Cells are to be hidden, and the objective has a companion.
        """
        if self.recipe.hide and isinstance(self.objective, AbstractCompanionObjective):
            raise RecipeError(
                expected="no hidden cells for an objective with a companion, which would learn from altered rows",
                got=f"hide={self.recipe.hide:g}",
                cure="leave --hide out",
            )
        return self._wrap._replace(hide=self.recipe.hide, penalized=True)(self.objective)

    def _in_precision(self, objective: Any) -> Any:
        """The objective, with the products of the recipe's precision; looks and all that is reported have float32.

        Raises:
            RecipeError: The model has no layer for that precision.
        """
        precision = self.recipe.precision
        if precision == "bfloat16":
            with_low_networks(self.fitted.model)
        return objective if precision == "float32" else InPrecision(objective, precision)

    def check(self, run: Run[Any]) -> None:
        """Refuses wrong gradients of an objective that sees its batch; depends on the structure alone.

        Raises:
            RecipeError: The objective sees its batch, and the draws are not differentiated, or single rows would matter
                by other rows' gradients in a differentially private fit.
        """
        plain = self._seen()
        if self.budget is not None:
            require_single_rows(run, self.recipe)
        _refuse_other_estimators(
            self.fitted, self.objective, plain.judge, run.model, plain.examples, plain.transform, self.recipe
        )

    def done(self, result: FitResult[Any]) -> FittedModel:
        """The fitted model.

        Raises:
            TrainingError: It is worse than before training and than the data's own marginals.
        """
        best = result.model
        model, companion = (best.model, best.companion) if isinstance(best, Accompanied) else (best, None)
        trained = replace(self.fitted, model=model, companion=companion, history=result.history, status=result.status)
        if self.budget is None:
            trained = known_by(trained, self.known)
        else:
            trained = replace(trained, history=[], guarantee=self.budget.guarantee)
        part, prior = self.part, trained.model.prior
        if isinstance(prior, Moments):
            codes = encode(trained, part, context=part.context if part.conditions is None else None)
            trained = replace(
                trained, model=Model(trained.model.posterior, prior.fitted_to(codes), trained.model.likelihood)
            )
        if self.held_out is not None and result.is_worse_than_untrained:
            require_sense(trained, part, self.held_out, chosen=self.recipe.learning_rate)
        return trained


def trained(
    jobs: Sequence[Job],
    progress: Progress | None,
    stop: Stop | None,
    ended: Ended | None = None,
    *,
    devices: Devices = Devices(),
    checkpoints: Checkpoints | None = None,
) -> list[Result]:
    """The results of jobs that are trained at once; the arguments are those of `reparax.training.fit_many`."""
    runs, known = [], set()
    for job in jobs:
        run = job.run(devices)
        structure = msgspec.json.encode(msgspec.structs.replace(job.recipe, seed=0))
        if structure not in known:
            job.check(run)
        known.add(structure)
        runs.append(run)
    return fit_many(runs, progress=progress, stop=stop, ended=ended, checkpoints=checkpoints)


def done_of(jobs: Sequence[Job], results: Sequence[Result], recipe: Recipe) -> FittedModel:
    """The fitted model of a recipe, from the jobs of its members.

    Raises:
        TrainingError: One of them could not be trained.
    """
    fitted = []
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, TrainingError):
            raise result
        fitted.append(job.done(result))
    if len(fitted) == 1:
        return fitted[0]
    first, *others = (replace(one, recipe=msgspec.structs.replace(recipe, ensemble=1)) for one in fitted)
    return replace(first, recipe=recipe, others=tuple(others), status=worst([one.status for one in fitted]))


def worst(statuses: Sequence[Status]) -> Status:
    """How several runs ended together: interrupted or diverged if one of them was, or if there is none."""
    if not statuses or "diverged" in statuses:
        return "interrupted" if "interrupted" in statuses else "diverged"
    return "interrupted" if "interrupted" in statuses else statuses[0]


def _steps_per_epoch(recipe: Recipe, part: Dataset | Stream) -> int:
    is_private = isinstance(part, Dataset) and part.release is not None
    count = part.schema.num_examples if is_private else len(part)
    return max(1, count // min(recipe.batch_size, count))


def _refuse_parts(chosen: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuses settings that would have no effect on a custom model.

    Raises:
        RecipeError: One of them is chosen.
    """
    known = {field.name for field in msgspec.structs.fields(Recipe)}
    of_objective = option_names(type(part_of("objective", recipe.objective)))
    idle = sorted(
        name for name, value in chosen.items()
        if value is not None
        and (name in MODEL_FIELDS or (name not in known and name.removeprefix("objective.") not in of_objective))
    )  # fmt: skip
    if idle:
        raise RecipeError(
            expected="only settings of the training along with model=...",
            got=", ".join(idle),
            cure="leave them out, or leave the model out so that they choose its parts",
        )


def _examples(fitted: FittedModel, part: Dataset) -> Any:
    """The input of training: the values as stored on the device, with their contexts if there are any."""
    values = fitted.units.trained_on(part.values)
    return values if part.context is None else (values, part.context)


class _Wrap(NamedTuple):
    """Makes an objective one that hides cells or views, one with the penalty of the posterior, one in their context.

    Attributes:
        hide: The largest fraction of cells, or the probability of views, to hide.
        in_context: Whether examples have a context.
        penalized: Whether the penalty is subtracted.
        views: Where each view is in an example; empty for data without views.
    """

    hide: float
    in_context: bool
    penalized: bool = False
    views: tuple[tuple[int, int], ...] = ()

    def __call__(self, objective: Any) -> Any:
        trained = Penalized(objective) if self.penalized else objective
        seen = HidingViews(trained, self.hide, self.views) if self.views else HidingCells(trained, self.hide)
        hiding = seen if self.hide else trained
        return InContext(hiding) if self.in_context else hiding


class _Seen(NamedTuple):
    """What training sees: the objectives of training and of looks, and the examples of both."""

    objective: Any
    judge: Any
    examples: Any
    held_out: Any
    transform: Any
    steps_per_epoch: int


def _refuse_gaps_held_out(fitted: FittedModel, recipe: Recipe, held_out: Dataset | None) -> None:
    """Refuses gaps among the held-out rows alone, for a model whose examples are never missing anything.

    Raises:
        DataError: There are such gaps.
    """
    if held_out is None or held_out.schema.value_kind != "mixed" or held_out.schema.views:
        return
    if adapter_of(fitted.model.likelihood).is_table:
        return
    count = int(np.isnan(held_out.values).sum())
    if count:
        raise DataError(
            expected=f"a table of numbers without gaps for the {recipe.name('likelihood')} likelihood",
            got=f"{count} missing cell{'' if count == 1 else 's'} in rows that are held out",
            cure="leave --likelihood out (columns takes such tables), or leave such rows out",
        )


def _with_companion(model: Model, objective: AbstractObjective, key: jax.Array) -> Model | Accompanied:
    """What is trained: the model, with a companion if the objective has one."""
    if not isinstance(objective, AbstractCompanionObjective):
        return model
    return Accompanied(model, objective.companion(model, key=jax.random.fold_in(key, COMPANION)))


def _typical(fitted: FittedModel, recipe: Recipe) -> tuple[Model, jax.Array]:
    """The plain model of some context, and an example in the middle of the data."""
    summary, model = fitted.units.summary, fitted.model
    middle = jnp.broadcast_to(jnp.asarray(summary.mean, jnp.float32), summary.event_shape)
    return (model.given(jnp.zeros(recipe.context_dim)) if recipe.context_dim else model), middle


def _refuse_other_estimators(
    fitted: FittedModel,
    objective: AbstractObjective,
    judge: Any,
    trainee: Model | Accompanied,
    examples: Any,
    transform: Any,
    recipe: Recipe,
) -> None:
    """Refuses score-function gradients for an objective that sees its batch.

    They weigh each score by the objective of the same example, and miss the effect of a draw on the other examples.

    Raises:
        RecipeError: The objective sees its batch, and the draws are not differentiated.
    """
    model = fitted.model
    if not sees_batch(trainee, judge, examples, batch_size=recipe.batch_size, transform=transform):
        return
    name = getattr(objective, "estimator", "auto")
    through_draws = name == "auto" or registry.load("estimators", name)().differentiates_the_sample
    plain, middle = _typical(fitted, recipe)
    q = plain.posterior(middle)
    if through_draws and (is_reparameterizable(q) or not model.posterior.has_density):
        return
    raise RecipeError(
        expected="pathwise gradients for an objective that sees its batch, as score-function gradients would be biased",
        got=f"the estimator {name} for {type(q).__name__}",
        cure="choose a reparameterizable posterior, such as --posterior diagonal-normal, and --estimator auto",
    )
