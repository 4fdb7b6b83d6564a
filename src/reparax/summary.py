"""What the parts of a model need to know of the data: the shape of one example and what values it takes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["binary", "integer", "real"]


@dataclass(frozen=True)
class Summary:
    """One example's shape, kind of values and range, in the user's units.

    Attributes:
        event_shape: The shape of one example: ``(columns,)``, or ``(height, width, channels)`` for images.
        kind: ``"binary"`` when every value is 0 or 1, ``"integer"`` when every value is whole, else ``"real"``.
        low: The lower bound of the values, shape () for images (0), else per dimension (the observed minimum).
        high: The upper bound, likewise (255 for 8-bit images).
        mean: The mean, shape () for images, else per dimension.
        std: The standard deviation, likewise; 1 where a column is constant.
        num_examples: How many examples were seen.
    """

    event_shape: tuple[int, ...]
    kind: Kind
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    num_examples: int

    @property
    def size(self) -> int:
        """The number of values in one example."""
        return int(np.prod(self.event_shape, dtype=int))

    @property
    def is_image(self) -> bool:
        """Whether one example is an image: height, width, channels."""
        return len(self.event_shape) == 3
