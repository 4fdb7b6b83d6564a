"""Fitting: from data, and the choices of the user, to a fitted model."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import msgspec
import numpy as np

from reparax import registry
from reparax.applications._door import require_context
from reparax.applications._encode import encode
from reparax.applications._marginals import require_sense
from reparax.applications._saves import checkpoints_in, identity_of
from reparax.data import (
    UNLABELED,
    Dataset,
    described_rows,
    left_out,
    marginal_oddity,
    read,
    related,
    repeated_labels,
    require_fit,
    split,
    with_classes,
    with_schema,
)
from reparax.errors import ColumnsLeftOut, RecipeError
from reparax.model import Model
from reparax.networks import context_size
from reparax.objectives import (
    AbstractCompanionObjective,
    AbstractObjective,
    Accompanied,
    InContext,
    check_objective,
)
from reparax.objectives.labels import SemiSupervised, WithLabels
from reparax.parts import option_names
from reparax.priors.learned import Moments
from reparax.recipe import (
    BesideContext,
    Choice,
    Chosen,
    FittedModel,
    Recipe,
    Settings,
    build,
    checked,
    choice,
    given_numbers,
    given_size,
    held_out_share,
    name_of,
    part_of,
    suggest,
)
from reparax.recipe import objective as recipe_objective
from reparax.reparameterization import is_reparameterizable
from reparax.tables import HidingCells, adapter_of, is_for_rows
from reparax.training import SECONDS, Checkpoints, Progress, Stop, cosine_adam, sees_batch
from reparax.training import fit as train

COMPANION = 1 << 30
"""Folded into the key for the initial weights of a companion, so that the noise of training is the same without it."""

LABELED_SHARE = 0.1
"""The fraction of labeled examples in a fit that takes labels; where fewer are labeled, they are repeated."""
MODEL_FIELDS = frozenset({"posterior", "prior", "likelihood", "network", "latent_dim", "width", "depth", "binarize"})
"""The fields of a recipe that define the model, not its training."""


def fit(
    data: Any,
    *,
    model: Model | None = None,
    objective: AbstractObjective | Choice | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    given: Iterable[str] = (),
    context: Any = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    checkpoint_seconds: float = SECONDS,
    **chosen: Unpack[Settings],
) -> FittedModel:
    """Fits a model to data; choices that are left open follow from the data by the rules of `reparax.recipe.suggest`.

    Some of the data are held out. Training stops when the bound on them no longer rises, and keeps the best model.
    Ctrl-C stops training early and keeps the best model so far.

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
        checkpoints: A folder for the state of training, which is saved there now and then and at the end; the last two
            checkpoints are kept. By default nothing is saved.
        resume: Go on from the newest checkpoint, of the same data and settings; if there is none, from the beginning.
        checkpoint_seconds: How long to train between two checkpoints.
        **chosen: Fields of `reparax.recipe.Recipe`: ``latent_dim=16``, ``likelihood="bernoulli"``, ``seed=1``...; and
            options of its parts: ``beta=4.0``, or ``prior={"name": "normal-mixture", "num_components": 6}``.

    Raises:
        DataError: The data cannot be read, or the likelihood has no density for such data.
        RecipeError: A setting is out of range, parts do not go together, or parts are chosen along with a custom model.
        TrainingError: The objective is not finite from the start, or the model is worse than before training and than
            the data's own marginals.
        ArtifactError: The checkpoints are of other data or settings, or all damaged.
        OutputError: The folder of the checkpoints cannot be written, or another fit writes to it.

    Warns:
        TrainingWarning: Steps of training were not finite.
        CheckpointWarning: A checkpoint could not be written or is damaged, or there is none to resume.
        ColumnsLeftOut: Columns of a table are not modeled: identifiers, free text, empty ones.
    """
    dataset = _classified(read(data, given=given, context=context), objective)
    if dataset is not data:
        for note in left_out(dataset.schema):
            warnings.warn(note, ColumnsLeftOut, stacklevel=2)
    require_fit(dataset)
    # The encoder of a custom model need not be able to hide cells.
    settled: Settings = {} if model is None else {"hide": 0.0, "relations": "none"}
    recipe = plan(dataset, objective=objective, **(settled | chosen))
    part, held_out = (dataset, None) if recipe.valid == 0 else split(dataset, recipe.valid, recipe.seed)
    part, held_out = trimmed(part, recipe.trim), None if held_out is None else trimmed(held_out, recipe.trim)
    part, held_out = _with_numbers(_drawn(_related(part, recipe), recipe), held_out)
    initial, training = jax.random.split(jax.random.key(recipe.seed))
    if model is None:
        # What is given by name is standardized by its schema.
        contexts = part.context if part.conditions is None else None
        untrained = build(recipe, part.schema, key=initial, contexts=contexts)
        fitted = FittedModel(untrained, part.schema, recipe, frame_kind=dataset.frame_kind)
    else:
        _refuse_parts(chosen, recipe)
        require_context(context_size(model), recipe.context_dim)
        fitted = FittedModel(model, part.schema, frame_kind=dataset.frame_kind)
    ready = objective if isinstance(objective, AbstractObjective) else None
    labeled = 0 if part.classes is None else int((part.classes >= 0).sum())
    steps = _steps_per_epoch(recipe, part)
    objective = recipe_objective(recipe, steps, ready, num_examples=len(part), num_labeled=labeled)
    check_objective(objective, fitted.model)
    identity = partial(identity_of, fitted.model, recipe, part, held_out)
    watched = _Watched(progress, stop, checkpoints_in(checkpoints, identity, checkpoint_seconds, resume=resume))
    return _train(fitted, recipe, objective, part, held_out, key=training, watched=watched)


class _Watched(NamedTuple):
    """Who watches training, may end it, and keeps its state."""

    progress: Progress | None
    stop: Stop | None
    checkpoints: Checkpoints | None


def trimmed(dataset: Dataset, fraction: float) -> Dataset:
    """The rows without the fraction with the most anomalous single columns, in their order; the schema is unchanged.

    Raises:
        RecipeError: The data are not a table.
    """
    if fraction == 0:
        return dataset
    columns = dataset.schema.columns
    if columns is None:
        raise RecipeError(
            expected="a table to trim", got=f"data of kind {dataset.schema.kind}", cure="leave --trim out"
        )
    oddity = marginal_oddity(dataset.values.astype(np.float64), columns)
    kept = np.argsort(oddity, kind="stable")[: max(1, round(len(dataset) * (1 - fraction)))]
    return dataset.take(np.sort(kept))


def _related(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The data with the relations between their columns that the recipe asks for in their schema.

    Raises:
        RecipeError: Relations are asked for, but the data are not modeled column by column.
    """
    columns = dataset.schema.columns
    if columns is None:
        return dataset
    if recipe.relations == "none":
        return replace(dataset, schema=msgspec.structs.replace(dataset.schema, relations=(), constraints=()))
    if not is_for_rows(registry.load("likelihoods", recipe.name("likelihood"))):
        raise RecipeError(
            expected="the columns likelihood to keep relations between columns",
            got=f"the {recipe.name('likelihood')} likelihood with relations={recipe.relations}",
            cure="leave --relations out",
        )
    return replace(dataset, schema=related(dataset.schema, dataset.values, find=recipe.relations == "found"))


