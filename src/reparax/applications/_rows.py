"""Applying a function of one row to many rows, and importance samples of the latent variable."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, PyTree, PyTreeDef, UInt32

from reparax.compiler import Effort, effort_for_rows, in_float32, options
from reparax.data import Dataset, dense
from reparax.errors import RecipeError
from reparax.estimators import log_mean_exp, sample_with_log_prob
from reparax.model import Model
from reparax.networks import given
from reparax.parts import as_number
from reparax.recipe import FittedModel
from reparax.tables import adapter_of

VALUES_PER_BATCH = 1 << 19
"""Times 4 where the memory is not that of a CPU, whose caches make fewer rows at once a tenth faster; and of a few
hundred rows less is padding."""

LARGEST_BATCH = 2048
MOST_PROGRAMS = 8
"""Compiled programs that are kept."""


def row_hashes(values: np.ndarray) -> UInt32[np.ndarray, "n 2"]:
    """Two 32-bit hashes of the bytes of each row, so that the noise of a row depends only on the row.

    Equal rows get equal noise, whatever their order and the other rows.
    """
    count = len(values)
    data = np.ascontiguousarray(values).reshape(count, -1).view(np.uint8)
    if data.shape[1] % 8:
        data = np.pad(data, ((0, 0), (0, -data.shape[1] % 8)))
    words = data.view(np.uint64)
    factors = np.random.default_rng(0).integers(0, 1 << 63, words.shape[1], dtype=np.uint64)
    mixed = words >> np.uint64(31)
    mixed ^= words
    total = np.einsum("nw,w->n", mixed, factors * np.uint64(2) + np.uint64(1))
    total = (total ^ (total >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    total ^= total >> np.uint64(32)
    return np.stack([total >> np.uint64(32), total & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)


def batch_size(fitted: FittedModel, work: int = 1) -> int:
    """How many rows are computed at once; depends only on the model and the memory for one row.

    Args:
        fitted: The fitted model.
        work: The memory that the computation for a row takes, in multiples of the memory of the row.
    """
    values = VALUES_PER_BATCH * (1 if jax.default_backend() == "cpu" else 4)
    return max(1, min(LARGEST_BATCH, values // (fitted.units.summary.size * work)))


def batches(count: int, size: int) -> Iterator[tuple[int, Int[np.ndarray, " size"], int]]:
    """Batches of one size: their number, the indices of their rows (padded with the last), how many are not padding."""
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
    at_once: int | None = None,
    model: Any = None,
) -> PyTree:
    """``function(model, x, key)`` for every row x; the results are stacked as NumPy arrays.

    All batches have one shape that depends only on the model and ``work``, and the last one is padded, so that the
    result of a row is the same to the last bit whatever the other rows are. x is what ``transform`` makes of the stored
    row and its key: for example, binarized.

    Args:
        function: A function of one row; hashable, so that it is compiled only once.
        fitted: The fitted model.
        dataset: Rows in the user's units that match the schema, with their contexts if there are any.
        transform: Maps a stored row and a key to x; hashable, such as `Units.transform` or `Units.expected`.
        key: Combined with the hash of a row to make the key of the row.
        work: The memory that the computation for a row takes, in multiples of the memory of the row.
        at_once: The most rows that are computed at once; None for as many as memory allows. Fewer are faster for single
            rows; the last digits of floating-point numbers may depend on it.
        model: What the function gets in place of the model: the models of an ensemble.

    Raises:
        RecipeError: An ensemble, of which no models are given.
    """
    if model is None:
        fitted.require_one("to apply a function to")
    stored, size = fitted.units.stored(dataset.values), min(batch_size(fitted, work), at_once or LARGEST_BATCH)
    contexts = dataset.context
    leaves, structure = jax.tree.flatten((function, transform, fitted.model if model is None else model))
    arrays, rest = eqx.partition(tuple(leaves), eqx.is_array)

    def inputs() -> Iterator[tuple[tuple[Array, Array | None], Array, int]]:
        for _, places, kept in batches(len(dataset), size):
            rows = dense(stored[places])
            context = None if contexts is None else jnp.asarray(contexts[places])
            yield (jnp.asarray(rows), context), jnp.asarray(row_hashes(rows)), kept

    remaining = inputs()
    first = next(remaining)
    shapes = jax.tree.map(_Shape.of, (arrays, key, *first[:2]))
    leaves_of, tree = jax.tree.flatten(shapes, is_leaf=lambda leaf: isinstance(leaf, _Shape))
    effort = effort_for_rows(fitted.schema.num_examples)
    program = _compiled((structure, rest), (tuple(leaves_of), tree), _settings(), effort)

    def results_of(rows: tuple[Array, Array | None], marks: Array, kept: int) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[:kept], jax.device_get(program(arrays, key, rows, marks)))

    pieces = _in_order(results_of, chain([first], remaining), _num_workers(program) if len(dataset) > size else 1)
    return _stacked(pieces, len(dataset))


class _Shape(NamedTuple):
    """What a program must know of an array."""

    shape: tuple[int, ...]
    dtype: Any
    weak_type: bool

    @classmethod
    def of(cls, array: Array) -> Self:
        """That of an array."""
        return cls(array.shape, array.dtype, bool(getattr(array, "weak_type", False)))

    def outline(self) -> jax.ShapeDtypeStruct:
        """The same for tracing."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype, weak_type=self.weak_type)


