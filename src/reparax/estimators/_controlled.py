"""The shared estimate of REBAR and RELAX: the score function with a reparameterized control variate."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from reparax.estimators._base import Integrand
from reparax.estimators._distributions import is_distribution, log_prob
from reparax.estimators._edges import held_at_edges, with_edges
from reparax.estimators._relaxed import Relaxed, relaxed_draw
from reparax.estimators._surrogate import as_floating, magic_box, mean

Control = Callable[[list[Array], jax.Array], Any]


def controlled(f: Integrand, q: Any, control: Control, scale: Array | float, key: jax.Array, num_samples: int) -> Any:
    """The mean over draws of box(b) (f(b) - scale c(z~)) + scale c(z), with the value f(b).

    E c(z) = E c(z~) for all parameters, so that the difference changes no derivative's expectation, of any order.
    Tucker et al. (2017), eq. 4; Grathwohl et al. (2018), eq. 7.

    Args:
        f: The integrand.
        q: A pytree of relaxable distributions.
        control: c, from the noisy logits of every distribution and the key of f's inner randomness.
        scale: The weight of the control variate.
        key: The random key.
        num_samples: The number of draws.
    """
    flat, structure = jax.tree.flatten(held_at_edges(q), is_leaf=is_distribution)

    def one(draw_key: jax.Array) -> Any:
        *keys, f_key = jax.random.split(draw_key, len(flat) + 1)
        draws: list[Relaxed] = [relaxed_draw(leaf, k) for leaf, k in zip(flat, keys, strict=True)]
        hard = [draw.hard for draw in draws]
        box = magic_box(log_prob(flat, hard))
        value = as_floating(f(jax.tree.unflatten(structure, hard), f_key))
        free = as_floating(control([draw.free for draw in draws], f_key))
        given = as_floating(control([draw.given for draw in draws], f_key))
        return jax.tree.map(functools.partial(_combined, box, scale), value, free, given)

    values = jax.vmap(one)(jax.random.split(key, num_samples))
    return mean(with_edges(values, f, q, jax.random.fold_in(key, num_samples)))


def _combined(box: Array, scale: Array | float, value: Array, free: Array, given: Array) -> Array:
    box, weight = box.astype(value.dtype), jnp.asarray(scale, value.dtype)
    change = weight * (free - given)
    return box * value + weight * (free - box * given) - jax.lax.stop_gradient(change)
