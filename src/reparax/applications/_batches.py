"""Applies a function of one row to many rows, the same way whatever the number and the order of the rows."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, UInt32

from reparax.recipe import FittedModel

VALUES_PER_BATCH = 1 << 22
LARGEST_BATCH = 1024


def row_hashes(values: np.ndarray) -> UInt32[np.ndarray, "n 2"]:
    """Two 32-bit hashes of each row's bytes, so that a row's noise depends on the row alone.

    Equal rows get equal noise; the order of rows and the rows around one do not matter.
    """
    count = len(values)
    data = np.ascontiguousarray(values).reshape(count, -1).view(np.uint8)
    words = np.pad(data, ((0, 0), (0, -data.shape[1] % 8))).view(np.uint64)
    draw = np.random.default_rng(0).integers(0, 1 << 63, words.shape[1], dtype=np.uint64)
    total = ((words ^ (words >> np.uint64(31))) * (draw * np.uint64(2) + np.uint64(1))).sum(axis=1, dtype=np.uint64)
    total = (total ^ (total >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    total ^= total >> np.uint64(32)
    return np.stack([total >> np.uint64(32), total & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)


def batch_size(fitted: FittedModel, work: int = 1) -> int:
    """How many rows are computed at once: it depends on the model and the work for one row alone.

    Args:
        fitted: The fitted model.
        work: How many times the memory of one row a row's computation takes.
    """
    return max(1, min(LARGEST_BATCH, VALUES_PER_BATCH // (fitted.units.summary.size * work)))


def batches(count: int, size: int) -> Iterator[tuple[int, Int[np.ndarray, " size"], int]]:
    """Batches of one size: the number of each, the places of its rows (the last one repeated), how many are real."""
    for number, start in enumerate(range(0, count, size)):
        yield number, np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)


def map_rows(
    function: Callable[[Any, Array, Array], PyTree],
    fitted: FittedModel,
    values: np.ndarray,
    *,
    transform: Callable[[Array, Array], Array],
    key: jax.Array,
    work: int = 1,
) -> PyTree:
    """``function(model, x, key)`` for every row x; the results, stacked, as NumPy arrays.

    All batches have one shape that depends on the model and ``work`` alone, the last one padded, so that a row's result
    has the same bits in whatever company it comes. x is as ``transform`` makes it from the stored row: binarized where
    the recipe says so, once, from the row's own key.

    Args:
        function: Of one row; hashable, so that it is compiled once and not at every call.
        fitted: The fitted model.
        values: Rows in the user's units, already checked against the schema.
        transform: From a stored row and a key to x, hashable as well: `Units.transform` or `Units.expected`.
        key: With the row's hash it makes the row's key.
        work: How many times the memory of one row a row's computation takes.
    """
    stored = fitted.units.stored(values)
    pieces = []
    for _, places, kept in batches(len(stored), batch_size(fitted, work)):
        rows = stored[places]
        marks = jnp.asarray(row_hashes(rows))
        found = _batch(function, transform, fitted.model, key, jnp.asarray(rows), marks)
        pieces.append(jax.tree.map(lambda leaf, kept=kept: leaf[:kept], jax.device_get(found)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


@eqx.filter_jit
def _batch(
    function: Callable[[Any, Array, Array], PyTree],
    transform: Callable[[Array, Array], Array],
    model: PyTree,
    key: Array,
    rows: Array,
    marks: Array,
) -> PyTree:
    def one(row: Array, mark: Array) -> PyTree:
        own = jax.random.fold_in(jax.random.fold_in(key, mark[0]), mark[1])
        seen, noise = jax.random.split(own)
        return function(model, transform(row, seen), noise)

    return jax.vmap(one)(rows, marks)
