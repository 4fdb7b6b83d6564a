"""What the parts of a model need to know of the data: the shape of one example and what values it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

Kind = Literal["binary", "integer", "counts", "real", "mixed"]

CATEGORY_LIKE = frozenset({"binary", "boolean", "categorical"})
"""Kinds whose values are codes: positions in the list of categories."""

QUANTILE_LEVELS = (
    0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5,
    0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.965, 0.98, 0.99, 0.995, 0.9975, 0.999, 1.0,
)  # fmt: skip
"""The levels of `Column.quantiles`: finer toward the ends, where tails are."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a table: what its values are, from the data it was fitted on.

    Attributes:
        name: Its name; ``column_0``, ... where the table has none.
        kind: What its values are, one of `reparax.registry.column_kinds`. Of ``"binary"``, ``"boolean"`` and
            ``"categorical"`` the matrix holds codes, of ``"datetime"`` days since 1970, of the others the numbers
            themselves. It says how cells are read, shown and restored, and chooses the family of densities:
            `reparax.tables.Categories`, `Numbers` or `Cyclic`. Within `Numbers` the density follows from the fields
            below: ``"positive"`` and ``"continuous"`` have the same one, and ``"count"`` and ``"datetime"`` differ from
            them by their step only.
        dtype: The data type it came with and is given back in: ``"int64"``, ``"float32"``, ``"string"``,
            ``"string:.2f"`` (texts of numbers with two decimals), ``"string:%d.%m.%Y"`` (of dates), ``"boolean"``,
            ``"date"``, ``"datetime"``, ``"category"``, ...
        missing: The fraction of missing cells.
        missing_with: The name of the first column that was missing in exactly the same rows, so that both are missing
            together in every synthetic row; empty where that is this column.
        missing_depends: Whether the rest of the row says something of whether the cell is missing: a test found an
            association with a value or a gap in another column.
        low: The least value (of a category-like column 0).
        high: The greatest value (of a category-like column the last code).
        mean: The mean of the observed values; 0 for codes.
        std: Their standard deviation, 1 where constant; of codes 1.
        spread: The same of numbers beyond the 1 % and 99 % quantiles moved to these, which far outliers do not widen.
        step: The largest number that all values are whole multiples of: 1 for whole numbers, 0.01 for two decimals, 1
            for dates; 0 where there is none.
        coarse_step: A larger step of which most values that are not spikes are multiples (a half where the step is a
            hundredth); 0 where there is none.
        coarse_start: A multiple of it at or below the least value.
        coarse_fraction: The fraction of these values that are multiples of it.
        quantiles: Of the values that are not spikes, at `QUANTILE_LEVELS`; empty for category-like columns, and where
            every value is a spike.
        spikes: Single numbers that many rows share (0 of a zero-inflated column, every level of an ordinal one), in
            ascending order; empty for category-like columns.
        spike_fractions: The fraction of the observed values at each spike.
        categories: The categories of a category-like column, most frequent first.
        category_fractions: The fraction of the observed values in each category.
    """

    name: str
    kind: str
    dtype: str
    missing: float = 0.0
    missing_with: str = ""
    missing_depends: bool = False
    low: float
    high: float
    mean: float
    std: float
    spread: float
    step: float = 0.0
    coarse_step: float = 0.0
    coarse_start: float = 0.0
    coarse_fraction: float = 0.0
    quantiles: tuple[float, ...] = ()
    spikes: tuple[float, ...] = ()
    spike_fractions: tuple[float, ...] = ()
    categories: tuple[str | int | float | bool, ...] = ()
    category_fractions: tuple[float, ...] = ()

    @property
    def is_category(self) -> bool:
        """Whether its values are codes."""
        return self.kind in CATEGORY_LIKE

    @property
    def is_of_bits(self) -> bool:
        """Whether its values are 0 and 1, numbers or truth values, whose codes are these."""
        return self.categories == (0, 1)  # True is 1


SHOWN_CATEGORIES = 3
LONGEST_SHOWN = 24


def shown_category(category: object) -> str:
    """A category in at most 24 characters."""
    text = str(category).strip()
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1].rstrip()}\u2026"


def in_words(column: Column) -> str:
    """The values of a column in a few words: the range of its numbers, or its most frequent categories.

    Args:
        column: The column.
    """
    if column.is_category:
        pairs = zip(column.categories[:SHOWN_CATEGORIES], column.category_fractions[:SHOWN_CATEGORIES], strict=True)
        listed = ", ".join(f"{shown_category(category)} {100 * fraction:.0f} %" for category, fraction in pairs)
        more = len(column.categories) - SHOWN_CATEGORIES
        return f"{listed} and {more} more" if more > 0 else listed
    if column.kind == "datetime":
        low, high = (np.datetime64(int(np.floor(end)), "D") for end in (column.low, column.high))
        return f"{low} to {high}"
    return f"{column.low:.6g} to {column.high:.6g}"


@dataclass(frozen=True)
class Remainder:
    """A column that holds what a relation leaves of another one once its parents are known.

    Attributes:
        child: The position of the column that follows from others.
        parents: The positions of those others.
        implied: The code of the child for each category of the only parent; -1 where it is unknown, and empty for other
            relations.
    """

    child: int
    parents: tuple[int, ...]
    implied: tuple[int, ...] = ()


@dataclass(frozen=True)
class Summary:
    """One example's shape, kind of values and range, in the user's units.

    Attributes:
        event_shape: The shape of one example: ``(columns,)``, or ``(height, width, channels)`` for images.
        kind: ``"binary"`` when every value is 0 or 1, ``"integer"`` when every value is whole, ``"counts"`` for a
            matrix of counts, ``"mixed"`` for a table with categories, dates or missing cells, else ``"real"``.
        low: The lower bound of the values, shape () for images (0), else per dimension (the observed minimum).
        high: The upper bound, likewise (255 for 8-bit images).
        mean: The mean, shape () for images, else per dimension.
        std: The standard deviation, likewise; 1 where a column is constant.
        num_examples: How many examples were seen.
        columns: The columns of a table; empty for images and arrays.
        remainders: What the last columns are, if these are remainders of the ones before.
        views: The name and the summary of each view, if an example has several, which are joined to one vector; NaN
            stands for the values of a missing view.
    """

    event_shape: tuple[int, ...]
    kind: Kind
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    num_examples: int
    columns: tuple[Column, ...] = ()
    remainders: tuple[Remainder, ...] = ()
    views: tuple[tuple[str, "Summary"], ...] = ()

    @property
    def size(self) -> int:
        """The number of values in one example."""
        return int(np.prod(self.event_shape, dtype=int))

    @property
    def is_whole(self) -> bool:
        """Whether every value is a whole number."""
        return self.kind in {"binary", "integer", "counts"}

    @property
    def is_image(self) -> bool:
        """Whether one example is an image: height, width, channels."""
        return len(self.event_shape) == 3


def joint_summary(views: Sequence[tuple[str, Summary]], num_examples: int) -> Summary:
    """The summary of examples with several views, joined to one vector.

    Args:
        views: The name and the summary of each view.
        num_examples: How many examples were seen.
    """
    low, high, mean, std = (
        np.concatenate([np.broadcast_to(getattr(view, name), view.event_shape).ravel() for _, view in views])
        for name in ("low", "high", "mean", "std")
    )
    return Summary((len(low),), "mixed", low, high, mean, std, num_examples, views=tuple(views))
