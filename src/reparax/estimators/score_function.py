"""The score-function estimator without a baseline, also called REINFORCE."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._score import moving_support, scored_draws
from reparax.estimators._surrogate import boxed, mean, zeros_like


class ScoreFunction(AbstractEstimator):
    """d/dtheta E[f(z)] = E[f(z) d log q(z)/dtheta] + E[df/dtheta].

    Valid for any f, but noisy: prefer `LeaveOneOut`. Williams (1992), eq. 5; Mohamed et al. (2020), eq. 13.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not move with its parameters"
    reference: ClassVar[str] = "Williams (1992); Mohamed et al. (2020), eq. 13"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        return mean(boxed(values, log_probs, zeros_like(values)))
