"""Estimators of bounds on log p(x): pathwise without the score of q, doubly reparameterized, VIMCO."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import Pushforward
from reparax.estimators._base import AbstractBoundEstimator, Bound, LogJoint
from reparax.estimators._parameters import parts
from reparax.estimators._positions import draw_positions, values_at
from reparax.estimators.draws import is_distribution, log_prob, not_reparameterizable
from reparax.estimators.scores import log_probs_at, magic_box, moving_support, unknown_at_edges
from reparax.reparameterization import rsample


class StickingTheLanding(AbstractBoundEstimator):
    """The derivative of log p(x, z) - log q(z) through z only, which has no variance if q is the exact posterior.

    The omitted part, E[d log q(z)/dtheta] with z held constant, is zero. For the importance-weighted bound it is not:
    use `DoublyReparameterized` there. Roeder, Wu & Duvenaud (2017), eq. 6.
    """

    unbiased: ClassVar[bool] = True
    bounds: ClassVar[tuple[Bound, ...]] = ("elbo",)
    differentiates_the_sample: ClassVar[bool] = True
    holds_parameters: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "reparameterizable distributions"
    reference: ClassVar[str] = "Roeder, Wu & Duvenaud (2017), eq. 6"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_path_only(q)

    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        z = draws(q, key, num_samples)
        return jnp.mean(jax.vmap(lambda draw: log_joint(draw) - path_only(q, draw))(z))


class DoublyReparameterized(AbstractBoundEstimator):
    """sum_k w_k^2 (d log w_k / d z_k) dz_k/dtheta for q, w_k the normalized weights; sum_k w_k d log w_k for the rest.

    Its signal-to-noise ratio increases with K, while that of the plain pathwise gradient decreases. For K = 1, and for
    the ELBO, it is `StickingTheLanding`. Tucker, Lawson, Gu & Maddison (2019), eq. 8.
    """

    unbiased: ClassVar[bool] = True
    bounds: ClassVar[tuple[Bound, ...]] = ("elbo", "iwae")
    differentiates_the_sample: ClassVar[bool] = True
    holds_parameters: ClassVar[bool] = True
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "reparameterizable distributions"
    reference: ClassVar[str] = "Tucker, Lawson, Gu & Maddison (2019), eq. 8"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_path_only(q)

    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        z = draws(q, key, num_samples)

        def log_weight(draw: Any) -> Array:
            return log_joint(draw) - path_only(q, draw)

        if bound == "elbo":
            return jnp.mean(jax.vmap(log_weight)(z))
        # The derivative of the weights is no part of the first derivative, but of the second.
        normalized = jax.nn.softmax(jax.vmap(log_weight)(z))
        return log_mean_exp(jax.vmap(lambda draw, weight: log_weight(slowed(draw, weight)))(z, normalized))


class ImportanceWeightedPathwise(AbstractBoundEstimator):
    """sum_k w_k d log w_k, with w_k the normalized weights. Burda, Grosse & Salakhutdinov (2016), eq. 13."""

    unbiased: ClassVar[bool] = True
    bounds: ClassVar[tuple[Bound, ...]] = ("iwae",)
    differentiates_the_sample: ClassVar[bool] = True
    holds_parameters: ClassVar[bool] = False
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "reparameterizable distributions"
    reference: ClassVar[str] = "Burda, Grosse & Salakhutdinov (2016), eq. 13"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_reparameterizable(q)

    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        z = draws(q, key, num_samples)
        return log_mean_exp(jax.vmap(lambda draw: log_joint(draw) - log_prob(q, draw))(z))


class VIMCO(AbstractBoundEstimator):
    """sum_k (L - L_k) d log q(z_k) + sum_k w_k d log w_k, L_k with w_k replaced by the others' geometric mean.

    For variables that cannot be reparameterized. The derivative in a probability of exactly 0 or 1 is NaN, because it
    depends on values that are never drawn. Mnih & Rezende (2016), eq. 10.
    """

    unbiased: ClassVar[bool] = True
    bounds: ClassVar[tuple[Bound, ...]] = ("iwae",)
    differentiates_the_sample: ClassVar[bool] = False
    holds_parameters: ClassVar[bool] = False
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "distributions whose support does not depend on their parameters"
    reference: ClassVar[str] = "Mnih & Rezende (2016), eq. 10"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, bound: Bound) -> Array:
        positions = draw_positions(q, key, num_samples)
        log_q = log_probs_at(q, positions)
        log_weights = jax.vmap(log_joint)(values_at(q, positions)) - log_q
        baselines = _without_each(log_weights)
        boxes = magic_box(log_q)
        everything = magic_box(jnp.sum(log_q))
        bound_value = everything * log_mean_exp(log_weights) + jnp.sum((1 - boxes) * baselines)
        return unknown_at_edges(bound_value, q)


def _without_each(log_weights: Float[Array, " k"]) -> Float[Array, " k"]:
    count = len(log_weights)
    others = (jnp.sum(log_weights) - log_weights) / (count - 1)
    replaced = jnp.where(jnp.eye(count, dtype=bool), others[:, None], log_weights[None, :])
    return jax.vmap(log_mean_exp)(replaced)


def not_path_only(q: dist.Distribution) -> str | None:
    """Why log q cannot be differentiated through z only: no path, or no density except at the draws of q."""
    for part in parts(q):
        if isinstance(part, Pushforward) and not part.has_inverse:
            kind = type(part.transform).__name__
            return f"{kind} has no inverse, so that the density of its Pushforward at a given z is not known"
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
    """log q(z), whose first derivative is taken in z only; derivatives of that derivative are complete."""
    return log_prob(q, z)


@path_only.defjvp
def _path_only_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    q, z = primals
    # log q as a function of both q and z, so that the second derivative is taken in both.
    return jax.jvp(lambda value: log_prob(q, value), (z,), (tangents[1],))


@jax.custom_jvp
def slowed(z: Any, weight: Float[Array, ""]) -> Any:
    """z, whose derivative is multiplied by a weight."""
    return z


@slowed.defjvp
def _slowed_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    z, weight = primals
    return z, jax.tree.map(lambda direction: weight.astype(direction.dtype) * direction, tangents[0])
