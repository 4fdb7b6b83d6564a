"""Reparameterized draws of all distributions of a pytree, and log q with the derivative in its parameters held back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import Pushforward
from reparax.estimators._distributions import is_distribution, log_prob
from reparax.estimators._moving_support import parts
from reparax.reparameterization import parameter_rules, rsample


def not_reparameterizable(q: dist.Distribution) -> str | None:
    """Why a distribution has no pathwise derivative."""
    refused = [rule for rule in parameter_rules(q) if not rule.differentiable]
    return f"{refused[0].parameter}: {refused[0].reason}" if refused else None


def not_path_only(q: dist.Distribution) -> str | None:
    """Why the derivative in the parameters of log q cannot be held back: no path, or no density but of own draws."""
    for part in parts(q):
        if isinstance(part, Pushforward) and not part.has_inverse:
            kind = type(part.transform).__name__
            return f"{kind} has no inverse: the density of its Pushforward, with parameters held, is not known at z"
    return not_reparameterizable(q)


def draws(q: Any, key: jax.Array, num_samples: int) -> Any:
    """Reparameterized draws of a pytree of distributions along a new leading axis."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    keys = jax.random.split(key, len(flat))
    return jax.tree.unflatten(structure, [rsample(a, k, (num_samples,)) for a, k in zip(flat, keys, strict=True)])


def log_mean_exp(log_weights: Float[Array, " k"]) -> Float[Array, ""]:
    """log (1/K) sum_k exp(log w_k)."""
    return jax.nn.logsumexp(log_weights) - jnp.log(jnp.asarray(len(log_weights), log_weights.dtype))


@jax.custom_jvp
def path_only(q: Any, z: Any) -> Float[Array, ""]:
    """log q(z), whose first derivative is taken in z alone; derivatives of that derivative are complete."""
    return log_prob(q, z)


@path_only.defjvp
def _path_only_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    q, z = primals
    # The true function of q and z, so that differentiating once more sees both.
    return jax.jvp(lambda value: log_prob(q, value), (z,), (tangents[1],))


@jax.custom_jvp
def slowed(z: Any, weight: Float[Array, ""]) -> Any:
    """z, whose derivative is multiplied by a weight."""
    return z


@slowed.defjvp
def _slowed_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    z, weight = primals
    return z, jax.tree.map(lambda direction: weight.astype(direction.dtype) * direction, tangents[0])