def _settings() -> tuple[Any, ...]:
    """The settings of jax on which a compiled program depends."""
    config: Any = jax.config
    return config.jax_enable_x64, config.jax_default_matmul_precision, config.jax_debug_nans, jax.default_backend()


@lru_cache(maxsize=MOST_PROGRAMS)
def _compiled(
    static: tuple[PyTreeDef, tuple],
    shapes: tuple[tuple[_Shape, ...], PyTreeDef],
    settings: tuple[Any, ...],
    effort: Effort,
) -> jax.stages.Compiled:
    """The program of a batch; data that come in pieces are computed by the same one."""
    arguments = jax.tree.unflatten(shapes[1], [shape.outline() for shape in shapes[0]])
    return _batch.lower(static, *arguments).compile(compiler_options=options(effort) or None)


@partial(jax.jit, static_argnums=0)
@in_float32
def _batch(
    static: tuple[PyTreeDef, tuple], arrays: tuple, key: Array, rows: tuple[Array, Array | None], marks: Array
) -> PyTree:
    structure, rest = static
    function, transform, model = jax.tree.unflatten(structure, eqx.combine(arrays, rest))

    def one(example: tuple[Array, Array | None], mark: Array) -> PyTree:
        row, context = example
        of_row = jax.random.fold_in(jax.random.fold_in(key, mark[0]), mark[1])
        for_transform, for_function = jax.random.split(of_row)
        x = transform(row, for_transform)
        return function(model if context is None else given(model, context), x, for_function)

    return jax.vmap(one)(rows, marks)


def _stacked(pieces: Iterator[PyTree], count: int) -> PyTree:
    """The rows of all pieces; each piece is freed once it is copied, so that memory holds one copy."""
    stacked, start = None, 0
    for piece in pieces:
        if stacked is None:
            stacked = jax.tree.map(lambda leaf: np.empty((count, *leaf.shape[1:]), leaf.dtype), piece)
        leaves = jax.tree.leaves(piece)
        for place, leaf in zip(jax.tree.leaves(stacked), leaves, strict=True):
            place[start : start + len(leaf)] = leaf
        start += len(leaves[0])
    return stacked


def _in_order(function: Callable[..., PyTree], inputs: Iterable[tuple], num_workers: int) -> Iterator[PyTree]:
    """``function(*arguments)`` for each input, in order, computed by threads a few inputs ahead.

    The function must be compiled before, as the settings of jax's context managers do not reach other threads.
    """
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[Future] = deque()
        for arguments in inputs:
            waiting.append(pool.submit(function, *arguments))
            if len(waiting) > 2 * num_workers:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def _num_workers(program: jax.stages.Compiled) -> int:
    """How many batches are computed at once: two, as one does not keep all cores busy; one for LAPACK programs.

    jaxlib 0.10.2 waits for its threads from inside LAPACK calls, so that two such programs at once may never end.
    """
    return 1 if 'custom_call_target="lapack' in (program.as_text() or "") else 2


