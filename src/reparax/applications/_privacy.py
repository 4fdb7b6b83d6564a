"""Whether a model and its synthetic rows give away the rows of the fit."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from reparax.applications._distances import Space, closest, comparable, equal_rows, neighbor_weights
from reparax.applications._door import dataset_of
from reparax.applications._measured import Measured, fraction, separation
from reparax.applications._mixture import mixed
from reparax.applications._parts import numbered_held_out, parts_of
from reparax.applications._rows import terms_of
from reparax.applications._rows_of_fit import drawn_rows, trimmed
from reparax.applications._sample import sample_dataset
from reparax.data import Blocks, Dataset, described, joint_values, with_schema
from reparax.errors import DataError, RecipeError
from reparax.networks import context_size
from reparax.recipe import FittedModel, Recipe

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


class _Sides(NamedTuple):
    """The rows of the fit and those that were held out of it.

    Attributes:
        fitted: The rows of the fit, or a uniform sample of them.
        num_fitted: How many rows of the fit there are.
        held_out: The rows that were held out.
        all_fitted: All rows of the fit, some at a time.
    """

    fitted: Dataset
    num_fitted: int
    held_out: Dataset
    all_fitted: Iterable[Dataset]


def privacy(fitted: FittedModel, data: Any, *, synthetic: Any = None, num_samples: int = 100, seed: int = 0) -> Privacy:
    """Whether a model and its synthetic rows give away the rows of the fit: copies, closest rows, membership.

    Early stopping chose the model by the bound of the held-out rows, which can only make them look more like rows of
    the fit; by one number, so hardly.

    Args:
        fitted: The fitted model.
        data: The data of the fit: anything `reparax.data.read` reads, or a `Dataset`. Of rows that are too many for
            memory, what `reparax.data.blocks_of` gives: copies are looked for among all of them, and distances and
            membership measured on a uniform sample, as they are of many rows in memory.
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
    sides = _sides_of_blocks(fitted, data) if isinstance(data, Blocks) else _sides(fitted, dataset_of(fitted, data))
    drawn = (
        sample_dataset(fitted, MOST_SYNTHETIC, key=jax.random.key(seed))
        if synthetic is None
        else _thinned(dataset_of(fitted, synthetic), MOST_SYNTHETIC)
    )
    # What is given belongs to the rows that are handed out.
    columns = fitted.schema.joint.columns if fitted.binarize == "none" else None
    rows = (drawn, sides.fitted, sides.held_out)
    made, seen, unseen = (comparable(joint_values(some), columns) for some in rows)
    distance, held_out_distance, nearer = _distances(made, seen, unseen, columns)
    everything = (comparable(joint_values(some), columns) for some in sides.all_fitted)
    copied = equal_rows(np.concatenate([made, unseen]), everything)
    return Privacy(
        num_fitted=sides.num_fitted, num_held_out=len(unseen), num_synthetic=len(made),
        copies=float(copied[: len(made)].mean()), held_out_copies=float(copied[len(made) :].mean()),
        distance=distance, held_out_distance=held_out_distance, nearer=nearer,
        membership=_membership(fitted, sides.fitted, sides.held_out, num_samples, seed),
    )  # fmt: skip


def _sides(fitted: FittedModel, dataset: Dataset) -> _Sides:
    """Those of data in memory, after trimming.

    Raises:
        DataError: None were held out, or these are other data.
    """
    recipe = _require_held_out(fitted)
    parts = parts_of(fitted, dataset)
    if parts is None:
        raise _other_data(fitted, len(dataset))
    # By the scales of all rows, as in the fit; the model has those of the rows that were left.
    schema = described(parts[0]) if recipe.trim else fitted.schema
    fitted_on, held_out = (
        with_schema(trimmed(with_schema(part, schema), recipe.trim), fitted.schema) for part in parts
    )
    fitted_on = drawn_rows(fitted_on, recipe)
    return _Sides(fitted_on, len(fitted_on), held_out, [fitted_on])


def _sides_of_blocks(fitted: FittedModel, blocks: Blocks) -> _Sides:
    """Those of rows in blocks.

    Raises:
        DataError: None were held out, or these are other data; or not all of the others were fitted to.
    """
    recipe = _require_held_out(fitted)
    if recipe.trim or recipe.rows:
        raise DataError(
            expected="a fit to all rows but those held out, as rows in blocks are not ordered or drawn",
            got=f"trim={recipe.trim:g}" if recipe.trim else f"rows={recipe.rows}",
            cure="give the data more --memory (in Python, the data themselves)",
        )

    def opened(raw: Any) -> Dataset:
        return dataset_of(fitted, raw)

    found = numbered_held_out(fitted, blocks, opened)
    if found is None:
        raise _other_data(fitted, len(blocks))
    places, held_out = found

    def all_fitted() -> Iterator[Dataset]:
        before = 0
        for raw in blocks:
            rows = np.arange(before, before + len(raw))
            yield opened(raw).take(np.flatnonzero(~np.isin(rows, places)))
            before += len(raw)

    sample = opened(blocks.at(np.setdiff1d(blocks.sampled(fitted.schema.left_out_as_asked), places)))
    return _Sides(sample, len(blocks) - len(places), held_out, all_fitted())


def _require_held_out(fitted: FittedModel) -> Recipe:
    """The recipe of a fit that held out rows.

    Raises:
        DataError: None were held out.
    """
    recipe = fitted.recipe
    if recipe is None or recipe.valid == 0:
        raise DataError(
            expected="a fit that held out some rows, to which those of the fit are compared",
            got="a fit that held out none",
            cure="fit again with --valid 0.1 (valid=0.1 in Python)",
        )
    return recipe


def _other_data(fitted: FittedModel, count: int) -> DataError:
    return DataError(
        expected=f"the data of the fit: {fitted.schema.num_examples} rows, besides those held out",
        got=f"other data, of {count} rows",
        cure="give the data that the model was fitted to",
    )


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
