"""Relaxations of binary and one-hot variables: reparameterized logits, hard values, and logits given the hard value."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._categorical import category_logits, is_one_hot, not_one_hot
from reparax.estimators._distributions import innermost, is_binary


class Relaxed(NamedTuple):
    """One draw of a variable and of its relaxation.

    Args:
        hard: The draw itself, constant, floating.
        free: Noisy logits of which the hard value is a threshold or an argmax, differentiable.
        given: A second draw of the noisy logits, from their distribution given the hard value, differentiable.
    """

    hard: Array
    free: Array
    given: Array


def not_relaxable(q: dist.Distribution) -> str | None:
    """Why a distribution has no relaxation here."""
    return None if is_binary(q) else not_one_hot(q)


def relaxed_draw(q: dist.Distribution, key: jax.Array) -> Relaxed:
    """A draw of a Bernoulli or one-hot variable with both of its relaxations.

    Tucker et al. (2017), appendix B (Bernoulli: logistic noise) and appendix C (categorical: Gumbel noise).
    """
    return _one_hot(q, key) if is_one_hot(q) else _binary(q, key)


def soft(q: dist.Distribution, logits: Array, temperature: float | Array) -> Array:
    """The relaxed value at noisy logits: a sigmoid or a softmax, at a temperature."""
    scaled = logits / jnp.asarray(temperature, logits.dtype)
    return jax.nn.softmax(scaled, axis=-1) if is_one_hot(q) else jax.nn.sigmoid(scaled)


def probabilities(q: dist.Distribution) -> Float[Array, "*s"]:
    """The mean of a Bernoulli or one-hot variable, in the shape of a draw."""
    logits = natural_logits(q)
    return jax.nn.softmax(logits, axis=-1) if is_one_hot(q) else jax.nn.sigmoid(logits)


def natural_logits(q: dist.Distribution) -> Float[Array, "*s"]:
    """The log-odds of a Bernoulli, or the normalized log probabilities of a one-hot variable."""
    if is_one_hot(q):
        return jax.nn.log_softmax(category_logits(q), axis=-1)
    return jnp.broadcast_to(innermost(q).logits, q.shape())


def _logit(u: Float[Array, "*s"]) -> Float[Array, "*s"]:
    return jnp.log(u) - jnp.log1p(-u)


def _uniform(key: jax.Array, like: Float[Array, "*s"]) -> Float[Array, "*s"]:
    tiny = jnp.finfo(like.dtype).eps
    return jax.random.uniform(key, like.shape, like.dtype, minval=tiny, maxval=1 - tiny)


def _binary(q: dist.Distribution, key: jax.Array) -> Relaxed:
    logits = natural_logits(q)
    p = jax.nn.sigmoid(logits)
    free_key, given_key = jax.random.split(key)
    free = logits + _logit(_uniform(free_key, logits))
    hard = jax.lax.stop_gradient((free > 0).astype(logits.dtype))
    v = _uniform(given_key, logits)
    # The uniform noise given the hard value lies in (1 - p, 1) or in (0, 1 - p).
    inside = jnp.where(hard > 0, v * p + (1 - p), v * (1 - p))
    edge = jnp.finfo(logits.dtype).eps
    return Relaxed(hard, free, logits + _logit(jnp.clip(inside, edge, 1 - edge)))


def _one_hot(q: dist.Distribution, key: jax.Array) -> Relaxed:
    logits = natural_logits(q)
    free_key, given_key = jax.random.split(key)
    free = logits + jax.random.gumbel(free_key, logits.shape, logits.dtype)
    hard = jax.nn.one_hot(jnp.argmax(free, axis=-1), logits.shape[-1], dtype=logits.dtype)
    hard = jax.lax.stop_gradient(hard)
    e = jax.random.exponential(given_key, logits.shape, logits.dtype)
    # The largest noisy logit has rate one; the others are Gumbel draws truncated at it.
    largest = jnp.sum(e * hard, axis=-1, keepdims=True)
    given = -jnp.log(jnp.where(hard > 0, largest, e * jnp.exp(-logits) + largest))
    return Relaxed(hard, free, given)
