"""Tables that are one matrix of counts: how often each of many things occurred in each row."""

from dataclasses import replace

import msgspec
import numpy as np
from jaxtyping import Integer

from reparax.data.columns import column_of
from reparax.data.dataset import Dataset, array_cells
from reparax.summary import Column

FEWEST_COLUMNS = 50
FEWEST_ROWS = 100
FEWEST_ZEROS = 0.1
FEWEST_ABOVE_ONE = 0.15
MOST_IN_TOP_QUARTER = 0.2
MOST_WITH_ONE_MAXIMUM = 0.8
MOST_BEYOND = 5.0
MOST_UNLIKE = 0.1
"""The fraction of the columns that may be unlike counts."""


MOST_OTHERS = 0.1
"""The fraction of the columns that may be others for a note that the rest are counts."""


def as_counts(dataset: Dataset) -> Dataset:
    """The dataset, with every column a count if they are counts by `are_counts`; else unchanged.

    If a few columns are others, a note says that the rest are counts.
    """
    schema, columns = dataset.schema, dataset.schema.columns
    if columns is None or schema.kind != "table" or schema.value_kind not in {"integer", "mixed"}:
        return dataset
    if schema.value_kind == "mixed":
        note = _note_on_others(dataset.values, columns)
        return replace(dataset, notes=(*dataset.notes, note)) if note else dataset
    if not are_counts(dataset.values):
        return dataset
    columns = tuple(
        msgspec.structs.replace(column_of(column.name, array_cells(cells), "count"), dtype=column.dtype)
        for column, cells in zip(columns, dataset.values.T, strict=True)
    )
    note = f"{len(columns)} columns of counts are modeled as such; for other densities choose --likelihood columns"
    schema = msgspec.structs.replace(schema, value_kind="counts", columns=columns)
    return replace(dataset, schema=schema, notes=(*dataset.notes, note))


def _note_on_others(values: np.ndarray, columns: tuple[Column, ...]) -> str:
    """A sentence if all columns but a few are counts; else empty."""
    whole = [
        index
        for index, column in enumerate(columns)
        if (not column.is_category or column.categories == (0, 1)) and column.step == 1 and not column.missing
    ]
    others = [repr(column.name) for index, column in enumerate(columns) if index not in set(whole)]
    if len(others) > MOST_OTHERS * len(columns) or not are_counts(values[:, whole].astype(np.int64)):
        return ""
    listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
    return f"{len(whole)} columns are counts: to model them as such, give the others or exclude them ({listed})"


def are_counts(values: Integer[np.ndarray, "n d"]) -> bool:
    """Whether whole numbers look like a matrix of counts: of genes in cells, words in texts, purchases of customers.

    Codes, ratings, answers on a scale, bits and intensities of pixels stop at a largest value that many rows have;
    counts thin out toward it. With f_m rows at the largest value m of a column and f_(m-1) below, going on at that rate
    would leave f_m^2 / f_(m-1) rows at m + 1, where there is none. There are 50 columns and 100 rows or more, none is
    negative, a tenth of all values are 0, 15 % of the columns that vary have values above 1, at most 80 % of them the
    same largest value above 1, and in nine tenths of them at most 5 rows are so expected beyond the largest value, and
    at most 20 % are above three quarters of it.

    The numbers were chosen on random tables and on images of digits; the tests use others.

    Args:
        values: One row for each example.
    """
    if values.shape[1] < FEWEST_COLUMNS or len(values) < FEWEST_ROWS or values.min() < 0:
        return False
    high = values.max(axis=0)
    varying = np.flatnonzero(values.min(axis=0) < high)
    if not len(varying) or (high[varying] > 1).mean() < FEWEST_ABOVE_ONE:
        return False
    shared = np.unique(high[varying], return_counts=True)[1].max() / len(varying)
    if (values == 0).mean() < FEWEST_ZEROS or (shared > MOST_WITH_ONE_MAXIMUM and np.median(high[varying]) > 1):
        return False
    return float(np.mean([not _thins_out(values[:, place]) for place in varying])) <= MOST_UNLIKE


def _thins_out(cells: Integer[np.ndarray, " n"]) -> bool:
    high = int(cells.max())
    at_high, below = int((cells == high).sum()), int((cells == high - 1).sum())
    beyond = at_high**2 / max(1, below)
    return beyond <= MOST_BEYOND and float((4 * cells.astype(np.int64) > 3 * high).mean()) <= MOST_IN_TOP_QUARTER
