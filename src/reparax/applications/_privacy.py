"""Whether a model and its synthetic rows give away the rows of the fit."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from reparax.applications._distances import Space, closest, comparable, equal_rows, neighbor_weights
from reparax.applications._door import dataset_of
from reparax.applications._measured import Measured, fraction, separation
from reparax.applications._mixture import mixed
from reparax.applications._parts import parts_of
from reparax.applications._rows import terms_of
from reparax.applications._rows_of_fit import trimmed
from reparax.applications._sample import sample_dataset
from reparax.data import Dataset, joint_values
from reparax.errors import DataError, RecipeError
from reparax.networks import context_size
from reparax.recipe import FittedModel

MOST_SYNTHETIC = 2000
MOST_SCORED = 1000
MOST_MEASURED = 1000
MOST_NUMBERS = 300_000_000
"""The most pairs of cells that are compared for distances, of as many rows of the fit as that allows: a few seconds."""
SAME_MEAN = 1e-6
"""Means of the rows of the fit may differ by this many standard deviations: the order of a sum."""


@dataclass(frozen=True)
class Privacy:
    """What a model and its synthetic rows give away of the rows of the fit, beside the same of held-out rows.

    The held-out rows are from the same source, and the model has not seen them: what is true of both gives nothing
    away. Reference for copies and distances: Platzer and Reutterer (2021), for the membership: Yeom et al. (2018).

    Attributes:
        num_fitted: The rows of the fit.
        num_held_out: The rows that were held out.
        num_synthetic: The synthetic rows.
        copies: The fraction of synthetic rows that equal a row of the fit.
        held_out_copies: The fraction of held-out rows that do.
        distance: The median distance of a synthetic row to the closest row of the fit; numbers count by the fraction
            of real rows between two of them, categories by 0 or 1.
        held_out_distance: The same of held-out rows.
        nearer: The fraction of synthetic rows whose closest real row is one of the fit rather than a held-out one, if
            there were as many of both: each held-out row counts as often as there are more rows of the fit. 0.5 if
            the model has learned no rows by heart, 1 if it copies them.
        membership: The probability that a row of the fit has a higher bound on log p(x) than a held-out one (the area
            under the ROC curve of the likelihood attack): 0.5 if the model gives nothing away.
    """

    num_fitted: int
    num_held_out: int
    num_synthetic: int
    copies: float
    held_out_copies: float
    distance: float
    held_out_distance: float
    nearer: Measured
    membership: Measured


def privacy(fitted: FittedModel, data: Any, *, synthetic: Any = None, num_samples: int = 100, seed: int = 0) -> Privacy:
    """Whether a model and its synthetic rows give away the rows of the fit: copies, closest rows, membership.

    Early stopping chose the model by the bound of the held-out rows, which can only make them look more like rows of
    the fit; by one number, so hardly.

    Args:
        fitted: The fitted model.
        data: The data of the fit: anything `reparax.data.read` reads, or a `Dataset`.
        synthetic: Synthetic rows, likewise; by default, 2,000 new ones are drawn.
        num_samples: K, the importance samples of each row for the membership.
        seed: The seed of synthetic rows and importance samples.

    Raises:
        DataError: The fit held out no rows, these are not its data, or the rows have another shape or kind.
        RecipeError: The model has a context without names, or the number of samples is below 1.
    """
    fitted.refuse_views("to measure privacy of", "fit a model of each view, and measure these")
    if context_size(fitted.model) and fitted.schema.given is None:
        raise RecipeError(
            expected="a model without a context, or one to which columns are given by name",
            got="a conditional model with a context of numbers, whose rows cannot be drawn by themselves",
            cure="fit with given=[...] to measure privacy",
        )
    part, held_out = _sides(fitted, dataset_of(fitted, data))
    drawn = (
        sample_dataset(fitted, MOST_SYNTHETIC, key=jax.random.key(seed))
        if synthetic is None
        else _thinned(dataset_of(fitted, synthetic), MOST_SYNTHETIC)
    )
    # What is given belongs to the rows that are handed out.
    columns = fitted.schema.joint.columns if fitted.binarize == "none" else None
    made, seen, unseen = (comparable(joint_values(rows), columns) for rows in (drawn, part, held_out))
    distance, held_out_distance, nearer = _distances(made, seen, unseen, columns)
    return Privacy(
        num_fitted=len(part), num_held_out=len(held_out), num_synthetic=len(made),
        copies=float(equal_rows(made, seen).mean()), held_out_copies=float(equal_rows(unseen, seen).mean()),
        distance=distance, held_out_distance=held_out_distance, nearer=nearer,
        membership=_membership(fitted, part, held_out, num_samples, seed),
    )  # fmt: skip


def _sides(fitted: FittedModel, dataset: Dataset) -> tuple[Dataset, Dataset]:
    """The rows of the fit and those held out, after trimming.

    Raises:
        DataError: None were held out, or these are other data.
    """
    recipe = fitted.recipe
    if recipe is None or recipe.valid == 0:
        raise DataError(
            expected="a fit that held out some rows, to which those of the fit are compared",
            got="a fit that held out none",
            cure="fit again with --valid 0.1 (valid=0.1 in Python)",
        )
    parts = parts_of(fitted, dataset)
    if parts is None:
        raise DataError(
            expected=f"the data of the fit: {fitted.schema.num_examples} rows, besides those held out",
            got=f"other data, of {len(dataset)} rows",
            cure="give the data that the model was fitted to",
        )
    fitted_on, held_out = (trimmed(part, recipe.trim) for part in parts)
    return fitted_on, held_out


def _evenly(count: int, most: int) -> np.ndarray:
    """Indices below ``count``, at most ``most`` of them and evenly spaced."""
    return np.linspace(0, count - 1, min(most, count)).astype(np.int64)


def _thinned(dataset: Dataset, most: int) -> Dataset:
    return dataset.take(_evenly(len(dataset), most))


def _distances(made: np.ndarray, seen: np.ndarray, unseen: np.ndarray, columns: Any) -> tuple[float, float, Measured]:
    """Median distances to the closest row of the fit, and the fraction that is nearer to one of them."""
    made, queries = made[_evenly(len(made), MOST_MEASURED)], unseen[_evenly(len(unseen), MOST_MEASURED // 2)]
    most = max(len(unseen), MOST_NUMBERS // ((len(made) + len(queries)) * made.shape[1]))
    seen = seen[_evenly(len(seen), most)]
    space = Space(np.concatenate([seen, unseen]), columns)
    weights = neighbor_weights(space, made, np.concatenate([seen, unseen]))
    # Without memory, every real row is equally likely to be the closest, so that rates per row are compared.
    of_seen, of_unseen = weights[: len(seen)].mean(), weights[len(seen) :].mean()
    share = float(of_seen / (of_seen + of_unseen))
    per_row = np.concatenate([weights[: len(seen)] / len(seen), weights[len(seen) :] / len(unseen)])
    # Rows with the same closest real row are no independent cases.
    effective = float(per_row.sum() ** 2 / (per_row**2).sum())
    medians = [float(np.median(closest(space, rows, seen))) for rows in (made, queries)]
    return medians[0], medians[1], fraction(share, effective)


def _membership(fitted: FittedModel, part: Dataset, held_out: Dataset, num_samples: int, seed: int) -> Measured:
    seen, unseen = _thinned(part, MOST_SCORED), _thinned(held_out, MOST_SCORED)
    contexts = (
        None if seen.context is None or unseen.context is None else np.concatenate([seen.context, unseen.context])
    )
    both = replace(
        seen, values=np.concatenate([seen.values, unseen.values]), labels=None, ids=None, native=None,
        context=contexts, conditions=None,
    )  # fmt: skip
    terms = mixed(terms_of(fitted, both, num_samples, seed), has_density=fitted.model.posterior.has_density)
    bound = np.asarray(terms.iwae, np.float64)
    return separation(bound[: len(seen)], bound[len(seen) :])
