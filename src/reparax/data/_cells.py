"""The cells of one column: numbers, dates as days, or codes of categories; NaN where there is none."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from reparax.summary import Column

Category = str | int | float | bool


@dataclass(frozen=True)
class Cells:
    """One column as it came.

    Attributes:
        kind: ``"number"``, ``"datetime"`` (days since 1970), or codes of a ``"category"`` or of truth values
            (``"boolean"``).
        values: One number for each row; NaN where missing.
        dtype: The data type it came with, as in `Column.dtype`.
        categories: What the codes stand for.
        step: Of dates, the largest unit that all are whole multiples of, in days.
        is_text: Whether the categories are free to be anything (text), rather than declared.
        notes: Sentences on what was noticed.
    """

    kind: Literal["number", "datetime", "category", "boolean"]
    values: np.ndarray
    dtype: str
    categories: tuple[Category, ...] = ()
    step: float = 0.0
    is_text: bool = False
    notes: tuple[str, ...] = ()

    def present(self) -> np.ndarray:
        """The values that are there."""
        return self.values if self.num_missing == 0 else self.values[~np.isnan(self.values)]

    @cached_property
    def num_missing(self) -> int:
        """How many cells are missing."""
        return int(np.isnan(self.values).sum()) if self.values.dtype.kind == "f" else 0

    @property
    def missing(self) -> float:
        """The share of missing cells."""
        return self.num_missing / max(1, len(self.values))

    @property
    def precision(self) -> float:
        """The relative precision of the numbers."""
        return float(np.finfo(np.float32 if self.dtype in {"float16", "float32"} else np.float64).eps)

    def as_categories(self) -> "Cells":
        """Numbers as categories: 0 and 1 as they are, of others the most frequent first."""
        present = ~np.isnan(self.values.astype(np.float64))
        levels, codes, counts = np.unique(self.values[present], return_inverse=True, return_counts=True)
        order = np.argsort(-counts, kind="stable") if levels.tolist() != [0, 1] else np.arange(2)
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order))
        values = np.full(len(self.values), np.nan)
        values[present] = rank[codes]
        whole = bool((levels == np.rint(levels)).all()) and not self.dtype.startswith("float")
        categories = tuple((levels.astype(np.int64) if whole else levels.astype(np.float64))[order].tolist())
        return replace(self, kind="category", values=values, categories=categories)

    @classmethod
    def of_column(cls, values: np.ndarray, column: Column) -> "Cells":
        """The cells of a matrix's column."""
        if column.is_category:
            kind = "boolean" if column.kind == "boolean" else "category"
            return cls(kind, values, column.dtype, column.categories)
        return cls("datetime" if column.kind == "datetime" else "number", values, column.dtype, step=column.step)
