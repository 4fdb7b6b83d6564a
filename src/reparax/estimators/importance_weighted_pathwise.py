"""The plain pathwise gradient of the importance-weighted bound."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._bound_base import AbstractBoundEstimator, Bound, LogJoint
from reparax.estimators._distributions import log_prob
from reparax.estimators._weights import draws, log_mean_exp, not_reparameterizable


class ImportanceWeightedPathwise(AbstractBoundEstimator):
    """sum_k w_k d log w_k, with w_k the normalized weights. Burda, Grosse & Salakhutdinov (2016), eq. 13."""

    unbiased: ClassVar[bool] = True
    bounds: ClassVar[tuple[Bound, ...]] = ("iwae",)
    differentiates_the_sample: ClassVar[bool] = True
    holds_parameters: ClassVar[bool] = False
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "reparameterizable distributions"
    reference: ClassVar[str] = "Burda, Grosse & Salakhutdinov (2016), eq. 13"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_reparameterizable(q)

    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        z = draws(q, key, num_samples)
        return log_mean_exp(jax.vmap(lambda draw: log_joint(draw) - log_prob(q, draw))(z))
