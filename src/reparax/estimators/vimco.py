"""VIMCO: the score function for the importance-weighted bound, with a baseline per draw from the others."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._bound_base import AbstractBoundEstimator, Bound, LogJoint
from reparax.estimators._edges import unknown_at_edges
from reparax.estimators._positions import draw_positions, values_at
from reparax.estimators._score import log_probs_at, moving_support
from reparax.estimators._surrogate import magic_box
from reparax.estimators._weights import log_mean_exp


class VIMCO(AbstractBoundEstimator):
    """sum_k (L - L_k) d log q(z_k) + sum_k w_k d log w_k, L_k with w_k replaced by the others' geometric mean.

    For variables that cannot be reparameterized. Where a probability is exactly 0 or 1 the derivative is NaN: what is
    never drawn has one that no draw shows. Mnih & Rezende (2016), eq. 10.
    """

    unbiased: ClassVar[bool] = True
    bounds: ClassVar[tuple[Bound, ...]] = ("iwae",)
    differentiates_the_sample: ClassVar[bool] = False
    holds_parameters: ClassVar[bool] = False
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "distributions whose support does not move with their parameters"
    reference: ClassVar[str] = "Mnih & Rezende (2016), eq. 10"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        positions = draw_positions(q, key, num_samples)
        log_q = log_probs_at(q, positions)
        log_weights = jax.vmap(log_joint)(values_at(q, positions)) - log_q
        baselines = _without_each(log_weights)
        boxes = magic_box(log_q)
        everything = magic_box(jnp.sum(log_q))
        bound_value = everything * log_mean_exp(log_weights) + jnp.sum((1 - boxes) * baselines)
        return unknown_at_edges(bound_value, q)


def _without_each(log_weights: Float[Array, " k"]) -> Float[Array, " k"]:
    count = len(log_weights)
    others = (jnp.sum(log_weights) - log_weights) / (count - 1)
    replaced = jnp.where(jnp.eye(count, dtype=bool), others[:, None], log_weights[None, :])
    return jax.vmap(log_mean_exp)(replaced)
