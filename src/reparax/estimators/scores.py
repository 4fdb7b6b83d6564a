"""Values whose derivatives are score-function estimates, and refusals where the score would be wrong."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float

from reparax.distributions.codes import RoundedCodes
from reparax.errors import InvalidEstimator
from reparax.estimators._base import Integrand
from reparax.estimators._parameters import kink_reads, support_reads
from reparax.estimators._positions import draw_positions, log_prob_at, values_at
from reparax.estimators.draws import draw, is_distribution, log_prob, numpyro_rules
from reparax.reparameterization import innermost


def as_floating(tree: Any) -> Any:
    """The same pytree with integers and booleans turned into floats, so that they can be averaged."""

    def convert(leaf: Any) -> Array:
        array = jnp.asarray(leaf)
        return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))

    return jax.tree.map(convert, tree)


def evaluate(f: Integrand, z: Any, keys: jax.Array) -> Any:
    """f at each of several draws; the first axis of every leaf of the result counts the draws."""
    if len(keys) == 1:
        # A single draw is not batched, because batching changes how f compiles (convolutions, branches).
        one = f(jax.tree.map(lambda leaf: leaf[0], z), keys[0])
        return jax.tree.map(lambda leaf: leaf[None], as_floating(one))
    return as_floating(jax.vmap(f)(z, keys))


def evaluate_common(f: Integrand, z: Any, key: jax.Array) -> Any:
    """f at each of several values with the same key, so that its randomness cancels in differences."""
    return as_floating(jax.vmap(lambda value: f(value, key))(z))


def mean(tree: Any) -> Any:
    """The mean over the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), tree)


