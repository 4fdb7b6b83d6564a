"""REBAR: the score function with the relaxed integrand as its control variate."""

from typing import Any, ClassVar

import jax
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._controlled import controlled
from reparax.estimators._distributions import is_distribution
from reparax.estimators._edges import held_at_edges
from reparax.estimators._relaxed import not_relaxable, soft


class REBAR(AbstractEstimator):
    """(f(b) - eta f(s(z~))) d log q(b) + eta d f(s(z)) - eta d f(s(z~)), s a sigmoid or softmax at a temperature.

    f is evaluated between the values of b too: it must take floating arrays and be continuous there. Three evaluations
    of f per draw. The residual f(b) - eta f(s(z~)) has the mean of the other draws as its baseline, and eta is fitted
    to the other draws unless ``scale`` gives it: neither adds a bias. `adapt` minimizes the variance
    in ``temperature``, and in ``scale`` where it is given. Tucker et al. (2017), eq. 4.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 4
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Tucker et al. (2017), eq. 4"

    temperature: float | Array = 0.1
    scale: float | Array | None = None

    @property
    def differentiates_the_sample(self) -> bool:
        return True

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        flat, structure = jax.tree.flatten(held_at_edges(q), is_leaf=is_distribution)

        def control(logits: list[Array], k: jax.Array) -> Any:
            relaxed = [soft(leaf, z, self.temperature) for leaf, z in zip(flat, logits, strict=True)]
            return f(jax.tree.unflatten(structure, relaxed), k)

        return controlled(f, q, control, self.scale, key, num_samples)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return 3 * num_samples
