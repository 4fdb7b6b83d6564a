"""How odd the rows of a table are by each column alone: no model, only counts."""

import numpy as np
from jaxtyping import Float

from reparax.summary import Column


def marginal_oddity(values: Float[np.ndarray, "n d"], columns: tuple[Column, ...]) -> Float[np.ndarray, " n"]:
    """-sum_j log P_j(near x_j) over the observed cells, P_j the share of rows whose cell j is near; nats.

    Near means the same category, or up to a reach away from a number: the mean over `Column.reaches`.

    Args:
        values: The rows of a table.
        columns: Its columns.
    """
    total = np.zeros(len(values))
    for cells, column in zip(values.T, columns, strict=True):
        observed = ~np.isnan(cells)
        ordered = np.sort(cells[observed])
        reaches = np.unique(column.reaches)[:, None]
        low, high = cells[observed] - reaches, cells[observed] + reaches
        near = np.searchsorted(ordered, high, "right") - np.searchsorted(ordered, low, "left")
        total[observed] -= np.log((near.mean(axis=0) + 1) / (len(ordered) + 1))
    return total
