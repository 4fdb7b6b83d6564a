"""ARMS: many binary draws at once, as different from each other as their probabilities allow."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._binary import binary_log_prob, logits_of, not_binary, threshold
from reparax.estimators._distributions import is_distribution
from reparax.estimators._surrogate import evaluate, mean, scaled, with_gradient


class ARMS(AbstractEstimator):
    """sum_i (f(b_i) - mean f) (b_i - p) / ((K - 1) (1 - rho)) in each logit, rho the correlation of any two draws.

    Unbiased for any joint distribution of the K draws in which every two of a bit have the same correlation rho.
    Here the uniform numbers of a bit are a grid with one random shift, in random order: the number of ones among the K
    draws is K p rounded up or down, with phi the fractional part of K p

        rho = (phi (1 - phi) / (K p (1 - p)) - 1) / (K - 1),

    the least that is possible. With two draws this is `DisARM`; with more it is less noisy than leave-one-out, which
    has rho = 0. Second derivatives are unbiased, and as noisy as those of the score function without a baseline.
    Dimitriev & Zhou (2021), section 3, with the grid in the place of their copulas.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "Bernoulli variables and any f"
    reference: ClassVar[str] = "Dimitriev & Zhou (2021), section 3"
    family: ClassVar[str] = "coupled bits"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_binary(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        structure = jax.tree.structure(q, is_leaf=is_distribution)
        draw_key, f_key = jax.random.split(key)
        logits = logits_of(q)
        draws = threshold(_grids(logits, draw_key, num_samples), logits)
        values = evaluate(f, jax.tree.unflatten(structure, draws), jax.random.split(f_key, num_samples))
        factors = [_factor(b, jax.lax.stop_gradient(logit)) for b, logit in zip(draws, logits, strict=True)]

        def gradient(value: Array) -> list[Array]:
            centered = value - jnp.mean(value, axis=0)
            return [
                scaled(weight, centered.reshape(num_samples, *(1,) * (weight.ndim - 1), *centered.shape[1:]))
                for weight in factors
            ]

        # The draws depend on each other: the others are no baseline for derivatives of higher order.
        def one(value: Any, draw: list[Array], slopes: Any) -> Any:
            alone = jax.tree.map(lambda leaf: leaf[None], (value, draw, slopes))
            return with_gradient(alone[0], binary_log_prob, alone[1], logits, alone[2])

        return mean(jax.vmap(one)(values, draws, jax.tree.map(gradient, values)))


def _grids(logits: list[Array], key: jax.Array, num_samples: int) -> list[Float[Array, "n *s"]]:
    """Per element K uniform numbers in random order: one in each K-th of the unit interval, at the same place in it."""

    def one(k: jax.Array, logit: Array) -> Array:
        order_key, shift_key = jax.random.split(k)
        order = jnp.argsort(jax.random.uniform(order_key, (num_samples, *logit.shape), logit.dtype), axis=0)
        shift = jax.random.uniform(shift_key, (1, *logit.shape), logit.dtype)
        return (order.astype(logit.dtype) + shift) / num_samples

    return [one(k, logit) for k, logit in zip(jax.random.split(key, len(logits)), logits, strict=True)]


def _factor(draws: Array, logit: Array) -> Float[Array, "n *s"]:
    """(b - p) K / ((K - 1) (1 - rho)): what the centered f of each draw is multiplied with, before their mean."""
    count = len(draws)
    p = jax.nn.sigmoid(logit)
    # Of the rarer value, so that no digits are lost near 1.
    rare = jax.nn.sigmoid(-jnp.abs(logit))
    fraction = count * rare - jnp.floor(count * rare)
    possible = rare > 0
    ratio = jnp.where(possible, fraction * (1 - fraction) / jnp.where(possible, count * rare * (1 - rare), 1), 1)
    return (draws.astype(logit.dtype) - p[None]) * (count / (count - ratio))[None]
