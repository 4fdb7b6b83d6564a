"""What is given of each example, as the numbers that the networks of a conditional model take."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.compiler import in_float32
from reparax.data import Schema
from reparax.recipe._fitted import Units
from reparax.tables import Layout, condition_features, num_condition_features

BLOCK = 1024
"""Rows that are computed at once, always as many, so that a row has the same numbers whatever the other rows are."""


def given_size(schema: Schema) -> int:
    """How many numbers stand for what is given of an example; 0 where nothing is."""
    return 0 if schema.given is None else num_condition_features(_layout(Units.of(schema.given)))


def given_numbers(schema: Schema, values: Float[np.ndarray, "n g"]) -> Float[np.ndarray, "n c"]:
    """What is given, as numbers near one: categories one-hot, numbers and dates transformed as an encoder sees them.

    Args:
        schema: The schema of what is given.
        values: Its numbers and codes, one row for each example.
    """
    units = Units.of(schema)
    layout, stored = _layout(units), units.stored(np.asarray(values, schema.dtype)).astype(np.float32)
    padded = np.concatenate([stored, np.repeat(stored[-1:], -len(stored) % BLOCK, axis=0)])
    blocks = [np.asarray(_features(layout, jnp.asarray(block))) for block in padded.reshape(-1, BLOCK, stored.shape[1])]
    return np.concatenate(blocks)[: len(stored)]


def _layout(units: Units) -> Layout:
    return Layout.of_summary(units.summary)


@eqx.filter_jit
@in_float32
def _features(layout: Layout, rows: Float[Array, "n g"]) -> Float[Array, "n c"]:
    return jax.vmap(lambda row: condition_features(layout, row))(rows)
