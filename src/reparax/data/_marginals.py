"""How odd the rows of a table are by each column alone: no model, only counts."""

import numpy as np
from jaxtyping import Float

from reparax.summary import Column


def marginal_oddity(values: Float[np.ndarray, "n d"], columns: tuple[Column, ...]) -> Float[np.ndarray, " n"]:
    """-sum_j log P_j(near x_j) over the observed cells, P_j the share of rows whose cell j is near; nats.

    Near means the same category, or within half a standard deviation of a number.

    Args:
        values: The rows of a table.
        columns: Its columns.
    """
    total = np.zeros(len(values))
    for cells, column in zip(values.T, columns, strict=True):
        observed = ~np.isnan(cells)
        ordered = np.sort(cells[observed])
        low, high = cells[observed] - column.near, cells[observed] + column.near
        near = np.searchsorted(ordered, high, "right") - np.searchsorted(ordered, low, "left")
        total[observed] -= np.log((near + 1) / (len(ordered) + 1))
    return total
