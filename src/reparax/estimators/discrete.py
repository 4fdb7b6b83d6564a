"""Bernoulli and categorical variables: logits, log densities, thresholds; integer classes and one-hot vectors alike."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from reparax.distributions import OneHotCategorical
from reparax.distributions.bernoulli import bernoulli_log_prob
from reparax.estimators.draws import is_binary, leaves
from reparax.reparameterization import innermost
from reparax.reparameterization.numerics import widened

Categorical = dist.CategoricalProbs | dist.CategoricalLogits | OneHotCategorical


def not_binary(q: dist.Distribution) -> str | None:
    """Why a distribution is not a collection of independent Bernoulli variables."""
    return None if is_binary(q) else f"{type(innermost(q)).__name__} is not a Bernoulli"


def logits_of(q: Any) -> list[Float[Array, "*s"]]:
    """The log-odds of every element of a pytree of Bernoulli distributions, one array per distribution."""
    return [jnp.broadcast_to(innermost(leaf).logits, leaf.shape()) for leaf in leaves(widened(q))]


def binary_log_prob(logits: list[Array], z: list[Array]) -> Float[Array, ""]:
    """log q(z) of one draw: sum of z * logit - softplus(logit)."""
    terms = [jnp.sum(bernoulli_log_prob(logit, value)) for logit, value in zip(logits, z, strict=True)]
    return jnp.sum(jnp.stack(terms))


def uniforms(logits: list[Array], key: jax.Array, num_samples: int) -> list[Float[Array, "n *s"]]:
    """Uniform draws shaped like each of the logits."""
    keys = jax.random.split(key, len(logits))
    return [jax.random.uniform(k, (num_samples, *v.shape), v.dtype) for k, v in zip(keys, logits, strict=True)]


def threshold(u: list[Array], logits: list[Array]) -> list[Array]:
    """1 where u < sigmoid(logit), constant, with the dtype numpyro draws."""
    dtype = jnp.result_type(int)
    return [(a < jax.nn.sigmoid(jax.lax.stop_gradient(b))[None]).astype(dtype) for a, b in zip(u, logits, strict=True)]


def not_categorical(q: dist.Distribution) -> str | None:
    """Why a distribution is not a collection of independent categorical variables."""
    return None if isinstance(innermost(q), Categorical) else f"{type(innermost(q)).__name__} is not categorical"


def not_one_hot(q: dist.Distribution) -> str | None:
    """Why a distribution is not a collection of independent one-hot vectors, which alone can be relaxed."""
    base = innermost(q)
    if isinstance(base, OneHotCategorical):
        return None
    hint = " (use distributions.OneHotCategorical)" if isinstance(base, Categorical) else ""
    return f"a draw of {type(base).__name__} cannot be relaxed to a point between its values{hint}"


def is_one_hot(q: dist.Distribution) -> bool:
    """Whether the draws are one-hot vectors."""
    return isinstance(innermost(q), OneHotCategorical)


def category_logits(q: dist.Distribution) -> Float[Array, "*s c"]:
    """Log probabilities up to a constant, the classes last, broadcast to the shape of the draws."""
    base = innermost(q)
    shape = q.shape()[: len(q.shape()) - len(base.event_shape)]
    return jnp.broadcast_to(base.logits, (*shape, base.logits.shape[-1]))


def all_logits(q: Any) -> list[Float[Array, "*s c"]]:
    """`category_logits` of every distribution of a pytree."""
    return [category_logits(leaf) for leaf in leaves(widened(q))]


def as_drawn(q: dist.Distribution, index: Int[Array, "*s"]) -> Array:
    """Class numbers as the distribution draws them: integers, or one-hot vectors."""
    if is_one_hot(q):
        return jax.nn.one_hot(index, innermost(q).event_shape[0], dtype=innermost(q).logits.dtype)
    return index


def categorical_log_prob(logits: list[Array], index: list[Array]) -> Float[Array, ""]:
    """log q of one draw given as class numbers."""
    terms = [
        jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(logit), chosen[..., None], axis=-1))
        for logit, chosen in zip(logits, index, strict=True)
    ]
    return jnp.sum(jnp.stack(terms))
