"""What the biased estimators share: f at a differentiable stand-in for the draw."""

from collections.abc import Callable
from typing import Any

import jax
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.estimators._base import Integrand
from reparax.estimators._distributions import is_distribution
from reparax.estimators._surrogate import evaluate, mean


def substituted(
    f: Integrand, q: Any, stand_in: Callable[[dist.Distribution, jax.Array], Array], key: jax.Array, num_samples: int
) -> Any:
    """The mean of f over draws of a differentiable stand-in for each distribution."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    draw_key, f_key = jax.random.split(key)
    draws = []
    for index, leaf in enumerate(flat):
        keys = jax.random.split(jax.random.fold_in(draw_key, index), num_samples)
        draws.append(jax.vmap(lambda k, leaf=leaf: stand_in(leaf, k))(keys))
    return mean(evaluate(f, jax.tree.unflatten(structure, draws), jax.random.split(f_key, num_samples)))
