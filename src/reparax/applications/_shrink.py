"""How far imputed numbers are to be shrunk towards the mean, so that they are not too sure of themselves."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from reparax.applications._rows import row_hashes
from reparax.summary import Column
from reparax.tables import Numbers

HIDDEN = 0.2
"""The fraction of the observed cells that are hidden and imputed, to compare them with what they are."""
MOST_ROWS = 2000
"""Rows whose cells are hidden."""
PRIOR_CELLS = 10.0
"""The weight of no shrinkage, in cells: few rows say little."""


def shrunk(
    filled: Float[np.ndarray, "n d"],
    values: Float[np.ndarray, "n d"],
    columns: tuple[Column, ...],
    impute: Callable[[Float[np.ndarray, "m d"], Int[np.ndarray, " m"]], Float[np.ndarray, "m d"]],
) -> Float[np.ndarray, "n d"]:
    """Rows with imputed numbers x moved to m + b (x - m), m the mean of the column and b from 0 to 1.

    Some observed cells are hidden and imputed. Of the true y and the imputed x of a column, b is the slope of the least
    squares line through (m, m), sum (x - m) (y - m) / sum (x - m)^2. It is below 1 if a decoder that learned rows by
    heart imputes numbers as surely as it reconstructs those that it has seen. Categories are not changed.

    Args:
        filled: The rows with imputed cells.
        values: The rows, NaN where cells are missing.
        columns: Their columns.
        impute: Imputes all missing cells of some rows, which are given with their places in the table.
    """
    numbers = [index for index, column in enumerate(columns) if column.kind in Numbers.kinds]
    if values.dtype.kind != "f":
        return filled
    gaps = np.isnan(values)
    numbers = [index for index in numbers if gaps[:, index].any()]
    chosen = np.linspace(0, len(values) - 1, min(len(values), MOST_ROWS)).astype(np.int64)
    hidden = _hidden(values[chosen]) & ~gaps[chosen]
    if not numbers or not hidden[:, numbers].any():
        return filled
    truth = values[chosen].astype(np.float64)
    guesses = impute(np.where(hidden, np.nan, values[chosen]), chosen)
    result = filled.copy()
    for index in numbers:
        mean, where = columns[index].mean, hidden[:, index]
        x, y = guesses[where, index] - mean, truth[where, index] - mean
        if not x.any():
            continue
        prior = PRIOR_CELLS * float(np.mean(x**2))
        slope = float(np.clip((x @ y + prior) / (x @ x + prior), 0.0, 1.0))
        at = gaps[:, index]
        result[at, index] = mean + slope * (filled[at, index] - mean)
    return result


def _hidden(rows: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, "n d"]:
    """Which cells are hidden; for each row chosen by the row alone, so that the order of the rows does not matter."""
    return np.stack([np.random.default_rng(mark).random(rows.shape[1]) < HIDDEN for mark in row_hashes(rows)])
