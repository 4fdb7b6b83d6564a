"""The optimizer that recipes use."""

from functools import lru_cache

import jax
import optax
from jaxtyping import PyTree


@lru_cache(maxsize=64)
def cosine_adam(learning_rate: float, steps: int, weight_decay: float = 0.0) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) whose rate rises over the first steps and then falls as a cosine to a hundredth.

    Args:
        learning_rate: The highest rate.
        steps: The number of training steps in all.
        weight_decay: The share of each weight matrix that a step takes off, times the rate (Loshchilov & Hutter 2019,
            algorithm 2); vectors and scalars (biases, noise scales) are not decayed.
    """
    # Cached, since optimizers are equal only where they are one object, and equal programs are compiled once.
    rise = min(200, max(1, steps // 10))
    rate = optax.warmup_cosine_decay_schedule(
        learning_rate / 10, learning_rate, rise, max(steps, rise + 1), learning_rate / 100
    )
    # A shorter memory of squared gradients than the usual 0.999 follows them as the posterior sharpens (measured on
    # binarized MNIST, with a rate of 0.003 for 0.002: 1.6 nats after 5 epochs).
    if weight_decay == 0:
        return optax.adam(rate, b2=0.99)
    return optax.adamw(rate, b2=0.99, weight_decay=weight_decay, mask=_matrices)


def _matrices(parameters: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, parameters)
