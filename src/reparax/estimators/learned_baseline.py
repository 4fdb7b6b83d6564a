"""The score-function estimator with a baseline that the caller supplies."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._score import moving_support, scored_draws
from reparax.estimators._surrogate import boxed, mean


class LearnedBaseline(AbstractEstimator):
    """(f(z) - b) d log q(z)/dtheta with a given b: a running mean, or the output of a network for this example.

    b must not depend on z. It is constant here; train it by regression, minimizing (f(z) - b)^2.
    Mnih & Gregor (2014), eq. 7.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "an f with one output, and a distribution whose support does not move"
    reference: ClassVar[str] = "Mnih & Gregor (2014), eq. 7"

    baseline: Array | float

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        constant = jax.lax.stop_gradient(self.baseline)
        baselines = jax.tree.map(lambda v: jnp.full_like(v, constant), values)
        return mean(boxed(values, log_probs, baselines))
