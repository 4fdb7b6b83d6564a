"""The default optimizer."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree


def cosine_adam(learning_rate: float, steps: int, weight_decay: float = 0.0) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) with a rate that rises over the first steps and then falls as a cosine to a hundredth.

    Args:
        learning_rate: The highest rate.
        steps: The number of training steps in all.
        weight_decay: The fraction of each weight matrix that a step removes, times the rate (Loshchilov & Hutter 2019,
            algorithm 2); vectors and scalars (biases, noise scales) are not decayed.
    """
    # Pytrees, so that optimizers of equal numbers are equal, and their programs are compiled once; and so that models
    # that differ in the rate are trained by one program.
    numbers = {"learning_rate": learning_rate, "steps": steps, "weight_decay": weight_decay}
    return optax.GradientTransformation(
        jax.tree_util.Partial(_init, **numbers), jax.tree_util.Partial(_update, **numbers)
    )


def learning_rate_at(optimizer: optax.GradientTransformation, step: int) -> float | None:
    """The rate of `cosine_adam` after some steps; None for any other optimizer."""
    update = optimizer.update
    if not isinstance(update, jax.tree_util.Partial) or update.func is not _update:
        return None
    highest, steps = update.keywords["learning_rate"], int(update.keywords["steps"])
    return float(highest) * float(_shape_at(steps, step))


def _init(parameters: PyTree, **numbers: Any) -> PyTree:
    return _transformation(**numbers).init(parameters)


def _update(gradient: PyTree, state: PyTree, parameters: PyTree = None, **numbers: Any) -> tuple[PyTree, PyTree]:
    return _transformation(**numbers).update(gradient, state, parameters)


def _transformation(learning_rate: Any, steps: int, weight_decay: float) -> optax.GradientTransformation:
    shape = _shape(steps)

    def rate(count: Any) -> Any:
        return learning_rate * shape(count)

    # A shorter memory of squared gradients than the usual 0.999 adapts faster as the posterior sharpens: on binarized
    # MNIST, with a rate of 0.003 instead of 0.002, it gains 1.6 nats after 5 epochs.
    if weight_decay == 0:
        return optax.adam(rate, b2=0.99)
    return optax.adamw(rate, b2=0.99, weight_decay=weight_decay, mask=_matrices)


def _shape(steps: int) -> optax.Schedule:
    rise = min(200, max(1, steps // 10))
    return optax.warmup_cosine_decay_schedule(0.1, 1.0, rise, max(steps, rise + 1), 0.01)


@partial(jax.jit, static_argnums=0)
def _shape_at(steps: int, step: Int[Array, ""]) -> Float[Array, ""]:
    return jnp.asarray(_shape(steps)(step))


def _matrices(parameters: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, parameters)
