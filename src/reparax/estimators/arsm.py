"""ARSM: augment, reinforce, swap, merge, the counterpart of ARM for categorical variables."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._categorical import all_logits, as_drawn, categorical_log_prob, not_categorical
from reparax.estimators._distributions import is_distribution
from reparax.estimators._edges import held_at_edges, with_edges
from reparax.estimators._surrogate import evaluate_common, with_gradient


class ARSM(AbstractEstimator):
    """(1/C) sum_j (f(z^{c,j}) - (1/C) sum_m f(z^{m,j})) (1 - C pi_j) in the logit of class c.

    pi ~ Dirichlet(1_C), z = argmin_i log(pi_i) - logit_i, and z^{m,j} is z with pi_m and pi_j swapped, in all
    variables at once: C(C-1)/2 + 1 evaluations of f per draw, however many variables there are.
    Yin, Yue & Zhou (2019), "ARSM: Augment-REINFORCE-swap-merge estimator", eq. 11.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    family: ClassVar[str] = "swapped categories"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "categorical variables that have all the same number of classes, and any f"
    reference: ClassVar[str] = "Yin, Yue & Zhou (2019), eq. 11"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_categorical(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        logits = all_logits(held_at_edges(q))
        classes = _common_classes(logits)
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
        draw_key, f_key = jax.random.split(key)
        keys = jax.random.split(draw_key, len(logits))
        noise = [
            jax.random.exponential(k, (num_samples, *logit.shape), logit.dtype)
            for k, logit in zip(keys, logits, strict=True)
        ]
        permutations = _swaps(classes)
        index = [
            _swapped_draws(jax.lax.stop_gradient(logit), e, permutations)
            for logit, e in zip(logits, noise, strict=True)
        ]
        z = [as_drawn(leaf, chosen) for leaf, chosen in zip(flat, index, strict=True)]
        values = jax.vmap(lambda draws, k: evaluate_common(f, jax.tree.unflatten(structure, draws), k))(
            z, jax.random.split(f_key, num_samples)
        )
        weights = [1 - classes * e / jnp.sum(e, axis=-1, keepdims=True) for e in noise]
        gradients = jax.tree.map(lambda v: [_merge(v, w, classes) for w in weights], values)
        unswapped = with_edges(jax.tree.map(lambda v: v[:, 0], values), f, q, jax.random.fold_in(key, num_samples))
        return with_gradient(unswapped, categorical_log_prob, [i[:, 0] for i in index], logits, gradients)

    def evaluations(self, q: Any, num_samples: int) -> int:
        classes = all_logits(q)[0].shape[-1]
        return num_samples * (classes * (classes - 1) // 2 + 1)


def _common_classes(logits: list[Array]) -> int:
    counts = {logit.shape[-1] for logit in logits}
    if len(counts) > 1:
        raise InvalidEstimator(
            expected="categorical variables that have all the same number of classes",
            got=f"{sorted(counts)} classes",
            cure="name leave-one-out, or a pytree of estimators that gives each its own ARSM instance",
        )
    return counts.pop()


def _swaps(classes: int) -> Int[np.ndarray, "swaps c"]:
    """The identity, and then every swap of two classes, m < j in the order of `numpy.triu_indices`."""
    rows = [np.arange(classes)]
    for m, j in zip(*np.triu_indices(classes, 1), strict=True):
        row = np.arange(classes)
        row[[m, j]] = j, m
        rows.append(row)
    return np.stack(rows)


def _swapped_draws(logits: Array, noise: Array, permutations: np.ndarray) -> Int[Array, "n swaps *s"]:
    swapped = jnp.moveaxis(jnp.log(noise)[..., permutations], -2, 1)
    return jnp.argmin(swapped - logits[None, None], axis=-1)


def _merge(value: Float[Array, "n swaps *s"], weight: Float[Array, "n *v c"], classes: int) -> Float[Array, "n ..."]:
    table = np.zeros((classes, classes), int)
    upper = np.triu_indices(classes, 1)
    table[upper] = 1 + np.arange(len(upper[0]))
    swaps = value[:, table + table.T]
    centered = swaps - jnp.mean(swaps, axis=1, keepdims=True)
    flat = weight.reshape(len(weight), -1, classes)
    merged = jnp.einsum("ncj...,nvj->nvc...", centered, flat.astype(value.dtype)) / classes
    return merged.reshape(weight.shape + value.shape[2:])
