"""Values of a model in the form of the user's data: frames or arrays, one for each view if there are several."""

from dataclasses import replace
from typing import Any

import numpy as np

from reparax.data import (
    Dataset,
    FrameKind,
    as_stored,
    fill,
    joint_values,
    separate,
    to_frame,
    unrounded,
    with_observed,
)


def in_form_of_data(drawn: Dataset, like: FrameKind | None) -> Any:
    """Examples as arrays for images and plain numbers, else as data frames, with given columns in their places.

    Args:
        drawn: Examples; what is the frame kind of the dataset is that of the user's data, if it was a frame.
        like: The library of the frame; by default that of the user's frame, or polars.

    Returns:
        The frame or the array; of several views, these by the names of the views.
    """
    schema, values = drawn.schema, joint_values(drawn)
    if schema.views:
        return {name: in_form_of_data(as_stored(view), like) for name, view in separate(drawn).items()}
    if schema.columns is None:
        return values
    if like is None and schema.names is None and schema.value_kind != "mixed":
        return values if schema.given is None else to_frame(values, schema.joint, like="numpy")
    fitted_to = drawn.frame_kind if drawn.frame_kind != "numpy" else None
    return to_frame(values, schema.joint, like=like or fitted_to or "polars", labels=drawn.frame_labels)


def by_name(drawn: Dataset) -> Any:
    """The values of examples; of several views, those of each by its name."""
    return {name: view.values for name, view in separate(drawn).items()} if drawn.schema.views else drawn.values


def filled_views(dataset: Dataset, values: np.ndarray) -> dict[str, Any]:
    """The views of examples with their missing values filled from a matrix; expectations are not rounded."""
    filled, given = separate(replace(dataset, values=values)), dataset.native or {}
    return {
        name: with_observed(_filled(view, filled[name].values), view, given.get(name))
        for name, view in separate(dataset).items()
    }


def _filled(view: Dataset, values: np.ndarray) -> Any:
    known = in_form_of_data(as_stored(view), None)
    if isinstance(known, np.ndarray) and known.dtype.kind != "O":
        gaps = np.isnan(view.values)
        return np.where(gaps, values, view.values) if gaps.any() else known
    return fill(replace(unrounded(view), native=known), values)


def drawn_views(dataset: Dataset, values: np.ndarray) -> dict[str, Any]:
    """The same with values that were drawn, which are like those of the data."""
    whole = np.where(np.isnan(dataset.values), values, dataset.values)
    drawn, given = in_form_of_data(replace(dataset, values=whole), None), dataset.native or {}
    return {name: with_observed(drawn[name], view, given.get(name)) for name, view in separate(dataset).items()}
