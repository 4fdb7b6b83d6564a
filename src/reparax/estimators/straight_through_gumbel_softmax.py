"""Straight-through Gumbel-softmax: the hard draw, differentiated as its own relaxation. Biased."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._biased import substituted
from reparax.estimators._relaxed import not_relaxable, relaxed_draw, soft


class StraightThroughGumbelSoftmax(AbstractEstimator):
    """f(b) with db replaced by the derivative of the relaxed draw: the value is unbiased, the derivative is not.

    Jang et al. (2017), section 2.2.
    """

    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Jang et al. (2017), section 2.2"

    temperature: float | Array = 0.5

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        def stand_in(leaf: dist.Distribution, k: jax.Array) -> Array:
            draw = relaxed_draw(leaf, k)
            relaxed = soft(leaf, draw.free, self.temperature)
            return draw.hard + (relaxed - jax.lax.stop_gradient(relaxed))

        return substituted(f, q, stand_in, key, num_samples)
