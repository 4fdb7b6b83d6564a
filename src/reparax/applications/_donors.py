"""The rows of a table from which others may take their missing cells, for each member of a fitted model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.compiler import in_float32
from reparax.data import Dataset
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.tables import ColumnsDecoder, Donors

MOST_ROWS = 2000
"""Of a larger table as many are drawn at random: every row is compared with all of them."""
DRAWS, MOST_DRAWS = 4, 4000
"""Draws of the latent variable for each, but of all rows together at most so many."""
FEWEST_ROWS = 20
"""Of fewer rows none is likely to resemble another one."""


def donors_of(fitted: FittedModel, dataset: Dataset, seed: int) -> tuple[Donors, ...]:
    """The rows that others may take cells from, for each member; none of few rows, of views, or with a context.

    What a row has that has another context, such as a condition of the fit, is no sample given the context of this one.

    Args:
        fitted: The fitted model.
        dataset: The rows, with their gaps.
        seed: The seed of the choice among many rows, and of the draws of the latent variable.
    """
    values, schema = dataset.values, dataset.schema
    if schema.views or schema.columns is None or dataset.context is not None or values.dtype.kind != "f":
        return ()
    if not isinstance(fitted.model.likelihood, ColumnsDecoder) or not np.isnan(values).any():
        return ()
    places = np.flatnonzero(~np.isnan(values).all(axis=1))
    if len(places) < FEWEST_ROWS:
        return ()
    if len(places) > MOST_ROWS:
        places = np.sort(np.random.default_rng(seed).choice(places, MOST_ROWS, replace=False))
    rows = jnp.asarray(fitted.units.stored(values[places]), jnp.float32)
    keys = jax.random.split(jax.random.key(seed), len(rows))
    count = min(DRAWS, MOST_DRAWS // len(rows))
    lends = _lends(fitted, rows.shape[1])
    return tuple(_with_draws(member.model, rows, lends, keys, count) for member in fitted.members)


def _lends(fitted: FittedModel, size: int) -> np.ndarray:
    """Which columns of the model others may take: no keys, of which each row has its own."""
    lends, columns = np.ones(size, bool), fitted.schema.columns or ()
    lends[: len(columns)] = [column.name not in fitted.schema.keys for column in columns]
    return lends


@eqx.filter_jit
@in_float32
def _with_draws(model: Model, rows: Float[Array, "n d"], lends: np.ndarray, keys: Array, count: int) -> Donors:
    def draws(row: Float[Array, " d"], key: Array) -> Array:
        posterior = model.posterior(row)
        return jax.vmap(posterior.sample)(jax.random.split(key, count))

    z = jax.vmap(draws)(rows, keys)
    return Donors.of(model.likelihood, rows, lends, z)  # ty: ignore[invalid-argument-type]
