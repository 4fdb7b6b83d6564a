"""ARM: augment, reinforce, merge, for binary variables."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._binary import not_binary
from reparax.estimators._pairs import antithetic_pairs


class ARM(AbstractEstimator):
    """(f(1[1-u < p]) - f(1[u < p])) (u - 1/2) in each logit.

    `DisARM` is never noisier at the same cost. Yin & Zhou (2019), eq. 6.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "Bernoulli variables and any f"
    reference: ClassVar[str] = "Yin & Zhou (2019), eq. 6"
    family: ClassVar[str] = "coupled bits"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_binary(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return antithetic_pairs(f, q, key, num_samples, _factor)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return 2 * ((num_samples + 1) // 2)


def _factor(u: Array, first: Array, second: Array, logit: Array) -> Float[Array, "n *s"]:
    return u - 0.5
