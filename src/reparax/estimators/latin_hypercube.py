"""Latin hypercube draws: each coordinate stratified."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._quantiles import VALID_FOR, designed, no_quantile, standard_noise


class LatinHypercube(AbstractEstimator):
    """Pathwise with u_ij = (permutation_j(i) + noise) / K: removes the variance of the additive part of f.

    McKay, Beckman & Conover (1979), eq. 2.1; Owen (2013), "Monte Carlo theory", section 10.3.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = VALID_FOR
    reference: ClassVar[str] = "McKay, Beckman & Conover (1979)"

    def refusal(self, q: dist.Distribution) -> str | None:
        return no_quantile(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return designed(f, q, _strata, key, num_samples)


def _strata(key: jax.Array, num_samples: int, dimensions: int, dtype: Any) -> Float[Array, "n d"]:
    order_key, noise_key = jax.random.split(key)
    columns = jax.random.split(order_key, dimensions)
    order = jax.vmap(lambda k: jax.random.permutation(k, num_samples), out_axes=1)(columns)
    return (order.astype(dtype) + standard_noise(noise_key, order.shape, dtype)) / num_samples
