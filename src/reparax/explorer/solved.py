"""Cells given others from which a known one follows: weighted rows that were solved, as `reparax.impute` takes them.

Where a child of a relation is known and one of its parents is not, the weights of `reparax.explorer.conditional` would
be wrong: they take the child for independent of the parent given z.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from reparax import applications
from reparax.data import Dataset
from reparax.explorer.conditional import SEED, Weighted
from reparax.model import Model
from reparax.recipe import FittedModel

MOST_ROWS = 1 << 15
"""Rows that are drawn for all cells together, if these are not too many."""
FEWEST_ROWS = 400
"""Rows that are drawn for a cell, as many as by default for `reparax.impute`."""


class OfMember(NamedTuple):
    """Weighted rows of one member of an ensemble.

    Attributes:
        z: Draws of the latent variable.
        rows: A row for each, in the user's units.
        weights: Their weights, which sum to one; zeros if none is possible.
    """

    z: Float[np.ndarray, "n *latent"]
    rows: Float[np.ndarray, "n d"]
    weights: Float[np.ndarray, " n"]


class SolvedCell(NamedTuple):
    """What is known of one cell given the others.

    Attributes:
        members: Weighted rows of each member of an ensemble.
        contradiction: The known cells that follow from no values of the missing ones; empty if there are such values.
    """

    members: tuple[OfMember, ...]
    contradiction: str

    def draws(self, place: int) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """The values of a column of all rows, and their weights."""
        values = np.concatenate([member.rows[:, place] for member in self.members])
        return values, np.concatenate([member.weights for member in self.members]) / len(self.members)


def solved_places(fitted: FittedModel, data: Dataset) -> Int[np.ndarray, " s"]:
    """The cells of a row for which relations are solved if they are left out.

    Args:
        fitted: A model of a table.
        data: One row, as `reparax.applications.dataset_of` gives it.
    """
    row = np.asarray(data.values, np.float64)
    return np.flatnonzero(applications.rows_to_solve(fitted, _without_each(row, np.arange(row.shape[1]))))


def solved_cells(
    fitted: FittedModel, data: Dataset, places: Int[np.ndarray, " s"], drawn: Sequence[Weighted]
) -> dict[int, SolvedCell]:
    """Cells of a row, by their places, for which relations are solved.

    Args:
        fitted: A model of a table.
        data: The row.
        places: The cells.
        drawn: Draws of z for each member.
    """
    # Cells that are missing leave out the same.
    rows = _without_each(np.asarray(data.values, np.float64), places)
    _, first, which = np.unique(np.isnan(rows), axis=0, return_index=True, return_inverse=True)
    most = max(FEWEST_ROWS, MOST_ROWS // max(1, len(first)))
    of_kinds = [
        tuple(
            _of_member(fitted, member.model, rows[at], of_member.z, of_member.log_base[places[at]], most, data.context)
            for member, of_member in zip(fitted.members, drawn, strict=True)
        )
        for at in first.tolist()
    ]
    return {
        place: SolvedCell(
            of_kinds[number],
            "" if all(member.weights.any() for member in of_kinds[number]) else applications.contradiction(fitted, row),
        )
        for place, number, row in zip(places.tolist(), which.ravel().tolist(), rows, strict=True)
    }


def _of_member(
    fitted: FittedModel,
    model: Model,
    row: Float[np.ndarray, " d"],
    z: Float[np.ndarray, "n *latent"],
    log_base: Float[np.ndarray, " n"],
    most: int,
    context: np.ndarray | None,
) -> OfMember:
    """Rows given draws of z that agree with the known cells of one.

    Args:
        fitted: The fitted model.
        model: A member of it.
        row: The known cells, NaN elsewhere.
        z: The draws.
        log_base: The log of p(z) over the density that they were drawn from, minus infinity for those of other cells.
        most: The number of rows.
        context: What is given of the row as numbers, if anything is.
    """
    own = np.flatnonzero(np.isfinite(log_base))
    own = np.random.default_rng(SEED).permutation(np.tile(own, -(-FEWEST_ROWS // len(own))))[:most]
    keys = jax.random.split(jax.random.key(SEED), len(own))
    contexts = None if context is None else np.repeat(context, len(own), axis=0)
    solved = applications.particles(
        fitted, model, z[own], keys, np.repeat(row[None], len(own), axis=0), contexts, gaps=False
    )
    log_weights = solved.log_weights + log_base[own]
    largest = log_weights.max()
    weights = np.exp(log_weights - largest) if np.isfinite(largest) else np.zeros(len(own))
    return OfMember(z[own], solved.values, weights / max(float(weights.sum()), 1.0))


def _without_each(row: Float[np.ndarray, "1 d"], places: Int[np.ndarray, " s"]) -> Float[np.ndarray, "s d"]:
    """The row once for each of some cells, without this cell."""
    rows = np.repeat(row, len(places), axis=0)
    rows[np.arange(len(places)), places] = np.nan
    return rows