def _with_numbers(part: Dataset, held_out: Dataset | None) -> tuple[Dataset, Dataset | None]:
    """The rows of the fit, and those held out, with what is given of them as numbers, described by those of the fit."""
    if part.conditions is None:
        return part, held_out
    given = described_rows(part.conditions).schema

    def with_numbers(dataset: Dataset) -> Dataset:
        assert dataset.conditions is not None
        described = with_schema(dataset, msgspec.structs.replace(dataset.schema, given=given))
        return replace(described, context=given_numbers(given, dataset.conditions.values))

    return with_numbers(part), None if held_out is None else with_numbers(held_out)


def _drawn(dataset: Dataset, recipe: Recipe) -> Dataset:
    """At most as many rows as the recipe says, drawn at random, in their order; the schema is unchanged."""
    if not 0 < recipe.rows < len(dataset):
        return dataset
    order = np.random.default_rng(recipe.seed).permutation(len(dataset))
    return dataset.take(np.sort(order[: recipe.rows]))


def _steps_per_epoch(recipe: Recipe, part: Dataset) -> int:
    return max(1, len(part) // min(recipe.batch_size, len(part)))


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
    dataset = _classified(read(data, given=given), chosen.get("objective"))
    if dataset.context is not None and dataset.conditions is not None:
        raise RecipeError(
            expected="either names of what is given, or a context of numbers", got="both",
            cure="leave the context out, and give its columns by name",
        )  # fmt: skip
    chosen["context_dim"] = given_size(dataset.schema) if dataset.context is None else dataset.context.shape[1]
    given_valid = chosen.pop("valid", None)
    # A trimmed fit is short, of fixed length, and mostly has few rows: it needs all of them.
    default = 0.0 if chosen.get("trim") else held_out_share(len(dataset))
    valid = default if given_valid is None else checked("valid", given_valid)
    return suggest(dataset.schema, max(1, round(len(dataset) * (1 - valid))), valid=valid, **chosen)


def _classified(dataset: Dataset, objective: Any) -> Dataset:
    """The data with their labels as classes, if the objective takes labels.

    Raises:
        DataError: It does, but there are none.
    """
    takes = registry.load("objectives", name_of(choice("objective", "elbo" if objective is None else objective)))
    return with_classes(dataset) if takes.takes_labels and dataset.classes is None else dataset


def _examples(fitted: FittedModel, part: Dataset) -> Any:
    """The input of a bound: the values as stored on the device, with their contexts if there are any."""
    values = fitted.units.trained_on(part.values)
    return values if part.context is None else (values, part.context)


def _trained_with(objective: AbstractObjective, recipe: Recipe, part: Dataset) -> Any:
    if recipe.hide and isinstance(objective, AbstractCompanionObjective):
        raise RecipeError(
            expected="no hidden cells for an objective with a companion, which would learn from altered rows",
            got=f"hide={recipe.hide:g}",
            cure="leave --hide out",
        )
    wrap = _Wrap(recipe.hide, part.context is not None)
    return WithLabels(objective, wrap) if isinstance(objective, SemiSupervised) else wrap(objective)


class _Wrap(NamedTuple):
    """Makes an objective one that hides cells, and one of examples in their context."""

    hide: float
    in_context: bool

    def __call__(self, objective: Any) -> Any:
        hiding = HidingCells(objective, self.hide) if self.hide else objective
        return InContext(hiding) if self.in_context else hiding


def _with_companion(model: Model, objective: AbstractObjective, key: jax.Array) -> Model | Accompanied:
    """What is trained: the model, with a companion if the objective has one."""
    if not isinstance(objective, AbstractCompanionObjective):
        return model
    return Accompanied(model, objective.companion(model, key=jax.random.fold_in(key, COMPANION)))


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
    middle = jnp.broadcast_to(jnp.asarray(fitted.units.summary.mean, jnp.float32), fitted.units.summary.event_shape)
    q = (model if recipe.context_dim == 0 else model.given(jnp.zeros(recipe.context_dim))).posterior(middle)
    if through_draws and (is_reparameterizable(q) or not model.posterior.has_density):
        return
    raise RecipeError(
        expected="pathwise gradients for an objective that sees its batch, as score-function gradients would be biased",
        got=f"the estimator {name} for {type(q).__name__}",
        cure="choose a reparameterizable posterior, such as --posterior diagonal-normal, and --estimator auto",
    )


def _train(
    fitted: FittedModel,
    recipe: Recipe,
    objective: AbstractObjective,
    part: Dataset,
    held_out: Dataset | None,
    *,
    key: jax.Array,
    watched: _Watched,
) -> FittedModel:
    units = fitted.units
    transform = units.transform_of(part.values)
    transform = transform if part.context is None else BesideContext(transform)
    wrap = _Wrap(0.0, part.context is not None)
    trainee = _with_companion(fitted.model, objective, key)
    _refuse_other_estimators(fitted, objective, wrap(objective), trainee, _examples(fitted, part), transform, recipe)
    if recipe.hide and not adapter_of(fitted.model.likelihood).is_table:
        raise RecipeError(
            expected="a table with the columns likelihood for hidden cells",
            got=f"data of kind {part.schema.kind} with the {recipe.name('likelihood')} likelihood",
            cure="leave --hide out",
        )
    judge = wrap(objective)
    examples, unseen = _examples(fitted, part), None if held_out is None else _examples(fitted, held_out)
    if isinstance(objective, SemiSupervised):
        assert part.classes is not None
        part, copies = repeated_labels(part, LABELED_SHARE, objective.repeats)
        objective = replace(objective, repeats=copies)
        examples, transform, judge = (
            (_examples(fitted, part), part.classes),
            BesideContext(transform),
            WithLabels(objective, wrap),
        )
        # The labels of held-out examples remain unseen.
        unseen = None if held_out is None else (unseen, np.full(len(held_out), UNLABELED, np.int32))
    result = train(
        trainee,
        _trained_with(objective, recipe, part),
        examples,
        key=key,
        optimizer=cosine_adam(
            recipe.learning_rate, _steps_per_epoch(recipe, part) * recipe.epochs, recipe.weight_decay
        ),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        valid=unseen,
        patience=None if held_out is None else recipe.patience,
        warmup=recipe.warmup_epochs,
        judge=judge,
        transform=transform,
        **watched._asdict(),
    )
    best = result.model
    model, companion = (best.model, best.companion) if isinstance(best, Accompanied) else (best, None)
    trained = replace(fitted, model=model, companion=companion, history=result.history, status=result.status)
    prior = trained.model.prior
    if isinstance(prior, Moments):
        fitted_prior = prior.fitted_to(encode(trained, part, context=part.context if part.conditions is None else None))
        trained = replace(trained, model=Model(trained.model.posterior, fitted_prior, trained.model.likelihood))
    if held_out is not None and result.is_worse_than_untrained:
        require_sense(trained, part, held_out, chosen=recipe.learning_rate)
    return trained
