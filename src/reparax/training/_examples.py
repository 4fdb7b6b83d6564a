"""Examples: arrays in a pytree, one example along the first axis of each."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from reparax.errors import DataError


def as_examples(data: PyTree, what: str, put: Callable[[Any], Array] = jnp.asarray) -> PyTree[Array]:
    """The data as arrays on the device.

    Args:
        data: The data.
        what: What they are, for errors.
        put: Puts an array on the device.

    Raises:
        DataError: No array, an array without an axis, arrays of different numbers of examples, or no example.
    """
    counts = [np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)]
    if not counts or () in counts:
        raise DataError(
            expected=f"{what}: one array or more, examples along the first axis of each",
            got="a single value" if counts else "no array",
            cure="give an array, or a pytree of arrays such as (values, context)",
        )
    if len(set(counts)) > 1:
        raise DataError(
            expected=f"{what}: the same number of examples in every array",
            got=f"{', '.join(str(count) for (count,) in counts)} examples",
            cure="give each array one row for each example, in the same order",
        )
    if counts[0] == (0,):
        raise DataError(
            expected=f"{what}: at least one example", got="no example", cure="give some, or omit the argument"
        )
    return jax.tree.map(put, data)


def same_structure(valid: PyTree, data: PyTree) -> None:
    """Refuses held-out examples whose structure is not that of the examples.

    Raises:
        DataError: Their pytrees differ.
    """
    of_valid, of_data = jax.tree.structure(valid), jax.tree.structure(data)
    if of_valid != of_data:
        raise DataError(
            expected=f"valid: examples with the structure of data, {of_data}",
            got=str(of_valid),
            cure="give both the same structure: if data is (values, context), valid is (values, context) too",
        )


def num_examples(data: PyTree[Array]) -> int:
    """How many examples there are."""
    return len(jax.tree.leaves(data)[0])


def take(data: PyTree[Array], rows: Int[Array, "*rows"]) -> Any:
    """Some of the examples, or one."""
    return jax.tree.map(lambda leaf: leaf[rows], data)
