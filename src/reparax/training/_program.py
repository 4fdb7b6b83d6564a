"""The compiled functions of training: many steps at once over examples in a pytree, and evaluation."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from reparax.compiler import Effort, compiled
from reparax.pytrees import BATCH, combine, partition
from reparax.training._collectives import require_right_gradients
from reparax.training._devices import Devices
from reparax.training._examples import num_examples, take
from reparax.training._private import Private

LARGEST_EVALUATED = 512
STEPS_PER_NORM = 10

Tree = TypeVar("Tree")


class Terms(Protocol):
    """The result of an objective for one example: a pytree with at least these two scalars, in nats."""

    @property
    def objective(self) -> Float[Array, ""]: ...

    @property
    def bound(self) -> Float[Array, ""]: ...


class Objective(Protocol):
    """A number for one example that training maximizes; it may use other examples by collectives over `BATCH`."""

    def __call__(self, model: Any, x: Any, *, key: jax.Array, step: Array) -> Any: ...


Transform = Callable[[Any, jax.Array], Any]


class Chunk(NamedTuple):
    """Consecutive steps of training.

    Attributes:
        batches: The indices of examples, shape (batches, batch size), of which the chunk is a part.
        start: Its first batch.
        count: How many batches it has.
        step: The number of steps before it.
    """

    batches: Array
    start: Any
    count: Any
    step: Any


class Norms(NamedTuple):
    """Sums over steps of the norm of the gradient of each part; see `norms_of`.

    It is taken of every tenth step, because reading a large gradient once more takes a tenth of the time of a step.

    Attributes:
        sums: The sums, by the name of the part.
        count: Of how many steps.
    """

    sums: dict[str, Float[Array, ""]]
    count: Int[Array, ""]

    def plus(self, gradient: PyTree[Array], step: Array) -> "Norms":
        """Those with one more step."""

        def taken() -> Norms:
            return Norms(jax.tree.map(jnp.add, self.sums, norms_of(gradient)), self.count + 1)

        return jax.lax.cond(step % STEPS_PER_NORM == 0, taken, lambda: self)


class Carry(eqx.Module):
    """What training steps change.

    Attributes:
        trainable: The arrays that are trained.
        optimizer: The state of the optimizer.
        totals: The sums of the terms of the steps since the last look at the held-out examples.
        norms: The sums of the norms of the gradient in these steps, for each part of what is trained.
        skipped: How many steps since then were not applied.
        trouble: The first of them, and what was not finite in it: a place in `TROUBLES`.
    """

    trainable: PyTree
    optimizer: PyTree
    totals: PyTree
    norms: Norms
    skipped: Int[Array, ""]
    trouble: Int[Array, "2"]

    def copied(self) -> "Carry":
        """The same in other buffers, which the next steps do not consume."""
        return jax.tree.map(jnp.copy, self)

    def looked_at(self) -> "Carry":
        """The same with nothing summed up yet."""
        nothing = jax.tree.map(jnp.zeros_like, (self.totals, self.norms, self.skipped, self.trouble))
        return Carry(self.trainable, self.optimizer, *nothing)


TROUBLES = ("objective", "gradient", "update")


class Program(eqx.Module):
    """What is trained, and how; training another model of the same structure compiles nothing again.

    Attributes:
        rest: The model without the arrays that are trained.
        objective: Terms for one example.
        optimizer: The optimizer.
        transform: Maps a stored example and a key to the example for the objective.
        effort: How much the compiler optimizes; see `effort_for`.
        private: How gradients are made differentially private; None for the gradients of plain batches.
        devices: Where the examples of a batch are.
    """

    rest: PyTree
    objective: Objective
    optimizer: optax.GradientTransformation
    transform: Transform
    effort: Effort = "full"
    private: Private | None = None
    devices: Devices = eqx.field(static=True, default=Devices())

    @classmethod
    def of(
        cls,
        model: PyTree,
        objective: Objective,
        optimizer: optax.GradientTransformation,
        transform: Transform,
        effort: Effort = "full",
        private: Private | None = None,
        devices: Devices = Devices(),
    ) -> Self:
        """The program of a model."""
        return cls(partition(model)[1], objective, optimizer, transform, effort, private, devices)

    def start(self, model: PyTree, data: PyTree[Array], batch_size: int) -> Carry:
        """Copies of the trainable arrays (they will be donated) and the optimizer's first state.

        Raises:
            TrainingError: The terms depend on other examples in a way whose gradient would be wrong.
        """
        trainable = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), partition(model)[0])
        optimizer, nothing = _initial(self, trainable, data, batch_size)
        norms = Norms({name: jnp.zeros(()) for name in parts_of(trainable)}, jnp.zeros((), jnp.int32))
        first = Carry(trainable, optimizer, nothing, norms, jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.int32))
        return self.devices.copied(first)

    def chunk(self, carry: Carry, data: PyTree[Array], chunk: Chunk, key: jax.Array) -> tuple[Carry, Array]:
        """One step for each batch of a chunk; chunks of any length are one compiled program.

        Returns:
            What they changed, and whether all of it stayed finite.
        """
        return _CHUNK[self.effort]((self, data, jax.tree.map(jnp.asarray, chunk), key), carry)

    def careful(
        self, carry: Carry, data: PyTree[Array], chunk: Chunk, key: jax.Array, *, rate: float, most: int
    ) -> tuple[Carry, Array]:
        """The same, but a step whose objective, gradient or update is not finite is not applied, and counted.

        Args:
            carry: What the steps change; it is consumed.
            data: The examples.
            chunk: The steps.
            key: The random key for their noise.
            rate: Scales the updates.
            most: Stop when this many steps since the last look were not applied.

        Returns:
            What they changed, and whether fewer than ``most`` were not applied.
        """
        given = (self, data, jax.tree.map(jnp.asarray, chunk), key, jnp.asarray(rate), jnp.asarray(most))
        return _CAREFUL[self.effort](given, carry)

    def evaluate(
        self, trainable: Tree, data: PyTree[Array], key: jax.Array, step: int, batch_size: int
    ) -> tuple[Any, Float[Array, ""]]:
        """The mean terms over held-out examples, with the same noise every time, and the standard error of the bound.

        An objective that sees its batch gets batches of ``batch_size``; for any other the size does not matter. The
        error is over the examples, and NaN for a single one.
        """
        return _EVALUATE[self.effort](self, trainable, data, key, jnp.asarray(step), batch_size)

    def one(self, trainable: PyTree, x: Any, keys: jax.Array, step: Array) -> Any:
        """The objective's terms for one example."""
        model = combine(trainable, self.rest)
        return self.objective(model, self.transform(x, keys[0]), key=keys[1], step=step)

    def terms(self, trainable: PyTree, batch: PyTree[Array], keys: jax.Array, step: Array) -> Any:
        """The objective's terms for each example of a batch."""
        return jax.vmap(self.one, in_axes=(None, 0, 0, None), axis_name=BATCH)(trainable, batch, keys, step)

    def loss(self, trainable: PyTree, batch: PyTree[Array], keys: jax.Array, step: Array) -> tuple[Array, Any]:
        """Minus the mean objective of a batch, and the means of all terms."""
        means = jax.tree.map(jnp.mean, self.terms(trainable, batch, keys, step))
        return -means.objective, means

    def is_summed_at_once(self, trainable: PyTree, data: PyTree[Array], chunk: Chunk) -> bool:
        """Whether the gradients of the parts of a batch are to be summed as one array, and can be."""
        batch_size = chunk.batches.shape[-1]
        if not self.devices.sums_slowly or batch_size % self.devices.count:
            return False
        nothing, sees_batch = self.outline(trainable, data, batch_size)
        return not sees_batch and len({leaf.dtype for leaf in jax.tree.leaves((trainable, nothing))}) == 1

    def summed_at_once(
        self, trainable: PyTree, data: PyTree[Array], rows: Int[Array, " b"], keys: jax.Array, step: Array
    ) -> tuple[PyTree, Any]:
        """The gradient of `loss` in the trainable arrays and the means of all terms: means of those of equal parts.

        Left to itself, the compiler sums each array of the gradient over the devices by itself.
        """
        count = self.devices.count

        def of_part(rows: Int[Array, " p"], keys: jax.Array) -> tuple[PyTree, Any]:
            return jax.grad(self.loss, has_aux=True)(trainable, take(data, rows), keys, step)

        parts = jax.vmap(of_part)(self.devices.divided(rows.reshape(count, -1)), keys.reshape(count, -1, 2))
        leaves, structure = jax.tree.flatten(parts)
        sizes = [leaf[0].size for leaf in leaves]
        means = jnp.mean(jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1), axis=0)
        each = jnp.split(means, list(accumulate(sizes))[:-1])
        return jax.tree.unflatten(structure, [m.reshape(leaf.shape[1:]) for m, leaf in zip(each, leaves, strict=True)])

    def outline(self, trainable: PyTree, data: PyTree[Array], batch_size: int) -> tuple[Any, bool]:
        """Zeros with the structure of an example's terms, and whether these depend on other examples of the batch.

        The terms of one example are traced without an axis, and if that fails because the axis is missing, with one.

        Raises:
            TrainingError: They depend on other examples in a way whose gradient would be wrong.
        """
        arguments = (trainable, *jax.eval_shape(_first_example, data), jax.ShapeDtypeStruct((), jnp.int32))
        try:
            return _zeros(jax.eval_shape(self.one, *arguments)), False
        except NameError as error:
            if not re.search(rf"unbound axis name: {BATCH}\b", str(error)):
                raise
        trace = jax.make_jaxpr(self.one, axis_env=[(BATCH, batch_size)], return_shape=True)
        closed, shapes = trace(*arguments)
        of_example = zip((False, True, True, False), arguments, strict=True)
        differs = [differs for differs, argument in of_example for _ in jax.tree.leaves(argument)]
        require_right_gradients(closed.jaxpr, differs, BATCH)
        return _zeros(shapes), True


