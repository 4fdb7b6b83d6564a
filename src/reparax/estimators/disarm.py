"""DisARM, also called U2G: antithetic pairs of binary draws with their uniform noise integrated out."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._binary import not_binary
from reparax.estimators._pairs import antithetic_pairs


class DisARM(AbstractEstimator):
    """1/2 (f(b) - f(b~)) (-1)^b~ 1[b != b~] sigmoid(|logit|) in each logit, with b = 1[1-u < p], b~ = 1[u < p].

    Never noisier than ARM, of which it is the expectation given the pair. One pair is two evaluations of f.
    Dong, Mnih & Tucker (2020), eq. 8; Yin et al. (2020), eq. 7.
    """

    name: ClassVar[str] = "disarm"
    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "Bernoulli variables and any f"
    reference: ClassVar[str] = "Dong, Mnih & Tucker (2020), eq. 8"
    family: ClassVar[str] = "coupled bits"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_binary(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return antithetic_pairs(f, q, key, num_samples, _factor)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return 2 * ((num_samples + 1) // 2)


def _factor(u: Array, first: Array, second: Array, logit: Array) -> Float[Array, "n *s"]:
    signed = (first - second).astype(logit.dtype)
    return signed * jax.nn.sigmoid(jnp.abs(logit))[None] / 2
