"""A function of one row applied to many, whatever their number and order; importance samples of the latent variable."""

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
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, PyTree, PyTreeDef, UInt32

from reparax.data import Dataset
from reparax.errors import RecipeError
from reparax.estimators import log_mean_exp, sample_with_log_prob
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.tables import adapter_of

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


def importance_samples(
    model: Model, posterior: dist.Distribution, key: Array, num_samples: int
) -> tuple[Array, Float[Array, " k"]]:
    """Draws of z from q(z | x), and log q(z | x) - log p(z) of each; of a deterministic posterior its point, and 0.

    The log importance weights are log p(x | z) minus the latter.
    """
    if not model.posterior.has_density:
        return posterior.sample(key, (1,)), jnp.zeros(1)
    prior = model.prior(model.posterior)
    z, log_q = sample_with_log_prob(posterior, key, (num_samples,))
    return z, log_q - jax.vmap(prior.log_prob)(z)


def require_samples(num_samples: int) -> None:
    """Raises `RecipeError` for a number of samples below 1.

    Raises:
        RecipeError: There is less than one.
    """
    if num_samples < 1:
        raise RecipeError(expected="a number of samples from 1 up", got=f"{num_samples}", cure="ask for at least one")


def map_with_samples(
    function: Callable[[Any, Array, Array], PyTree],
    fitted: FittedModel,
    dataset: Dataset,
    num_samples: int,
    seed: int,
) -> PyTree:
    """What a function makes of each row with that many samples in all, as of `map_rows`.

    Raises:
        RecipeError: A number of samples below 1.
    """
    require_samples(num_samples)
    key, transform = jax.random.key(seed), fitted.units.transform
    return map_rows(function, fitted, dataset, transform=transform, key=key, work=num_samples)


class Terms(eqx.Module):
    """Of one example: the bound of K samples, reconstruction and KL, the code.

    Of tables also E[log p(x_j | z)] of each column under the weighted samples; else None.
    """

    iwae: Any
    reconstruction: Any
    kl: Any
    mean: Any
    by_column: Any


class _ComputeTerms(eqx.Module):
    """The bound of K samples and its parts, for one example; a value, so that one K is compiled once."""

    num_samples: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> Terms:
        posterior = model.posterior(x)
        samples, kl = importance_samples(model, posterior, key, self.num_samples)
        reconstruction, by_column = jax.vmap(lambda z: _of_sample(model, z, x))(samples)
        if by_column is not None:
            by_column = jax.nn.softmax(reconstruction - kl) @ by_column
        bound = log_mean_exp(reconstruction - kl)
        return Terms(bound, jnp.mean(reconstruction), jnp.mean(kl), jnp.ravel(model.posterior.code(x)), by_column)


def terms_of(fitted: FittedModel, dataset: Dataset, num_samples: int, seed: int) -> Terms:
    """The bound and its parts for each row, stacked.

    Raises:
        RecipeError: A number of samples below 1.
    """
    return map_with_samples(_ComputeTerms(num_samples), fitted, dataset, num_samples, seed)


def _of_sample(model: Model, z: Array, x: Array) -> tuple[Float[Array, ""], Float[Array, " d"] | None]:
    """log p(x | z), and of tables that of each column."""
    distribution = model.likelihood(z)
    return distribution.log_prob(x), adapter_of(model.likelihood).log_prob_of_columns(distribution, x)