def keys_of(key: jax.Array, batch_size: int) -> jax.Array:
    """The keys of the examples of a batch: of each one for the transform and one for the objective."""
    return jax.random.split(key, (batch_size, 2))


def _first_example(data: PyTree[Array]) -> tuple[Any, jax.Array]:
    """An example and keys for it."""
    return take(data, jnp.asarray(0)), jax.random.split(jax.random.key(0))


def _zeros(shapes: PyTree[jax.ShapeDtypeStruct]) -> PyTree[Array]:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


@eqx.filter_jit
def _initial(program: Program, trainable: PyTree, data: PyTree[Array], batch_size: int) -> tuple[PyTree, Any]:
    return program.optimizer.init(trainable), program.outline(trainable, data, batch_size)[0]


class _Step(NamedTuple):
    """What one step makes of the parameters, and from what."""

    means: Any
    gradient: PyTree
    updates: PyTree
    optimizer: PyTree


def chunk_steps(given: tuple[Program, PyTree[Array], Chunk, jax.Array], carry: Carry) -> tuple[Carry, Array]:
    """One step for each batch of a chunk: what they changed, and whether all of it stayed finite."""
    infinite, devices = _num_infinite(carry.optimizer), given[0].devices

    def one(index: Array, carry: Carry) -> Carry:
        step = _step(*given, carry, index)
        trainable = optax.apply_updates(carry.trainable, step.updates)
        totals = jax.tree.map(jnp.add, carry.totals, step.means)
        norms = carry.norms.plus(step.gradient, given[2].step + index)
        return devices.kept(Carry(trainable, step.optimizer, totals, norms, carry.skipped, carry.trouble))

    carry = jax.lax.fori_loop(0, given[2].count, one, carry)
    # Whatever is not finite stays so, in the parameters, in the optimizer's state (some begin with infinities) or in
    # the sums: one look after many steps finds it, and costs them nothing.
    healthy = _is_finite((carry.trainable, carry.totals.objective)) & (_num_infinite(carry.optimizer) <= infinite)
    return carry, healthy


