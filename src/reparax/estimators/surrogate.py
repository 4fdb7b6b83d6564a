"""Functions whose value is an estimate and whose derivatives, of every order, are estimates of the derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.estimators._base import Integrand


def as_floating(tree: Any) -> Any:
    """The same pytree with integers and booleans turned into floats, so that they can be averaged."""

    def convert(leaf: Any) -> Array:
        array = jnp.asarray(leaf)
        return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))

    return jax.tree.map(convert, tree)


def evaluate(f: Integrand, z: Any, keys: jax.Array) -> Any:
    """f at each of several draws: every leaf of the result has the draws in front."""
    if len(keys) == 1:
        # One draw needs no batching, which would change how f compiles (convolutions, branches).
        one = f(jax.tree.map(lambda leaf: leaf[0], z), keys[0])
        return jax.tree.map(lambda leaf: leaf[None], as_floating(one))
    return as_floating(jax.vmap(f)(z, keys))


def evaluate_common(f: Integrand, z: Any, key: jax.Array) -> Any:
    """f at each of several values with the same inner randomness, which cancels from their differences."""
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
    """Weights of the draws shaped to multiply a leaf that has the draws in front."""
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
    """The value, with ``gradient`` added to its first derivative; ``gradient`` leaves have shape parameter + value."""
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

    Derivatives of higher order, and mixed ones, are those of the boxed score function: unbiased, if noisy.

    Args:
        values: f at n draws: a pytree of arrays of shape (n, ...).
        log_prob: The log density of ONE draw given the parameters.
        z: The n draws, constant.
        parameters: The floating arrays in which the estimate is.
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
    """A factor per draw and parameter element times values that have these axes in front."""
    return factor.reshape(factor.shape + (1,) * (value.ndim - factor.ndim)).astype(value.dtype) * value
