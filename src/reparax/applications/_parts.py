"""The rows of a fit and those that were held out of it, recognized among data by a fingerprint."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from reparax.data import Blocks, Dataset, dense, split, with_schema
from reparax.recipe import FittedModel

MOST_ROWS = 1000
ROWS_AT_ONCE = 100


def fingerprint_of(rows: Dataset) -> str:
    """What distinguishes rows from others: their number, and a checksum of at most a thousand of them, evenly spaced.

    It depends on the values in single precision, whatever the file or the frame that they come in.

    Args:
        rows: The rows.
    """
    places, checksum = np.linspace(0, len(rows) - 1, min(MOST_ROWS, len(rows))).astype(np.int64), hashlib.sha256()
    for start in range(0, len(places), ROWS_AT_ONCE):
        values = dense(rows.values[places[start : start + ROWS_AT_ONCE]]).astype(np.float32)
        # One zero and one NaN: both have several bit patterns.
        checksum.update(np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0)).tobytes())
    return f"{len(rows)} rows, {checksum.hexdigest()[:32]}"


def known_by(fitted: FittedModel, rows: Dataset) -> FittedModel:
    """The model with the fingerprint of the rows that were held out, or of all rows if none were."""
    return replace(fitted, fingerprint=fingerprint_of(rows))


def held_out_of(fitted: FittedModel, dataset: Dataset) -> Dataset | None:
    """The rows that were held out of the fit to these data; None if these are other data.

    Args:
        fitted: The fitted model.
        dataset: What `dataset_of` returned for the data of the fit, or for the held-out rows themselves.
    """
    if _are_held_out(fitted, dataset):
        return dataset
    parts = parts_of(fitted, dataset)
    return None if parts is None else parts[1]


def held_out_of_blocks(fitted: FittedModel, blocks: Blocks, opened: Callable[[Any], Dataset]) -> Dataset | None:
    """The rows of files that were held out of a fit to these, in blocks or in memory; None if they are other files.

    Args:
        fitted: The fitted model.
        blocks: The rows of the files.
        opened: Gives rows in the form that the model takes; see `dataset_of`.
    """
    found = numbered_held_out(fitted, blocks, opened)
    return None if found is None else found[1]


def numbered_held_out(
    fitted: FittedModel, blocks: Blocks, opened: Callable[[Any], Dataset]
) -> tuple[np.ndarray, Dataset] | None:
    """The same, with their numbers in the files, in order."""
    recipe = fitted.recipe
    if recipe is None or recipe.valid == 0 or len(blocks) < 2:
        return None
    candidates = blocks.held_out(recipe.valid, recipe.seed, fitted.schema.left_out_as_asked)
    found = ((places, opened(blocks.at(places))) for places in candidates)
    return next((each for each in found if _are_held_out(fitted, each[1])), None)


def parts_of(fitted: FittedModel, dataset: Dataset) -> tuple[Dataset, Dataset] | None:
    """The rows of the fit and those that were held out of it; None if these are other data, or none were held out.

    Args:
        fitted: The fitted model.
        dataset: What `dataset_of` returned for the data of the fit.
    """
    recipe = fitted.recipe
    if recipe is None or recipe.valid == 0 or len(dataset) < 2:
        return None
    part, rest = split(dataset, recipe.valid, recipe.seed)
    if not _are_held_out(fitted, rest):
        return None
    return with_schema(part, fitted.schema), with_schema(rest, fitted.schema)


def _are_held_out(fitted: FittedModel, rows: Dataset) -> bool:
    """Whether rows are those that were held out, before some of them were trimmed."""
    recipe = fitted.recipe
    return recipe is not None and recipe.valid > 0 and fingerprint_of(rows) == fitted.fingerprint


def is_data_of_fit(fitted: FittedModel, dataset: Dataset) -> bool:
    """Whether rows are those of a fit that held out none.

    Args:
        fitted: The fitted model.
        dataset: What `dataset_of` returned for the rows.
    """
    return fingerprint_of(dataset) == fitted.fingerprint
