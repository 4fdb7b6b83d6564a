"""The compiled functions of training: many steps at once, and a look at held-out examples."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from reparax.pytrees import combine, partition

LARGEST_EVALUATED = 512

Tree = TypeVar("Tree")


class Terms(Protocol):
    """What an objective gives for one example: a pytree with at least these two scalars, in nats."""

    @property
    def objective(self) -> Float[Array, ""]: ...

    @property
    def bound(self) -> Float[Array, ""]: ...


class Objective(Protocol):
    """A number for one example that training makes large."""

    def __call__(self, model: Any, x: Array, *, key: jax.Array, step: Array) -> Any: ...


Transform = Callable[[Array, jax.Array], Array]


class Chunk(NamedTuple):
    """Some steps of training in a row.

    Attributes:
        batches: Examples' indices, shape (batches, batch size); the chunk is a part of them.
        start: Its first batch.
        count: How many batches it has.
        step: The number of steps before it.
    """

    batches: Array
    start: Any
    count: Any
    step: Any


class Program(eqx.Module):
    """What is trained, and how. A value: training a model of the same structure again compiles nothing again.

    Attributes:
        rest: The model without what is trained.
        objective: Terms for one example.
        optimizer: The optimizer.
        transform: From a stored example and a key to what the objective sees.
    """

    rest: PyTree
    objective: Objective
    optimizer: optax.GradientTransformation
    transform: Transform

    @classmethod
    def of(
        cls, model: PyTree, objective: Objective, optimizer: optax.GradientTransformation, transform: Transform
    ) -> Self:
        """The program of a model."""
        return cls(partition(model)[1], objective, optimizer, transform)

    def start(self, model: Tree) -> tuple[Tree, PyTree]:
        """Copies of the trainable arrays (they will be donated) and the optimizer's first state."""
        trainable = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), partition(model)[0])
        return trainable, _initial(self.optimizer.init, trainable)

    def chunk(
        self, trainable: Tree, state: PyTree, data: Array, chunk: Chunk, key: jax.Array
    ) -> tuple[Tree, PyTree, Any, Array]:
        """One step for each batch of a chunk; chunks of any length are one compiled program.

        Returns:
            The parameters and the optimizer's state, the mean terms over all steps, and whether the parameters are all
            finite.
        """
        return _chunk((self, data, jax.tree.map(jnp.asarray, chunk), key), trainable, state)

    def evaluate(self, trainable: Tree, data: Array, key: jax.Array, step: int) -> Any:
        """The mean terms over held-out examples, with the same noise every time."""
        return _evaluate(self, trainable, data, key, jnp.asarray(step))

    def terms(self, trainable: PyTree, x: Array, keys: jax.Array, step: Array) -> Any:
        """The objective's terms for one example."""
        whole = combine(trainable, self.rest)
        return self.objective(whole, self.transform(x, keys[0]), key=keys[1], step=step)

    def nothing(self, trainable: PyTree, data: Array) -> Any:
        """The terms of no example, to add others to."""
        shape = jax.eval_shape(self.terms, trainable, data[0], jax.random.split(jax.random.key(0)), jnp.asarray(0))
        return jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype), shape)

    def loss(self, trainable: PyTree, batch: Array, key: jax.Array, step: Array) -> tuple[Array, Any]:
        """Minus the mean objective of a batch, and the means of all terms."""
        keys = jax.random.split(key, (len(batch), 2))
        means = jax.tree.map(jnp.mean, jax.vmap(self.terms, in_axes=(None, 0, 0, None))(trainable, batch, keys, step))
        return -means.objective, means


@eqx.filter_jit
def _initial(init: Callable[[PyTree], PyTree], trainable: PyTree) -> PyTree:
    return init(trainable)


@eqx.filter_jit(donate="all-except-first")
def _chunk(
    given: tuple[Program, Array, Chunk, jax.Array], trainable: PyTree, state: PyTree
) -> tuple[PyTree, PyTree, Any, Array]:
    program, data, chunk, key = given

    def one(index: Array, carry: tuple[PyTree, PyTree, Any]) -> tuple[PyTree, PyTree, Any]:
        trainable, state, total = carry
        step = chunk.step + index
        rows = data[chunk.batches[chunk.start + index]]
        noise = jax.random.fold_in(key, step)
        gradient, means = jax.grad(program.loss, has_aux=True)(trainable, rows, noise, step)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to a whole number
            updates, state = program.optimizer.update(gradient, state, trainable)
        return optax.apply_updates(trainable, updates), state, jax.tree.map(jnp.add, total, means)

    trainable, state, total = jax.lax.fori_loop(
        0, chunk.count, one, (trainable, state, program.nothing(trainable, data))
    )
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(trainable)]
    return trainable, state, jax.tree.map(lambda term: term / chunk.count, total), jnp.all(jnp.asarray(finite))


@eqx.filter_jit
def _evaluate(program: Program, trainable: PyTree, data: Array, key: jax.Array, step: Array) -> Any:
    def one(total: Any, index: Array) -> tuple[Any, None]:
        rows = jnp.minimum(index, len(data) - 1)
        keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(rows)
        found = jax.vmap(program.terms, in_axes=(None, 0, 0, None))(trainable, data[rows], keys, step)
        counted = jax.tree.map(lambda t: jnp.sum(jnp.where(index < len(data), t, 0.0)), found)
        return jax.tree.map(jnp.add, total, counted), None

    size = min(len(data), LARGEST_EVALUATED)
    rows = jnp.arange(-(-len(data) // size) * size).reshape(-1, size)
    total, _ = jax.lax.scan(one, program.nothing(trainable, data), rows)
    return jax.tree.map(lambda t: t / len(data), total)
