"""Doubly reparameterized gradients (DReG) of the importance-weighted bound."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._bound_base import AbstractBoundEstimator, Bound, LogJoint
from reparax.estimators._weights import draws, log_mean_exp, not_path_only, path_only, slowed


class DoublyReparameterized(AbstractBoundEstimator):
    """sum_k w_k^2 (d log w_k / d z_k) dz_k/dtheta for q, w_k the normalized weights; sum_k w_k d log w_k for the rest.

    Its signal-to-noise ratio grows with K where that of the plain pathwise gradient falls. At K = 1, and for the ELBO,
    it is sticking the landing. Tucker, Lawson, Gu & Maddison (2019), eq. 8.
    """

    unbiased: ClassVar[bool] = True
    bounds: ClassVar[tuple[Bound, ...]] = ("elbo", "iwae")
    differentiates_the_sample: ClassVar[bool] = True
    holds_parameters: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "reparameterizable distributions"
    reference: ClassVar[str] = "Tucker, Lawson, Gu & Maddison (2019), eq. 8"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_path_only(q)

    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        z = draws(q, key, num_samples)

        def log_weight(draw: Any) -> Array:
            return log_joint(draw) - path_only(q, draw)

        if bound == "elbo":
            return jax.numpy.mean(jax.vmap(log_weight)(z))
        # The weights' own derivative is not part of the first derivative, but is of the second.
        normalized = jax.nn.softmax(jax.vmap(log_weight)(z))
        return log_mean_exp(jax.vmap(lambda draw, weight: log_weight(slowed(draw, weight)))(z, normalized))
