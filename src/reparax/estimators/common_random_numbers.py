"""Common random numbers: the same noise at every call."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist

from reparax.estimators._base import AbstractEstimator, Integrand, Level


class CommonRandomNumbers(AbstractEstimator):
    """Another estimator with a key of its own, the same at every call: differences between calls lose their noise.

    Unbiased over the draw of ``fixed_key``; for one key a deterministic function, the sample-average approximation.
    Glasserman (2003), section 7.1; Kleywegt et al. (2002), eq. 2.1.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "whatever the wrapped pathwise estimator is valid for"
    reference: ClassVar[str] = "Glasserman (2003), section 7.1"

    estimator: AbstractEstimator
    fixed_key: jax.Array

    def refusal(self, q: dist.Distribution) -> str | None:
        if self.estimator.level != "pathwise":
            return f"{type(self.estimator).__name__} is not pathwise: common noise would not make it smooth"
        return self.estimator.refusal(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        count = max(num_samples, self.estimator.minimum_samples)
        return self.estimator.estimate(f, q, key=self.fixed_key, num_samples=count)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return self.estimator.evaluations(q, max(num_samples, self.estimator.minimum_samples))
