"""The score-function estimator whose baseline is the mean of f over other, separate draws."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._distributions import draw
from reparax.estimators._score import moving_support, scored_draws
from reparax.estimators._surrogate import boxed, evaluate, mean


class MeanBaseline(AbstractEstimator):
    """(f(z) - b) d log q(z)/dtheta with b the mean of f over ``num_pilot`` separate draws, approaching E f.

    Mohamed et al. (2020), section 7.1 (a moving average, here a pure function of the key).
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not move with its parameters"
    reference: ClassVar[str] = "Mohamed et al. (2020), section 7.1"

    num_pilot: int = 16

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        key, pilot_key, inner_key = jax.random.split(key, 3)
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        pilot = evaluate(f, draw(q, pilot_key, self.num_pilot), jax.random.split(inner_key, self.num_pilot))
        baselines = jax.tree.map(lambda p, v: jnp.broadcast_to(jnp.mean(p, axis=0), v.shape), pilot, values)
        return mean(boxed(values, log_probs, jax.lax.stop_gradient(baselines)))

    def evaluations(self, q: Any, num_samples: int) -> int:
        return num_samples + self.num_pilot