def magic_box(log_probs: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """exp(l - stop(l)): the value 1, and the derivatives of the density ratio, of every order.

    Foerster et al. (2018), "DiCE: The infinitely differentiable Monte Carlo estimator", eq. 5.
    """
    return jnp.exp(log_probs - jax.lax.stop_gradient(log_probs))


def along(weights: Float[Array, " n"], leaf: Float[Array, "n *rest"]) -> Float[Array, "n *ones"]:
    """Weights of the draws, in a shape that multiplies a leaf whose first axis counts the draws."""
    return weights.reshape(weights.shape + (1,) * (leaf.ndim - 1)).astype(leaf.dtype)


def boxed(values: Any, log_probs: Float[Array, " n"], baselines: Any) -> Any:
    """box * f + (1 - box) * baseline per draw: the value f, the derivative (f - baseline) * score + df.

    Derivatives of every order are unbiased if each draw's baseline does not depend on that draw (Mao et al. 2019,
    "A baseline for any order gradient estimation in stochastic computation graphs", eq. 8).
    """
    box = magic_box(log_probs)

    def combine(value: Array, baseline: Array) -> Array:
        weight = along(box, value)
        return weight * value + (1 - weight) * baseline

    return jax.tree.map(combine, values, baselines)


def zeros_like(tree: Any) -> Any:
    """A pytree of zeros."""
    return jax.tree.map(jnp.zeros_like, tree)


def leave_one_out(values: Any) -> Any:
    """For each draw the mean of the others."""
    return jax.tree.map(lambda v: (jnp.sum(v, axis=0, keepdims=True) - v) / (len(v) - 1), values)


@jax.custom_jvp
def attach(value: Array, parameters: list[Array], gradient: list[Array]) -> Array:
    """The value, with ``gradient`` added to its first derivative; leaves of ``gradient``: (*parameter, *value)."""
    return value


@attach.defjvp
def _attach_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, parameters, gradient = primals
    moved, directions, _ = tangents
    for parameter, direction, slope in zip(parameters, directions, gradient, strict=True):
        moved = moved + jnp.tensordot(direction, slope, axes=jnp.ndim(parameter)).astype(value.dtype)
    return value, moved


def with_gradient(
    values: Any,
    log_prob: Callable[[list[Array], Any], Float[Array, ""]],
    z: Any,
    parameters: list[Array],
    gradients: Any,
) -> Any:
    """The mean of f over draws, with its first derivative in the parameters replaced by an estimate of lower variance.

    Higher and mixed derivatives are those of the score function: unbiased, but noisy.

    Args:
        values: f at n draws: a pytree of arrays of shape (n, ...).
        log_prob: The log density of ONE draw given the parameters.
        z: The n draws, constant.
        parameters: The floating arrays that the estimate differentiates in.
        gradients: A pytree like ``values`` whose leaves are lists: per parameter, (n, *parameter, ...).
    """
    count = len(jax.tree.leaves(values)[0])
    baselines = leave_one_out(values) if count > 1 else zeros_like(values)
    log_probs = jax.vmap(lambda draw: log_prob(parameters, draw))(z)
    constant = [jax.lax.stop_gradient(parameter) for parameter in parameters]
    scores = jax.vmap(lambda draw: jax.grad(log_prob)(constant, draw))(z)
    leaves, structure = jax.tree.flatten(boxed(values, log_probs, baselines))
    centered = [v - b for v, b in zip(jax.tree.leaves(values), jax.tree.leaves(baselines), strict=True)]
    results = []
    for total, deviation, wanted in zip(leaves, centered, structure.flatten_up_to(gradients), strict=True):
        correction = [
            jax.lax.stop_gradient(jnp.mean(slope - outer(score, deviation), axis=0))
            for slope, score in zip(wanted, scores, strict=True)
        ]
        results.append(attach(jnp.mean(total, axis=0), parameters, correction))
    return jax.tree.unflatten(structure, results)


def outer(score: Float[Array, "n *p"], value: Float[Array, "n *s"]) -> Float[Array, "n ..."]:
    """The outer product per draw."""
    left = score.reshape(score.shape + (1,) * (value.ndim - 1))
    right = value.reshape(value.shape[:1] + (1,) * (score.ndim - 1) + value.shape[1:])
    return left.astype(value.dtype) * right


def scaled(factor: Float[Array, "n *p"], value: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """A factor per draw and parameter element times values whose first axes are those of the factor."""
    return factor.reshape(factor.shape + (1,) * (value.ndim - factor.ndim)).astype(value.dtype) * value


Same = Callable[[Any], Any]
Refusal = Callable[[], InvalidEstimator]
_BY_PROBABILITY = (dist.BernoulliProbs, dist.CategoricalProbs)
_MOVING = {
    dist.Uniform: "the bounds of Uniform",
    dist.DiscreteUniform: "the bounds of DiscreteUniform",
    dist.Delta: "the value of Delta",
}


def not_differentiable(refusal: Refusal) -> Same:
    """The identity, whose derivative raises an error."""

    @jax.custom_jvp
    def same(value: Any) -> Any:
        return value

    @same.defjvp
    def _refuse(primals: Any, tangents: Any) -> Any:
        raise refusal()

    return same


def differentiable_once(refusal: Refusal) -> Same:
    """The identity, whose second derivative raises an error."""
    no_more = not_differentiable(refusal)

    @jax.custom_jvp
    def same(value: Any) -> Any:
        return value

    @same.defjvp
    def _once(primals: Any, tangents: Any) -> Any:
        return no_more(primals[0]), tangents[0]

    return same


def held_at_edges(q: Any) -> Any:
    """The same distributions, constant in every probability of 0 or 1, whose derivatives `with_edges` adds."""
    return jax.tree.map(_held, q, is_leaf=lambda node: isinstance(node, _BY_PROBABILITY))


def _held(node: Any) -> Any:
    if type(node) not in _BY_PROBABILITY:
        return node
    flat, structure = jax.tree.flatten(node)
    probs = jnp.where(at_edge(node), jax.lax.stop_gradient(node.probs), node.probs)
    return jax.tree.unflatten(structure, [probs if leaf is node.probs else leaf for leaf in flat])


def at_edge(q: dist.Distribution) -> Bool[Array, "*p"]:
    """Which probabilities are 0 or 1; for classes only 0, as a probability of 1 makes all others 0."""
    limits = jnp.finfo(jnp.result_type(q.probs, float))
    low = jnp.asarray(q.probs) <= limits.tiny
    return low | (q.probs >= 1 - limits.eps) if isinstance(q, dist.BernoulliProbs) else low


def with_edges(values: Any, f: Integrand, q: Any, key: jax.Array) -> Any:
    """The values of f at draws, with their derivatives in probabilities of 0 and 1 added."""
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
        edge = jnp.broadcast_to(at_edge(base), wide).reshape(-1)
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

    change = jax.lax.cond(count > 0, difference, nothing)
    return jax.tree.map(lambda leaf: weight.astype(leaf.dtype) * leaf, change)


def _changed(base: dist.Distribution, z: Array, chosen: Array) -> Array:
    flat = z.reshape(-1)
    if isinstance(base, dist.BernoulliProbs):
        return flat.at[chosen].set(1 - flat[chosen]).reshape(z.shape)
    classes = base.probs.shape[-1]
    return flat.at[chosen // classes].set((chosen % classes).astype(z.dtype)).reshape(z.shape)


def _rate(base: dist.Distribution, probs: Array, z: Array, chosen: Array) -> Float[Array, ""]:
    """What the weight of the change depends on: the probability, with the sign of the change."""
    p = probs.reshape(-1)[chosen]
    if isinstance(base, dist.BernoulliProbs):
        return p * (1 - 2 * z.reshape(-1)[chosen]).astype(p.dtype)
    classes = probs.shape[-1]
    return p / jax.lax.stop_gradient(jnp.sum(probs.reshape(-1, classes)[chosen // classes]))


def unknown_at_edges(value: Float[Array, ""], q: Any) -> Float[Array, ""]:
    """The value, with a derivative of NaN if a probability of q is exactly 0 or 1, as draws do not determine it."""
    nodes = jax.tree.leaves(q, is_leaf=lambda node: isinstance(node, _BY_PROBABILITY))
    flags = [jnp.any(at_edge(node)) for node in nodes if type(node) in _BY_PROBABILITY]
    return _unknown_where(value, jnp.any(jnp.stack(flags))) if flags else value


@jax.custom_jvp
def _unknown_where(value: Array, flag: Array) -> Array:
    return value


@_unknown_where.defjvp
def _unknown_where_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    # A product, because the transpose of a selection would be 0.
    return primals[0], tangents[0] * jnp.where(primals[1], jnp.nan, 1.0).astype(tangents[0].dtype)


def moving_support(q: dist.Distribution) -> str | None:
    """Why q has no score: its support depends on all of its parameters; ``None`` otherwise."""
    base = innermost(q)
    if isinstance(base, RoundedCodes):
        return "its draw is rounded, so that the derivative of the probability of a value is 0 almost everywhere"
    for family, what in _MOVING.items():
        if isinstance(base, family):
            return (
                f"the support depends on {what}: differentiating the density misses the mass that enters or leaves "
                "at its edge"
            )
    return None


_unmoved = not_differentiable(
    lambda: InvalidEstimator(
        expected="the score-function estimator to differentiate parameters on which the support does not depend",
        got="a derivative with respect to a bound of the support, for which the score misses the mass at the edge",
        cure="use estimator='pathwise', or hold the bound constant with jax.lax.stop_gradient",
    )
)
_smooth_once = differentiable_once(
    lambda: InvalidEstimator(
        expected="a log density that is twice differentiable, for second derivatives of the score-function estimator",
        got="the location of a Laplace, where the log density has a kink: its second derivative misses a point mass",
        cure="use estimator='pathwise' for second derivatives",
    )
)


def with_unmoved_support(q: Any) -> Any:
    """The same distributions, which raise an error if they are differentiated where the score would be wrong.

    The score is wrong in parameters on which the support depends, and its derivative at a location with a kink.
    """
    return jax.tree.map(_with_unmoved_support, q, is_leaf=is_distribution)


def _with_unmoved_support(q: dist.Distribution) -> dist.Distribution:
    flat, structure = jax.tree.flatten(q)
    guarded = [
        _guarded(leaf, moves, kinked) for leaf, moves, kinked in zip(flat, support_reads(q), kink_reads(q), strict=True)
    ]
    return jax.tree.unflatten(structure, guarded)


def _guarded(leaf: Any, moves: bool, kinked: bool) -> Any:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        return leaf
    if moves:
        return _unmoved(leaf)
    return _smooth_once(leaf) if kinked else leaf


def scored_draws(f: Integrand, q: Any, key: jax.Array, num_samples: int) -> tuple[Any, Any, Float[Array, " n"]]:
    """The positions of draws, f at the draws, and their log densities (differentiable in the parameters only)."""
    draw_key, f_key = jax.random.split(key)
    positions = draw_positions(q, draw_key, num_samples)
    values = evaluate(f, values_at(q, positions), jax.random.split(f_key, num_samples))
    values = with_edges(values, f, q, jax.random.fold_in(key, 1))
    return positions, values, log_probs_at(held_at_edges(q), positions)


def log_probs_at(q: Any, positions: Any) -> Float[Array, " n"]:
    """The log densities of draws given by their positions; they raise an error where the score would be wrong."""
    return jax.vmap(functools.partial(log_prob_at, with_unmoved_support(q)))(positions)
