"""ReinMax: straight-through corrected to second order. Biased."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._biased import substituted
from reparax.estimators._categorical import is_one_hot
from reparax.estimators._relaxed import natural_logits, not_relaxable, relaxed_draw


class ReinMax(AbstractEstimator):
    """f(b) with db replaced by 2 d softmax((pi_1)) - d pi / 2, pi_1 = (b + softmax(logits / temperature)) / 2.

    Heun's method where `StraightThrough` is Euler's: exact for a quadratic f of one variable, biased beyond.
    Liu et al. (2023), algorithm 2.
    """

    name: ClassVar[str] = "reinmax"
    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Liu et al. (2023), algorithm 2"

    temperature: float | Array = 1.0

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        def stand_in(leaf: dist.Distribution, k: jax.Array) -> Array:
            hard, logits = relaxed_draw(leaf, k).hard, natural_logits(leaf)
            if is_one_hot(leaf):
                return _reinmax(hard, logits, self.temperature)
            pair = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
            return _reinmax(jnp.stack([1 - hard, hard], axis=-1), pair, self.temperature)[..., 1]

        return substituted(f, q, stand_in, key, num_samples)


def _reinmax(hard: Array, logits: Array, temperature: float | Array) -> Array:
    constant = jax.lax.stop_gradient
    pi = jax.nn.softmax(logits, axis=-1)
    middle = (hard + jax.nn.softmax(logits / jnp.asarray(temperature, logits.dtype), axis=-1)) / 2
    corrected = jax.nn.softmax(constant(jnp.log(middle) - logits) + logits, axis=-1)
    surrogate = 2 * corrected - pi / 2
    return hard + (surrogate - constant(surrogate))
