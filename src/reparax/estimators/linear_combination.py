"""A linear combination of estimators, its coefficients fitted on other draws."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._surrogate import along


class LinearCombination(AbstractEstimator):
    """sum_i w_i E_i with sum w_i = 1, w = C^{-1} 1 / (1' C^{-1} 1), C the covariance of the gradients E_i.

    C is estimated from ``num_pilot`` separate runs of every part, so that the combination stays unbiased. All parts
    get the same key, so that what they share can cancel. Geffner & Domke (2018), section 4.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "whatever all of its parts are valid for"
    reference: ClassVar[str] = "Geffner & Domke (2018), section 4"

    estimators: tuple[AbstractEstimator, ...]
    num_pilot: int = 16

    @property
    def differentiates_the_sample(self) -> bool:
        return any(part.differentiates_the_sample for part in self.estimators)

    def refusal(self, q: dist.Distribution) -> str | None:
        for part in self.estimators:
            reason = part.refusal(q) or (None if part.unbiased else "it is biased, and so would the combination be")
            if reason is not None:
                return f"{type(part).__name__}: {reason}"
        return None

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        pilot_key, key = jax.random.split(key)
        constant = jax.lax.stop_gradient
        trainable, rest = eqx.partition(q, eqx.is_inexact_array)

        def gradient(part: AbstractEstimator, k: jax.Array) -> Float[Array, " p"]:
            def total(leaves: Any) -> Array:
                result = self._one(part, f, eqx.combine(leaves, rest), k, num_samples)
                return jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in jax.tree.leaves(result)]))

            slopes = jax.tree.leaves(jax.grad(total)(constant(trainable)))
            return jnp.concatenate([slope.reshape(-1) for slope in slopes])

        keys = jax.random.split(pilot_key, self.num_pilot)
        pilot = jnp.stack([jax.vmap(lambda k, part=part: gradient(part, k))(keys) for part in self.estimators])
        weights = constant(_least_variance(pilot))
        results = [self._one(part, f, q, key, num_samples) for part in self.estimators]
        return jax.tree.map(lambda *leaves: _weighted(weights, jnp.stack(leaves)), *results)

    def _one(self, part: AbstractEstimator, f: Integrand, q: Any, key: jax.Array, num_samples: int) -> Any:
        return part.estimate(f, q, key=key, num_samples=max(num_samples, part.minimum_samples))

    def evaluations(self, q: Any, num_samples: int) -> int:
        each = sum(part.evaluations(q, max(num_samples, part.minimum_samples)) for part in self.estimators)
        return each * (1 + self.num_pilot)


def _least_variance(gradients: Float[Array, "m n p"]) -> Float[Array, " m"]:
    centered = gradients - jnp.mean(gradients, axis=1, keepdims=True)
    flat = centered.reshape(len(centered), -1)
    covariance = flat @ flat.T
    ridge = 1e-6 * jnp.trace(covariance) + jnp.finfo(covariance.dtype).tiny
    solved = jnp.linalg.solve(covariance + ridge * jnp.eye(len(flat), dtype=flat.dtype), jnp.ones_like(flat[:, 0]))
    return solved / jnp.sum(solved)


def _weighted(weights: Float[Array, " m"], leaf: Float[Array, "m *s"]) -> Float[Array, "*s"]:
    return jnp.sum(along(weights, leaf) * leaf, axis=0)
