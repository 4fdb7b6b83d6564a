"""The compiled functions of training: many steps at once, and a look at held-out examples."""

from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

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
        self, trainable: Tree, state: PyTree, data: Array, batches: Array, key: jax.Array, step: int
    ) -> tuple[Tree, PyTree, Any, Array]:
        """Many steps; the mean terms over all of them, and whether the parameters they led to are all finite."""
        return _chunk((self, data, batches, key, jnp.asarray(step)), trainable, state)

    def evaluate(self, trainable: Tree, data: Array, key: jax.Array, step: int) -> Any:
        """The mean terms over held-out examples, with the same noise every time."""
        return _evaluate(self, trainable, data, key, jnp.asarray(step))

    def terms(self, trainable: PyTree, x: Array, keys: jax.Array, step: Array) -> Any:
        """The objective's terms for one example."""
        whole = combine(trainable, self.rest)
        return self.objective(whole, self.transform(x, keys[0]), key=keys[1], step=step)

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
    given: tuple[Program, Array, Array, jax.Array, Array], trainable: PyTree, state: PyTree
) -> tuple[PyTree, PyTree, Any, Array]:
    program, data, batches, key, step = given

    def one(carry: tuple[PyTree, PyTree, Array], batch: Array) -> tuple[tuple[PyTree, PyTree, Array], Any]:
        trainable, state, step = carry
        noise = jax.random.fold_in(key, step)
        gradient, means = jax.grad(program.loss, has_aux=True)(trainable, data[batch], noise, step)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to a whole number
            updates, state = program.optimizer.update(gradient, state, trainable)
        return (optax.apply_updates(trainable, updates), state, step + 1), means

    (trainable, state, _), means = jax.lax.scan(one, (trainable, state, step), batches)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(trainable)]
    return trainable, state, jax.tree.map(jnp.mean, means), jnp.all(jnp.asarray(finite))


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
    shape = jax.eval_shape(program.terms, trainable, data[0], jax.random.split(key), step)
    zero = jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype), shape)
    total, _ = jax.lax.scan(one, zero, rows)
    return jax.tree.map(lambda t: t / len(data), total)