def _careful(given: tuple[Program, PyTree[Array], Chunk, jax.Array, Array, Array], carry: Carry) -> tuple[Carry, Array]:
    program, data, chunk, key, rate, most = given

    def goes_on(state: tuple[Array, Carry]) -> Array:
        return (state[0] < chunk.count) & (state[1].skipped < most)

    def one(state: tuple[Array, Carry]) -> tuple[Array, Carry]:
        index, before = state
        step = _step(program, data, chunk, key, before, index)
        trainable = optax.apply_updates(
            before.trainable, jax.tree.map(lambda update: update * rate.astype(update.dtype), step.updates)
        )
        totals = jax.tree.map(jnp.add, before.totals, step.means)
        norms = before.norms.plus(step.gradient, chunk.step + index)
        after = program.devices.kept(Carry(trainable, step.optimizer, totals, norms, before.skipped, before.trouble))
        whole = _num_infinite(step.optimizer) <= _num_infinite(before.optimizer)
        fine = (
            _is_finite(step.means.objective),
            _is_finite(step.gradient),
            _is_finite((step.updates, trainable)) & whole,
        )
        first = jnp.stack([chunk.step + index, jnp.argmin(jnp.stack(fine))]).astype(jnp.int32)
        trouble = jnp.where(before.skipped == 0, first, before.trouble)
        kept = replace(before, skipped=before.skipped + 1, trouble=trouble)
        applied = fine[0] & fine[1] & fine[2]
        return index + 1, jax.tree.map(lambda new, old: jnp.where(applied, new, old), after, kept)

    _, carry = jax.lax.while_loop(goes_on, one, (jnp.zeros((), jnp.int32), carry))
    return carry, carry.skipped < most