def importance_samples(
    model: Model, posterior: dist.Distribution, key: Array, num_samples: int
) -> tuple[Array, Float[Array, " k"]]:
    """Draws of z from q(z | x), and log q(z | x) - log p(z) of each; a deterministic posterior gives its point, and 0.

    The log importance weights are log p(x | z) minus the second result.
    """
    if not model.posterior.has_density:
        return posterior.sample(key, (1,)), jnp.zeros(1)
    prior = model.prior(model.posterior)
    # All draws of a code that x is rounded to are equal.
    count = 1 if model.posterior.part.is_rounded else num_samples
    z, log_q = sample_with_log_prob(posterior, key, (count,))
    return z, log_q - jax.vmap(prior.log_prob)(z)


LARGEST_RESULT = 2**32
"""Numbers in one result: 32 GiB of them."""


def require_samples(num_samples: int, size: int = 1) -> None:
    """Checks a number of samples.

    Args:
        num_samples: The number.
        size: How many numbers a sample has.

    Raises:
        RecipeError: It is not a whole number, below 1, or too large for memory.
    """
    if as_number(num_samples, int) is None:
        raise RecipeError(expected="a whole number of samples", got=repr(num_samples), cure="round it")
    if num_samples < 1:
        raise RecipeError(expected="a number of samples from 1 up", got=f"{num_samples}", cure="ask for at least one")
    if num_samples * size > LARGEST_RESULT:
        raise RecipeError(
            expected=f"at most {LARGEST_RESULT // size:,} samples at once",
            got=f"{num_samples:,}",
            cure="draw them in several calls, with another key or seed each",
        )


def map_with_samples(
    function: Callable[[Any, Array, Array], PyTree],
    fitted: FittedModel,
    dataset: Dataset,
    num_samples: int,
    seed: int,
    at_once: int | None = None,
    model: Any = None,
) -> PyTree:
    """`map_rows` for a function that draws samples.

    Raises:
        RecipeError: The number of samples is below 1.
    """
    require_samples(num_samples)
    key, transform = jax.random.key(seed), fitted.units.transform
    return map_rows(
        function, fitted, dataset, transform=transform, key=key, work=num_samples, at_once=at_once, model=model
    )


def map_members(
    function: Callable[[Any, Array, Array], PyTree],
    fitted: FittedModel,
    dataset: Dataset,
    num_samples: int,
    seed: int,
    at_once: int | None = None,
) -> list[PyTree]:
    """`map_with_samples` for each member of an ensemble, with the same noise.

    Raises:
        RecipeError: The number of samples is below 1.
    """
    return [map_with_samples(function, member, dataset, num_samples, seed, at_once) for member in fitted.members]


class Terms(eqx.Module):
    """The terms of the bound for one example.

    Attributes:
        iwae: The importance-weighted bound of K samples.
        reconstruction: E_q[log p(x | z)], averaged over the samples.
        kl: The KL to the prior, averaged over the samples.
        mean: The code.
        by_column: For tables, E[log p(x_j | z)] of each column under the weighted samples; else None.
    """

    iwae: Any
    reconstruction: Any
    kl: Any
    mean: Any
    by_column: Any


class _ComputeTerms(eqx.Module):
    """The function of one example that computes `Terms`; hashable, so that it is compiled once for each K."""

    num_samples: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> Terms:
        posterior = model.posterior(x)
        samples, kl = importance_samples(model, posterior, key, self.num_samples)
        reconstruction, by_column = jax.vmap(lambda z: _of_sample(model, z, x))(samples)
        if by_column is not None:
            by_column = jax.nn.softmax(reconstruction - kl) @ by_column
        bound = log_mean_exp(reconstruction - kl)
        return Terms(bound, jnp.mean(reconstruction), jnp.mean(kl), jnp.ravel(model.posterior.code(x)), by_column)


def terms_of(
    fitted: FittedModel, dataset: Dataset, num_samples: int, seed: int, at_once: int | None = None
) -> list[Terms]:
    """The terms of the bound for each row, stacked, of each member of an ensemble; `mixed` are those of the mixture.

    Raises:
        RecipeError: The number of samples is below 1.
    """
    return map_members(_ComputeTerms(num_samples), fitted, dataset, num_samples, seed, at_once)


def _of_sample(model: Model, z: Array, x: Array) -> tuple[Float[Array, ""], Float[Array, " d"] | None]:
    """log p(x | z), and for tables that of each column."""
    distribution = model.likelihood(z)
    return distribution.log_prob(x), adapter_of(model.likelihood).log_prob_of_columns(distribution, x)
