"""The derivative in probabilities that are exactly 0 or 1, where what is never drawn has one.

At p = 0 the derivative of an expectation in p is E[f | 1] - E[f | 0], but an estimator that evaluates f at draws never
sees the 1. One more draw, and the same with one uniformly chosen variable changed, makes it right.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float

from reparax.estimators._base import Integrand
from reparax.estimators._distributions import draw, is_distribution, log_prob, numpyro_rules
from reparax.estimators._surrogate import as_floating, magic_box
from reparax.reparameterization import innermost

_BY_PROBABILITY = (dist.BernoulliProbs, dist.CategoricalProbs)


def held_at_edges(q: Any) -> Any:
    """The same distributions, constant in every probability of 0 or 1: `with_edges` takes their derivatives."""
    return jax.tree.map(_held, q, is_leaf=lambda node: isinstance(node, _BY_PROBABILITY))


def _held(node: Any) -> Any:
    if type(node) not in _BY_PROBABILITY:
        return node
    flat, structure = jax.tree.flatten(node)
    probs = jnp.where(_at_edge(node), jax.lax.stop_gradient(node.probs), node.probs)
    return jax.tree.unflatten(structure, [probs if leaf is node.probs else leaf for leaf in flat])


def _at_edge(q: dist.Distribution) -> Bool[Array, "*p"]:
    """Which probabilities are on the edge: for classes only 0, as 1 leaves the others there."""
    limits = jnp.finfo(jnp.result_type(q.probs, float))
    low = jnp.asarray(q.probs) <= limits.tiny
    return low | (q.probs >= 1 - limits.eps) if isinstance(q, dist.BernoulliProbs) else low


def with_edges(values: Any, f: Integrand, q: Any, key: jax.Array) -> Any:
    """f at draws, unchanged in value, with the derivatives in probabilities of 0 and 1 added to each."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    for place, leaf in enumerate(flat):
        if type(innermost(leaf)) not in _BY_PROBABILITY or not math.prod(leaf.shape()):
            continue
        term = _edge_term(
            lambda z, k: f(jax.tree.unflatten(structure, z), k), flat, place, jax.random.fold_in(key, place)
        )
        values = jax.tree.map(lambda value, edge: value + edge[None].astype(value.dtype), values, term)
    return values


def _edge_term(f: Integrand, flat: list[Any], place: int, key: jax.Array) -> Any:
    draw_key, choice_key, f_key = jax.random.split(key, 3)
    q = flat[place]
    base = innermost(q)
    z = draw(flat, draw_key, 1)
    z = jax.tree.map(lambda leaf: leaf[0], z)
    with numpyro_rules():
        wide = (*q.shape(), *jnp.shape(base.probs)[len(base.batch_shape) :])
        edge = jnp.broadcast_to(_at_edge(base), wide).reshape(-1)
        probs = jnp.broadcast_to(jnp.asarray(base.probs), wide)
    count = jnp.sum(edge)
    logits = jnp.where(edge | (count == 0), 0.0, -jnp.inf)
    chosen = jax.random.categorical(choice_key, logits)
    changed = [_changed(base, leaf, chosen) if i == place else leaf for i, leaf in enumerate(z)]
    rate = _rate(base, probs, z[place], chosen) * count.astype(probs.dtype)
    weight = (rate - jax.lax.stop_gradient(rate)) * magic_box(log_prob(held_at_edges(flat), z)).astype(rate.dtype)

    def difference() -> Any:
        return jax.tree.map(jnp.subtract, as_floating(f(changed, f_key)), as_floating(f(z, f_key)))

    def nothing() -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(difference))

    found = jax.lax.cond(count > 0, difference, nothing)
    return jax.tree.map(lambda leaf: weight.astype(leaf.dtype) * leaf, found)


def _changed(base: dist.Distribution, z: Array, chosen: Array) -> Array:
    flat = z.reshape(-1)
    if isinstance(base, dist.BernoulliProbs):
        return flat.at[chosen].set(1 - flat[chosen]).reshape(z.shape)
    classes = base.probs.shape[-1]
    return flat.at[chosen // classes].set((chosen % classes).astype(z.dtype)).reshape(z.shape)


def _rate(base: dist.Distribution, probs: Array, z: Array, chosen: Array) -> Float[Array, ""]:
    """What the weight of the change grows with: the probability, with the sign of the change."""
    p = probs.reshape(-1)[chosen]
    if isinstance(base, dist.BernoulliProbs):
        return p * (1 - 2 * z.reshape(-1)[chosen]).astype(p.dtype)
    classes = probs.shape[-1]
    return p / jax.lax.stop_gradient(jnp.sum(probs.reshape(-1, classes)[chosen // classes]))


def unknown_at_edges(value: Float[Array, ""], q: Any) -> Float[Array, ""]:
    """The value, its derivative not a number where a probability of q is exactly 0 or 1: for what cannot be mended."""
    nodes = jax.tree.leaves(q, is_leaf=lambda node: isinstance(node, _BY_PROBABILITY))
    flags = [jnp.any(_at_edge(node)) for node in nodes if type(node) in _BY_PROBABILITY]
    return _unknown_where(value, jnp.any(jnp.stack(flags))) if flags else value


@jax.custom_jvp
def _unknown_where(value: Array, flag: Array) -> Array:
    return value


@_unknown_where.defjvp
def _unknown_where_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    # A product: a selection would give the transposed derivative 0.
    return primals[0], tangents[0] * jnp.where(primals[1], jnp.nan, 1.0).astype(tangents[0].dtype)