def _step(program: Program, data: PyTree[Array], chunk: Chunk, key: jax.Array, carry: Carry, index: Array) -> _Step:
    step, rows = chunk.step + index, chunk.batches[chunk.start + index]
    of_step, trainable = jax.random.fold_in(key, step), program.devices.used(carry.trainable)
    if program.private is not None:
        of_example = partial(program.one, step=step)
        gradient, means = program.private.gradient(of_example, trainable, data, rows, of_step, program.devices)
    elif program.is_summed_at_once(trainable, data, chunk):
        gradient, means = program.summed_at_once(trainable, data, rows, keys_of(of_step, len(rows)), step)
    else:
        batch = take(data, program.devices.divided(rows))
        gradient, means = jax.grad(program.loss, has_aux=True)(trainable, batch, keys_of(of_step, len(rows)), step)
    gradient = program.devices.kept(gradient)
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to a whole number
        updates, optimizer = program.optimizer.update(gradient, carry.optimizer, carry.trainable)
    return _Step(means, gradient, updates, optimizer)


def parts_of(tree: PyTree[Array]) -> dict[str, list[Array]]:
    """The arrays of a pytree by the name of its field, key or place that they are in; ``model`` if it is one array."""
    parts: dict[str, list[Array]] = {}
    for path, leaf in jax.tree.flatten_with_path(tree)[0]:
        parts.setdefault(jax.tree_util.keystr(path[:1], simple=True) or "model", []).append(leaf)
    return parts


def norms_of(gradient: PyTree[Array]) -> dict[str, Float[Array, ""]]:
    """The Euclidean norm of each part of a gradient."""
    parts = parts_of(gradient).items()

    def squared(leaf: Array) -> Array:
        # A product, as XLA on CPU sums one number after another: a seventh of the time of a step.
        real = jnp.abs(leaf) if jnp.iscomplexobj(leaf) else leaf
        numbers = jnp.ravel(real).astype(jnp.float32)
        return jnp.dot(numbers, numbers, precision=jax.lax.Precision.HIGHEST)

    return {name: jnp.sqrt(jnp.sum(jnp.stack([squared(leaf) for leaf in leaves]))) for name, leaves in parts}


