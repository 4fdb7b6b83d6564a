"""Antithetic draws: pairs with the noise u and 1 - u."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._quantiles import VALID_FOR, designed, no_quantile, standard_noise


class Antithetic(AbstractEstimator):
    """Pathwise with pairs z = F^{-1}(u), z~ = F^{-1}(1 - u): exact for the odd part of f in a symmetric q.

    Draws are made in pairs: an odd num_samples is rounded up. Owen (2013), "Monte Carlo theory", section 8.2.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = VALID_FOR
    reference: ClassVar[str] = "Owen (2013), section 8.2"

    def refusal(self, q: dist.Distribution) -> str | None:
        return no_quantile(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return designed(f, q, _pairs, key, num_samples + num_samples % 2)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return num_samples + num_samples % 2


def _pairs(key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
    u = standard_noise(key, (num_samples // 2, dimensions), dtype)
    return jnp.concatenate([u, 1 - u])
