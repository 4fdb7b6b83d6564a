"""Gumbel-softmax, also called Concrete: a relaxed draw in place of the discrete one. Biased."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._biased import substituted
from reparax.estimators._relaxed import not_relaxable, relaxed_draw, soft


class GumbelSoftmax(AbstractEstimator):
    """f(softmax((logits + Gumbel noise) / temperature)): value and derivatives of a relaxed problem, not of E f.

    Biased; less so, and noisier, at a low temperature. For Bernoulli variables the binary Concrete.
    Jang et al. (2017), eq. 2; Maddison et al. (2017), eq. 10.
    """

    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Jang et al. (2017), eq. 2"

    temperature: float | Array = 0.5

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        def stand_in(leaf: dist.Distribution, k: jax.Array) -> Array:
            return soft(leaf, relaxed_draw(leaf, k).free, self.temperature)

        return substituted(f, q, stand_in, key, num_samples)
