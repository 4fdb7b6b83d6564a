"""Which axis of an array is what: rows and columns of a table, or height, width and channels of images."""

from typing import Literal, NamedTuple

import numpy as np

from reparax.errors import DataError


class Layout(NamedTuple):
    """An array whose axes are told: examples first, channels last."""

    values: np.ndarray
    kind: Literal["images", "table", "array"]
    notes: tuple[str, ...] = ()


def as_examples(array: np.ndarray) -> Layout:
    """Tells the axes of an array.

    Two axes are a table ``(n, columns)``; three are gray images ``(n, height, width)``, which gain a channel axis;
    four are images, five and more stay an array. Channels of images are the last axis when it is 1 to 4 long; else
    the second axis when that is 1, 3 or 4 long (channels first; they are moved, and a note says so); else the last axis
    when it is shorter than height and width (many-channel images).

    Raises:
        DataError: Fewer than two axes, or four axes of which none is told to be the channels.
    """
    if array.ndim < 2:
        raise DataError(
            expected="an array of at least two axes, examples first",
            got="a single value" if array.ndim == 0 else f"one axis of {len(array)} values",
            cure="a single column is X.reshape(-1, 1), a single example X.reshape(1, -1)",
        )
    if array.ndim == 2:
        return Layout(array, "table")
    if array.ndim == 3:
        return Layout(array[..., None], "images")
    if array.ndim > 4:
        return Layout(array, "array")
    _, first, middle, last = array.shape
    if last in {1, 2, 3, 4}:
        return Layout(array, "images")
    if first in {1, 3, 4}:
        note = f"axes {array.shape[1:]} were read as channels, height, width"
        return Layout(np.moveaxis(array, 1, -1), "images", (note,))
    if last < min(first, middle):
        return Layout(array, "images")
    raise DataError(
        expected="images of shape (n, height, width, channels)",
        got=f"shape {array.shape}, of which no axis is told to be the channels",
        cure="put the channels last (numpy.moveaxis), or give rows of numbers: X.reshape(len(X), -1)",
    )
