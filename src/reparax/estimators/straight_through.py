"""Straight-through: the discrete draw, differentiated as if it were its mean. Biased."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._biased import substituted
from reparax.estimators._relaxed import not_relaxable, probabilities, relaxed_draw


class StraightThrough(AbstractEstimator):
    """f(b) with db replaced by dp: the value is unbiased, the derivative is not, unless f is linear.

    Bengio, Leonard & Courville (2013), section 4.
    """

    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Bengio, Leonard & Courville (2013), section 4"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return substituted(f, q, _stand_in, key, num_samples)


def _stand_in(q: dist.Distribution, key: jax.Array) -> Array:
    p = probabilities(q)
    return relaxed_draw(q, key).hard + (p - jax.lax.stop_gradient(p))
