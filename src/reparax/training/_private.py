"""Differentially private steps: each example's gradient is clipped, noise is added, batches are drawn independently."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from reparax.training._devices import Devices
from reparax.training._examples import num_examples, take

AT_ONCE = 32
"""So many gradients are held at once; the size of a batch is a multiple of it."""
NOISE = 1 << 30
"""Folded into the key of a step for the noise of its gradient."""


class Poisson(NamedTuple):
    """Batches that each example enters with the same probability, independently of all others.

    The guarantees of differential privacy that accountants give are for such batches, not for shuffled ones
    (Chua et al. 2024, "How private are DP-SGD implementations?").

    Attributes:
        rate: The probability.
        most: The largest batch; where more are drawn, some are left out.
        num_examples: How many examples there are.
    """

    rate: float
    most: int
    num_examples: int

    def batches(self, key: jax.Array, steps: Int[Array, " s"]) -> Int[Array, "s b"]:
        """The places of the examples of some steps, filled up with a place that none has."""
        return _drawn(key, steps, jnp.float32(self.rate), self.most, self.num_examples)


@partial(jax.jit, static_argnums=(3, 4))
def _drawn(key: jax.Array, steps: Int[Array, " s"], rate: Array, most: int, num_examples: int) -> Int[Array, "s b"]:
    def one(step: Int[Array, ""]) -> Int[Array, " b"]:
        chosen = jax.random.uniform(jax.random.fold_in(key, step), (num_examples,)) < rate
        return jnp.nonzero(chosen, size=most, fill_value=num_examples)[0].astype(jnp.int32)

    return jax.lax.map(one, steps)


class Private(eqx.Module):
    """The gradient of differentially private stochastic gradient descent: Abadi et al. (2016), algorithm 1.

    Of each example of a batch the gradient g is scaled to clip(g) = g min(1, C / |g|). Their sum gets Normal noise of
    standard deviation s C in each coordinate, and is divided by the expected size of a batch. A gradient that is not
    finite counts as zero, so that no single example can be seen in whether a step was finite.

    Attributes:
        clip: C, the largest norm of an example's gradient.
        noise: s, the noise in multiples of it.
        batch_size: The expected size of a batch.
        num_examples: The number of examples, as far as it may be known: it sets the number of steps.
        most: The largest batch.
    """

    clip: float
    noise: float
    batch_size: int
    num_examples: int
    most: int

    def __check_init__(self) -> None:
        if self.most % AT_ONCE:
            raise ValueError(f"the largest batch must be a multiple of {AT_ONCE}, not {self.most}")

    def sampling(self, num_examples: int) -> Poisson:
        """How batches are drawn from so many examples."""
        return Poisson(self.batch_size / self.num_examples, self.most, num_examples)

    def gradient(
        self,
        of_example: Callable[[PyTree, Any, jax.Array], Any],
        trainable: PyTree,
        data: PyTree[Array],
        rows: Int[Array, " b"],
        key: jax.Array,
        devices: Devices = Devices(),
    ) -> tuple[PyTree, Any]:
        """The gradient of minus the mean objective, and the means of all terms, which are not private.

        Args:
            of_example: The terms of an example, from the trainable arrays, the example, and two keys.
            trainable: The arrays that are trained.
            data: The examples.
            rows: The places of the examples of the batch; those that none has do not count.
            key: The random key of the step.
            devices: Where the examples are whose gradients are held at once.
        """
        keys = jax.random.split(key, (len(rows), 2))
        there = rows < num_examples(data)

        def loss(trainable: PyTree, x: Any, keys: jax.Array) -> tuple[Array, Any]:
            terms = of_example(trainable, x, keys)
            return -terms.objective, terms

        def some(part: tuple[Array, Array, jax.Array]) -> Any:
            rows, there, keys = part
            batch = take(data, devices.divided(jnp.minimum(rows, num_examples(data) - 1)))
            gradients, terms = jax.vmap(jax.grad(loss, has_aux=True), (None, 0, 0))(trainable, batch, keys)
            return _clipped_sum(gradients, there, self.clip), jax.tree.map(partial(_sum, there=there), terms)

        def add(total: Any, part: tuple[Array, Array, jax.Array]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, some(part)), None

        parts = jax.tree.map(lambda leaf: leaf.reshape(-1, AT_ONCE, *leaf.shape[1:]), (rows, there, keys))
        outline = jax.eval_shape(some, jax.tree.map(lambda leaf: leaf[0], parts))
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), outline)
        (clipped, terms), _ = jax.lax.scan(add, nothing, parts)
        noise = _normal(clipped, jax.random.fold_in(key, NOISE))
        scale = self.noise * self.clip
        gradient = jax.tree.map(lambda g, e: (g + scale * e) / self.batch_size, clipped, noise)
        count = jnp.maximum(jnp.sum(there), 1).astype(jnp.float32)
        return gradient, jax.tree.map(lambda term: term / count, terms)


def _clipped_sum(gradients: PyTree[Array], there: Bool[Array, " b"], clip: float) -> PyTree[Array]:
    """The sum of gradients along the first axis, of norms of at most ``clip`` each."""
    squares = [jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(gradients)]
    norms = jnp.sqrt(sum(squares, jnp.zeros(len(there))))
    counted = there & jnp.isfinite(norms)
    scale = jnp.where(counted, jnp.minimum(1.0, clip / jnp.maximum(norms, jnp.finfo(jnp.float32).tiny)), 0.0)

    def summed(leaf: Array) -> Array:
        finite = jnp.where(counted.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 0.0)
        return jnp.tensordot(scale, finite, axes=1)

    return jax.tree.map(summed, gradients)


def _sum(terms: Array, there: Bool[Array, " b"]) -> Array:
    return jnp.sum(jnp.where(there, terms, 0.0))


def _normal(like: PyTree[Array], key: jax.Array) -> PyTree[Array]:
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)
