"""Sticking the landing: the pathwise ELBO without the score of q."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._bound_base import AbstractBoundEstimator, Bound, LogJoint
from reparax.estimators._weights import draws, not_path_only, path_only


class StickingTheLanding(AbstractBoundEstimator):
    """The derivative of log p(x, z) - log q(z) through z alone: without variance where q is the exact posterior.

    The part left out, E[d log q(z)/d theta] with z held, is zero. For the importance-weighted bound it is not:
    there `DoublyReparameterized` is right. Roeder, Wu & Duvenaud (2017), eq. 6.
    """

    unbiased: ClassVar[bool] = True
    bounds: ClassVar[tuple[Bound, ...]] = ("elbo",)
    differentiates_the_sample: ClassVar[bool] = True
    holds_parameters: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "reparameterizable distributions"
    reference: ClassVar[str] = "Roeder, Wu & Duvenaud (2017), eq. 6"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_path_only(q)

    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        z = draws(q, key, num_samples)
        return jnp.mean(jax.vmap(lambda draw: log_joint(draw) - path_only(q, draw))(z))
