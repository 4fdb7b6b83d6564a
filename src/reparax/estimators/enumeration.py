"""Exact expectations of finite discrete variables."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._distributions import joint_states, num_states, probability
from reparax.estimators._surrogate import along, evaluate_common


class Enumeration(AbstractEstimator):
    """E[f(z)] = sum_z q(z) f(z) over all joint states: exact, without variance of its own.

    f is evaluated once per joint state, ``states ** elements`` of them, all with the same inner randomness.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "enumerate"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "finite discrete distributions with few joint states"
    reference: ClassVar[str] = "exact sum over the support"

    maximum_states: int = 4096

    def refusal(self, q: dist.Distribution) -> str | None:
        states = num_states(q)
        if states > self.maximum_states:
            return f"{type(q).__name__} has {states:.3g} joint states, more than maximum_states={self.maximum_states}"
        return None

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        z = joint_states(q)
        weights = jax.vmap(functools.partial(probability, q))(z)
        values = evaluate_common(f, z, key)
        return jax.tree.map(lambda leaf: jnp.sum(along(weights, leaf) * leaf, axis=0), values)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return int(num_states(q))
