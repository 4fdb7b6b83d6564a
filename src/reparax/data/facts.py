"""What the description of a column needs to know of its cells, found in all of them at once or in one pass."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np

from reparax.data.values import Category, Cells, Levels, category_names, step_of


class Moments(NamedTuple):
    """The mean and the standard deviation of all numbers of a column, and their largest common divisor.

    Attributes:
        mean: The mean.
        std: The standard deviation, 1 for a constant.
        step: The largest number of which all are multiples; 0 where there is none.
    """

    mean: float
    std: float
    step: float


@dataclass(frozen=True)
class Facts:
    """The cells of a column as distinct values with their counts.

    Attributes:
        kind: As of `Cells`.
        dtype: As of `Cells`.
        missing: The fraction of missing cells.
        levels: The distinct numbers and their counts; of categories, every code with its count.
        categories: As of `Cells`.
        step: As of `Cells`.
        precision: The relative precision of the numbers.
        distinct: The distinct numbers in their data type, as whole numbers may be too large for the levels.
        exact: Where the levels are those of a sample, what is known of all numbers; else None.
    """

    kind: Literal["number", "datetime", "category", "boolean"]
    dtype: str
    missing: float
    levels: Levels
    categories: tuple[Category, ...] = ()
    step: float = 0.0
    precision: float = float(np.finfo(np.float64).eps)
    distinct: np.ndarray | None = None
    exact: Moments | None = None

    @classmethod
    def of(cls, cells: Cells) -> Self:
        """The facts of all cells of a column."""
        present, distinct = cells.present(), None
        if cells.categories:
            counts = np.bincount(present.astype(np.int64), minlength=len(cells.categories))
            levels = Levels(np.arange(len(counts), dtype=np.float64), counts)
        else:
            distinct, counts = np.unique(present, return_counts=True)
            levels = Levels.of_distinct(distinct, counts)
        missing, precision = cells.missing, cells.precision
        return cls(cells.kind, cells.dtype, missing, levels, cells.categories, cells.step, precision, distinct)

    def as_categories(self) -> "tuple[tuple[Category, ...], np.ndarray]":
        """Categories and the number of rows with each; numbers as categories, as `Cells.as_categories` has them."""
        if self.kind != "number":
            return self.categories, self.levels.counts
        distinct = self.levels.values if self.distinct is None else self.distinct
        names, order = category_names(distinct, self.levels.counts, self.dtype)
        return names, self.levels.counts[order]

    def step_of_all(self) -> float:
        """The largest number of which all are multiples; of dates the largest unit."""
        if self.kind == "datetime":
            return self.step
        return step_of(self.levels.values, self.precision) if self.exact is None else self.exact.step

    def moments(self) -> tuple[float, float]:
        """The mean and the standard deviation."""
        return self.levels.moments() if self.exact is None else (self.exact.mean, self.exact.std)
