"""RELAX: the score function with a learned, differentiable control variate."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._controlled import controlled
from reparax.estimators._relaxed import not_relaxable


class RELAX(AbstractEstimator):
    """(f(b) - c(z~)) d log q(b) + d c(z) - d c(z~), with c any continuous function of the noisy logits.

    f itself may be a black box. `adapt` trains c, any pytree with arrays, by minimizing the variance. c is called with
    the noisy logits, one array per distribution, and returns what f returns. Its weight ``scale`` (eta) is by default
    fitted to the other draws, and the residual f(b) - eta c(z~) has the mean of the other draws as its baseline: for
    one draw eta is 1 and there is no baseline. Grathwohl et al. (2018), eq. 7.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and any f"
    reference: ClassVar[str] = "Grathwohl et al. (2018), eq. 7"
    family: ClassVar[str] = "relaxation"

    surrogate: Callable[..., Any]
    scale: float | Array | None = None

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        def control(logits: list[Array], k: jax.Array) -> Any:
            return self.surrogate(*logits)

        return controlled(f, q, control, self.scale, key, num_samples)
