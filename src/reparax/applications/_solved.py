"""Rows that agree with known children of relations, and their importance weights: see `reparax.data.solve`."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from reparax.applications._door import in_context, some_of
from reparax.applications._rows import batch_size, batches
from reparax.compiler import in_float32
from reparax.data import log_probabilities, solved
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.tables import RowDistribution, adapter_of, rounding

FOR_NOISE = 1 << 30
"""Folded into the key of a row for what its relations are solved with, beside the keys of its cells."""


class Particles(NamedTuple):
    """Rows drawn given z, solved for what is known.

    Attributes:
        values: The rows, in the user's units.
        log_weights: log p(row, z) - log q(row, z); minus infinity for rows that are not possible.
    """

    values: Float[np.ndarray, "n d"]
    log_weights: Float[np.ndarray, " n"]


def particles(
    fitted: FittedModel,
    model: Model,
    z: Float[np.ndarray, "n *latent"],
    keys: Array,
    given: Float[np.ndarray, "n d"],
    contexts: np.ndarray | None,
    *,
    gaps: bool,
) -> Particles:
    """One row for each latent variable.

    Args:
        fitted: The fitted model, of a table with relations.
        model: It, or a member of it.
        z: The latent variables.
        keys: The key of each row.
        given: The cells that are known, NaN elsewhere.
        contexts: What is given of each row as numbers, if anything is.
        gaps: Whether other cells may be missing, as in drawn rows; the weights then have the probability that the
            known cells are not.
    """
    extension = fitted.units.extension
    assert extension is not None
    size = batch_size(fitted)
    observed = np.concatenate([~np.isnan(given), np.zeros((len(given), len(extension.relations)), bool)], axis=1)
    whole = observed if gaps else np.ones_like(observed)
    pieces = [
        [np.asarray(part)[:kept] for part in _drawn(
            model, jnp.asarray(z[some]), keys[some], jnp.asarray(whole[some]), some_of(contexts, some),
            len(extension.relations),
        )]
        for _, some, kept in batches(len(z), size)
    ]  # fmt: skip
    rows, noise = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    found = solved(extension, fitted.units.shifted_back(rows.astype(np.float64)), given, noise)
    x = np.asarray(fitted.units.stored(found.values), np.float32)
    of_gaps = observed & gaps
    densities = [
        [np.asarray(part)[:kept] for part in _log_densities(
            model, jnp.asarray(z[some]), jnp.asarray(x[some]), jnp.asarray(of_gaps[some]), some_of(contexts, some)
        )]
        for _, some, kept in batches(len(z), size)
    ]  # fmt: skip
    by_column, by_gaps = (np.concatenate(parts).astype(np.float64) for parts in zip(*densities, strict=True))
    columns = fitted.units.summary.columns
    fine = [not column.is_category and rounding(column) == 0 for column in columns]
    log_weights = found.log_weights(log_probabilities(by_column, x, columns, fine)) + by_gaps
    return Particles(found.values, log_weights)


@eqx.filter_jit
@in_float32
def _drawn(
    model: Model, z: Array, keys: Array, observed: Bool[Array, "n e"], contexts: Array | None, relations: int
) -> tuple[Array, Array]:
    """Rows given z, and uniform numbers to solve their relations with."""
    adapter = adapter_of(model.likelihood)

    def one(z: Array, key: Array, observed: Array, context: Array | None) -> tuple[Array, Array]:
        row = adapter.sample_given(in_context(model, context).likelihood(z), key, observed)
        return row, jax.random.uniform(jax.random.fold_in(key, FOR_NOISE), (relations, 2))

    return jax.vmap(one)(z, keys, observed, contexts)


@eqx.filter_jit
@in_float32
def _log_densities(
    model: Model, z: Array, x: Array, observed: Bool[Array, "n e"], contexts: Array | None
) -> tuple[Array, Array]:
    """The log density of each column and remainder given z, and the log-probability that some cells are observed."""

    def one(z: Array, x: Array, observed: Array, context: Array | None) -> tuple[Array, Array]:
        distribution = in_context(model, context).likelihood(z)
        assert isinstance(distribution, RowDistribution)
        layout = distribution.layout
        by_gaps = jnp.zeros(())
        if layout.gaps.groups:
            by_gaps = layout.gaps.log_prob_observed(layout.parameters_of_gaps(distribution.parameters), observed)
        return distribution.log_prob_of_columns(x), by_gaps

    return jax.vmap(one)(z, x, observed, contexts)
