"""What the estimators for Bernoulli variables share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.bernoulli import bernoulli_log_prob
from reparax.estimators._distributions import is_binary, leaves
from reparax.reparameterization import innermost
from reparax.reparameterization.numerics import widened


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
