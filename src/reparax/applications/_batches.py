"""Applies a function of one row to many rows, the same way whatever the number and the order of the rows."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, PyTreeDef, UInt32

from reparax.data import Dataset
from reparax.recipe import FittedModel

VALUES_PER_BATCH = 1 << 21
LARGEST_BATCH = 2048


def row_hashes(values: np.ndarray) -> UInt32[np.ndarray, "n 2"]:
    """Two 32-bit hashes of each row's bytes, so that a row's noise depends on the row alone.

    Equal rows get equal noise; the order of rows and the rows around one do not matter.
    """
    count = len(values)
    data = np.ascontiguousarray(values).reshape(count, -1).view(np.uint8)
    if data.shape[1] % 8:
        data = np.pad(data, ((0, 0), (0, -data.shape[1] % 8)))
    words = data.view(np.uint64)
    draw = np.random.default_rng(0).integers(0, 1 << 63, words.shape[1], dtype=np.uint64)
    mixed = words >> np.uint64(31)
    mixed ^= words
    total = np.einsum("nw,w->n", mixed, draw * np.uint64(2) + np.uint64(1))
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
    dataset: Dataset,
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
        dataset: Rows in the user's units, already checked against the schema, and their contexts where there are any.
        transform: From a stored row and a key to x, hashable as well: `Units.transform` or `Units.expected`.
        key: With the row's hash it makes the row's key.
        work: How many times the memory of one row a row's computation takes.
    """
    stored, size = fitted.units.stored(dataset.values), batch_size(fitted, work)
    contexts = dataset.context
    leaves, structure = jax.tree.flatten((function, transform, fitted.model))
    arrays, rest = eqx.partition(tuple(leaves), eqx.is_array)

    def inputs() -> Iterator[tuple[tuple[Array, Array | None], Array, int]]:
        for _, places, kept in batches(len(stored), size):
            rows = stored[places]
            context = None if contexts is None else jnp.asarray(contexts[places])
            yield (jnp.asarray(rows), context), jnp.asarray(row_hashes(rows)), kept

    given = inputs()
    first = next(given)
    program = _batch.lower((structure, rest), arrays, key, *first[:2]).compile()

    def found(rows: tuple[Array, Array | None], marks: Array, kept: int) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[:kept], jax.device_get(program(arrays, key, rows, marks)))

    pieces = _in_order(found, chain([first], given), _num_workers(program) if len(stored) > size else 1)
    return _stacked(pieces, len(stored))


@partial(jax.jit, static_argnums=0)
def _batch(
    static: tuple[PyTreeDef, tuple], arrays: tuple, key: Array, rows: tuple[Array, Array | None], marks: Array
) -> PyTree:
    structure, rest = static
    function, transform, model = jax.tree.unflatten(structure, eqx.combine(arrays, rest))

    def one(example: tuple[Array, Array | None], mark: Array) -> PyTree:
        row, context = example
        own = jax.random.fold_in(jax.random.fold_in(key, mark[0]), mark[1])
        seen, noise = jax.random.split(own)
        return function(model if context is None else model.given(context), transform(row, seen), noise)

    return jax.vmap(one)(rows, marks)


def _stacked(pieces: Iterator[PyTree], count: int) -> PyTree:
    """The rows of all pieces; each piece is dropped when it is copied, so that no two copies of all are held."""
    whole, start = None, 0
    for piece in pieces:
        if whole is None:
            whole = jax.tree.map(lambda leaf: np.empty((count, *leaf.shape[1:]), leaf.dtype), piece)
        leaves = jax.tree.leaves(piece)
        for place, leaf in zip(jax.tree.leaves(whole), leaves, strict=True):
            place[start : start + len(leaf)] = leaf
        start += len(leaves[0])
    return whole


def _in_order(function: Callable[..., PyTree], inputs: Iterable[tuple], num_workers: int) -> Iterator[PyTree]:
    """``function(*one)`` of each input in their order, computed in threads, few of them ahead.

    The program is compiled before: what jax's context managers say does not reach other threads.
    """
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[Future] = deque()
        for one in inputs:
            waiting.append(pool.submit(function, *one))
            if len(waiting) > 2 * num_workers:
                yield waiting.popleft().result()
        yield from (one.result() for one in waiting)


def _num_workers(program: jax.stages.Compiled) -> int:
    """How many batches are computed at once: two, as one does not keep all cores busy.

    One only where LAPACK is called: jaxlib 0.10.2 waits for its threads from inside them, so that two such programs at
    once on two cores may never end.
    """
    return 1 if 'custom_call_target="lapack' in (program.as_text() or "") else 2