def _is_finite(tree: PyTree) -> Array:
    return _num_infinite(tree) == 0


def _num_infinite(tree: PyTree) -> Array:
    """How many numbers of a pytree are not finite; those of one dtype are looked at as one array, compiled sooner."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    dtypes = dict.fromkeys(leaf.dtype for leaf in leaves)
    together = [jnp.concatenate([jnp.ravel(leaf) for leaf in leaves if leaf.dtype == dtype]) for dtype in dtypes]
    return sum([jnp.sum(~jnp.isfinite(numbers)) for numbers in together], jnp.zeros((), jnp.int32))


def evaluation(
    program: Program, trainable: PyTree, data: PyTree[Array], key: jax.Array, step: Array, batch_size: int
) -> tuple[Any, Float[Array, ""]]:
    """The mean terms over held-out examples, and the standard error of the bound; see `Program.evaluate`."""
    count = num_examples(data)
    nothing, sees_batch = program.outline(trainable, data, min(count, batch_size))
    # Batches of about equal size, so that few rows are computed twice.
    size = min(count, batch_size) if sees_batch else -(-count // -(-count // LARGEST_EVALUATED))

    def sums(first: Array) -> tuple[Any, _Spread]:
        # The last batch ends with the last row, and counts only rows that are not in the batch before it, so that all
        # batches have the same size and none has a row twice, which matters to an objective that sees its batch.
        rows = program.devices.divided(jnp.minimum(first, count - size) + jnp.arange(size))
        keys = jax.vmap(lambda row: jax.random.split(jax.random.fold_in(key, row)))(rows)
        terms = program.terms(trainable, take(data, rows), keys, step)
        new = rows >= first

        def total(term: Array) -> Array:
            return jnp.sum(jnp.where(new.reshape(-1, *[1] * (term.ndim - 1)), term, 0.0), axis=0)

        return jax.tree.map(total, terms), _Spread.of(terms.bound, new)

    def add(total: tuple[Any, _Spread], first: Array) -> tuple[tuple[Any, _Spread], None]:
        more, spread = sums(first)
        return (jax.tree.map(jnp.add, total[0], more), total[1].joined(spread)), None

    (total, spread), _ = jax.lax.scan(add, (nothing, _Spread.nothing()), jnp.arange(0, count, size))
    return jax.tree.map(lambda t: t / count, total), jnp.sqrt(spread.squares / (jnp.float32(count) - 1.0) / count)


class _Spread(NamedTuple):
    """The mean of some numbers and the sum of their squared deviations from it; Chan et al. (1979), equation 2.1.

    Attributes:
        count: How many numbers.
        mean: Their mean.
        squares: The sum of the squared deviations, which loses no digits where the mean is large.
    """

    count: Float[Array, ""]
    mean: Float[Array, ""]
    squares: Float[Array, ""]

    @classmethod
    def nothing(cls) -> Self:
        """No numbers."""
        return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))

    @classmethod
    def of(cls, numbers: Float[Array, " n"], counted: Bool[Array, " n"]) -> Self:
        """Those of some numbers that are counted."""
        numbers = jnp.asarray(numbers, jnp.float32)
        count = jnp.sum(counted, dtype=jnp.float32)
        mean = jnp.sum(jnp.where(counted, numbers, 0.0)) / jnp.maximum(count, 1.0)
        return cls(count, mean, jnp.sum(jnp.where(counted, (numbers - mean) ** 2, 0.0)))

    def joined(self, other: Self) -> Self:
        """Those of both."""
        count, apart = self.count + other.count, other.mean - self.mean
        mean = self.mean + apart * other.count / count
        return type(self)(count, mean, self.squares + other.squares + apart**2 * self.count * other.count / count)


_CHUNK = compiled(chunk_steps, donate="all-except-first")
_CAREFUL = compiled(_careful, donate="all-except-first")
_EVALUATE = compiled(evaluation)
