"""The score-function estimator with the best baseline per parameter, fitted on the other draws."""

import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._edges import held_at_edges
from reparax.estimators._positions import log_prob_at
from reparax.estimators._score import moving_support, scored_draws, with_unmoved_support
from reparax.estimators._surrogate import leave_one_out, outer, with_gradient


class OptimalBaseline(AbstractEstimator):
    """(f(z_i) - b_i) s_j(z_i) in parameter j, with b_i = sum_k f(z_k) s_j(z_k)^2 / sum_k s_j(z_k)^2 over k != i.

    E[f s^2]/E[s^2] is the baseline of least variance (Greensmith et al. 2004, theorem 8; Mohamed et al. 2020, eq. 70).
    Fitted on the other draws it leaves the estimate unbiased and costs no evaluation of f.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not move with its parameters"
    reference: ClassVar[str] = "Greensmith, Bartlett & Baxter (2004), theorem 8"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        positions, values, _ = scored_draws(f, q, key, num_samples)
        trainable, rest = eqx.partition(with_unmoved_support(q), eqx.is_inexact_array)
        parameters, structure = jax.tree.flatten(trainable)

        def density(leaves: list[Array], position: Any) -> Float[Array, ""]:
            return log_prob_at(held_at_edges(eqx.combine(jax.tree.unflatten(structure, leaves), rest)), position)

        constant = jax.lax.stop_gradient(parameters)
        scores = jax.vmap(functools.partial(jax.grad(density), constant))(positions)
        gradients = jax.tree.map(lambda v: [_centered(v, score) for score in scores], values)
        return with_gradient(values, density, positions, parameters, gradients)


def _centered(value: Float[Array, "n *s"], score: Float[Array, "n *p"]) -> Float[Array, "n ..."]:
    weight = score**2
    weighted = outer(weight, value)
    others = jnp.sum(weight, axis=0, keepdims=True) - weight
    ones = others.reshape(others.shape + (1,) * (value.ndim - 1)).astype(value.dtype)
    plain = outer(jnp.ones_like(score), leave_one_out(value))
    fitted = (jnp.sum(weighted, axis=0, keepdims=True) - weighted) / jnp.where(ones > 0, ones, 1)
    return outer(score, value) - outer(score, jnp.ones_like(value)) * jnp.where(ones > 0, fitted, plain)
