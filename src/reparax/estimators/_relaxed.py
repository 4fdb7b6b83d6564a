"""Relaxations of binary and one-hot variables: reparameterized logits, hard values, and logits given the hard value."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.bernoulli import bernoulli_log_prob
from reparax.estimators._categorical import category_logits, is_one_hot, not_one_hot
from reparax.estimators._distributions import is_binary
from reparax.reparameterization import innermost


class Relaxed(NamedTuple):
    """One draw of a variable and of its relaxation.

    Args:
        hard: The draw itself, constant, floating.
        free: Noisy logits of which the hard value is a threshold or an argmax, differentiable as shifted noise.
        given: The same numbers, differentiable as a draw from their distribution given the hard value.
    """

    hard: Array
    free: Array
    given: Array


def not_relaxable(q: dist.Distribution) -> str | None:
    """Why a distribution has no relaxation here."""
    return None if is_binary(q) else not_one_hot(q)


def relaxed_draw(q: dist.Distribution, key: jax.Array, logits: Float[Array, "*s"] | None = None) -> Relaxed:
    """A draw of a Bernoulli or one-hot variable with both of its relaxations, as functions of its natural logits.

    The hard value comes first, and the noise given the value second; the free noise is then the same noise, whose
    distribution is the free one. Tucker et al. (2017), appendix B (Bernoulli: logistic noise) and appendix C
    (categorical: Gumbel noise), with their common random numbers.
    """
    own = natural_logits(q) if logits is None else logits
    return _one_hot(own, key) if is_one_hot(q) else _binary(own, key)


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


def logits_log_prob(q: dist.Distribution, logits: Float[Array, "*s"], hard: Float[Array, "*s"]) -> Float[Array, ""]:
    """log q of a hard value, as a function of the natural logits."""
    if is_one_hot(q):
        return jnp.sum(hard * jax.nn.log_softmax(logits, axis=-1))
    return jnp.sum(bernoulli_log_prob(logits, hard))


def _binary(logits: Float[Array, "*s"], key: jax.Array) -> Relaxed:
    hard_key, given_key = jax.random.split(key)
    ones = jax.random.uniform(hard_key, logits.shape, logits.dtype) < jax.nn.sigmoid(jax.lax.stop_gradient(logits))
    w = jax.random.uniform(given_key, logits.shape, logits.dtype, minval=jnp.finfo(logits.dtype).tiny)
    # Logistic noise given its sign: log((1 + e^l (1 - w)) / w) above 0, and mirrored below it.
    sign = jnp.where(ones, 1, -1).astype(logits.dtype)
    given = sign * (jax.nn.softplus(sign * logits + jnp.log1p(-w)) - jnp.log(w))
    return _coupled(ones.astype(logits.dtype), logits, given)


def _one_hot(logits: Float[Array, "*s"], key: jax.Array) -> Relaxed:
    hard_key, given_key = jax.random.split(key)
    index = jax.random.categorical(hard_key, jax.lax.stop_gradient(logits), axis=-1)
    hard = jax.nn.one_hot(index, logits.shape[-1], dtype=logits.dtype)
    e = jax.random.exponential(given_key, logits.shape, logits.dtype)
    # The largest noisy logit has rate one; the others are Gumbel draws truncated at it.
    largest = jnp.sum(e * hard, axis=-1, keepdims=True)
    given = -jnp.log(jnp.where(hard > 0, largest, e * jnp.exp(-jax.nn.log_softmax(logits, axis=-1)) + largest))
    return _coupled(hard, logits, given)


def _coupled(hard: Array, logits: Array, given: Array) -> Relaxed:
    # The free logits are the same numbers, with the derivative 1 of a shifted noise: what both share cancels.
    return Relaxed(hard, logits + jax.lax.stop_gradient(given - logits), given)
