"""The score-function estimator whose baseline is the mean of the other draws."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._score import moving_support, scored_draws
from reparax.estimators._surrogate import boxed, leave_one_out, mean


class LeaveOneOut(AbstractEstimator):
    """(1/K) sum_i (f(z_i) - b_i) d log q(z_i)/dtheta, with b_i the mean of f over the other K - 1 draws.

    Its variance is A/K + B/(K (K-1)) with A = E[(f - E f)^2 s^2] - g^2, B = Var f E[s^2] + g^2 and s the score.
    Mnih & Rezende (2016), section 2.4; Kool et al. (2019), eq. 8.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not move with its parameters"
    reference: ClassVar[str] = "Kool et al. (2019), eq. 8"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        return mean(boxed(values, log_probs, leave_one_out(values)))
