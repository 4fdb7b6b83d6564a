"""Antithetic pairs of Bernoulli draws, and the estimate they share: ARM and DisARM differ in one factor."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from reparax.estimators._base import Integrand
from reparax.estimators._binary import binary_log_prob, logits_of, threshold, uniforms
from reparax.estimators._distributions import is_distribution
from reparax.estimators._edges import held_at_edges, with_edges
from reparax.estimators._surrogate import evaluate, scaled, with_gradient

Factor = Callable[[Array, Array, Array, Array], Array]


def antithetic_pairs(f: Integrand, q: Any, key: jax.Array, num_samples: int, factor: Factor) -> Any:
    """The estimate from ceil(num_samples / 2) pairs b = 1[1 - u < p], b~ = 1[u < p].

    The derivative in a logit is (f(b) - f(b~)) * factor(u, b, b~, logit), elementwise.
    """
    structure = jax.tree.structure(q, is_leaf=is_distribution)
    pairs = (num_samples + 1) // 2
    draw_key, f_key = jax.random.split(key)
    logits = logits_of(held_at_edges(q))
    u = uniforms(logits, draw_key, pairs)
    first = threshold([1 - a for a in u], logits)
    second = threshold(u, logits)
    both = [jnp.concatenate(pair) for pair in zip(first, second, strict=True)]
    # The two of a pair share their inner randomness, which cancels from the difference.
    keys = jax.random.split(f_key, pairs)
    values = evaluate(f, jax.tree.unflatten(structure, both), jnp.concatenate([keys, keys]))
    values = with_edges(values, f, q, jax.random.fold_in(key, 1))
    factors = [
        factor(*arrays) for arrays in zip(u, first, second, [jax.lax.stop_gradient(v) for v in logits], strict=True)
    ]

    def gradient(value: Array) -> list[Array]:
        difference = value[:pairs] - value[pairs:]
        return [
            scaled(weight, difference.reshape(pairs, *(1,) * (weight.ndim - 1), *difference.shape[1:]))
            for weight in factors
        ]

    # Each pair is one draw: its value the mean of the two, boxed with half of each one's score.
    halves = jax.tree.map(lambda v: jnp.stack([v[:pairs], v[pairs:]], axis=1), values)
    return paired(halves, first, second, logits, jax.tree.map(gradient, values))


def paired(halves: Any, first: list[Array], second: list[Array], logits: list[Array], gradients: Any) -> Any:
    """The mean over both halves of each pair; either half is a draw from q, so that each is boxed by itself."""
    one = with_gradient(jax.tree.map(lambda v: v[:, 0], halves), binary_log_prob, first, logits, gradients)
    two = with_gradient(jax.tree.map(lambda v: v[:, 1], halves), binary_log_prob, second, logits, gradients)
    return jax.tree.map(lambda a, b: (a + b) / 2, one, two)
