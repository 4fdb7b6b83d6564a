"""The default optimizer."""

from functools import lru_cache

import jax
import optax
from jaxtyping import PyTree


@lru_cache(maxsize=64)
def cosine_adam(learning_rate: float, steps: int, weight_decay: float = 0.0) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) with a rate that rises over the first steps and then falls as a cosine to a hundredth.

    Args:
        learning_rate: The highest rate.
        steps: The number of training steps in all.
        weight_decay: The fraction of each weight matrix that a step removes, times the rate (Loshchilov & Hutter 2019,
            algorithm 2); vectors and scalars (biases, noise scales) are not decayed.
    """
    # Cached, because optimizers are equal only if they are the same object, and equal programs are compiled once.
    rise = min(200, max(1, steps // 10))
    rate = optax.warmup_cosine_decay_schedule(
        learning_rate / 10, learning_rate, rise, max(steps, rise + 1), learning_rate / 100
    )
    # A shorter memory of squared gradients than the usual 0.999 adapts faster as the posterior sharpens: on binarized
    # MNIST, with a rate of 0.003 instead of 0.002, it gains 1.6 nats after 5 epochs.
    if weight_decay == 0:
        return optax.adam(rate, b2=0.99)
    return optax.adamw(rate, b2=0.99, weight_decay=weight_decay, mask=_matrices)


def _matrices(parameters: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, parameters)
