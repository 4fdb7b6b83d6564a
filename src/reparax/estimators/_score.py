"""What the score-function estimators share: the refusal of moving supports, and the boxed draws."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.estimators._base import Integrand
from reparax.estimators._distributions import draw, innermost, is_distribution, log_prob, support_reads
from reparax.estimators._surrogate import evaluate

_MOVING = {
    dist.Uniform: "the bounds of Uniform",
    dist.DiscreteUniform: "the bounds of DiscreteUniform",
    dist.Delta: "the atom of Delta",
}


def moving_support(q: dist.Distribution) -> str | None:
    """Why no score of q exists, where all its parameters move the support; ``None`` otherwise."""
    base = innermost(q)
    for family, what in _MOVING.items():
        if isinstance(base, family):
            return (
                f"{what} move the support: differentiating the density misses the mass that enters and leaves at its "
                "edge"
            )
    return None


@jax.custom_jvp
def _unmoved(bound: Float[Array, "*s"]) -> Float[Array, "*s"]:
    return bound


@_unmoved.defjvp
def _refuse(primals: Any, tangents: Any) -> Any:
    raise InvalidEstimator(
        expected="the score-function estimator to differentiate parameters that do not move the support",
        got="a derivative with respect to a bound of the support, where the score misses the mass at the edge",
        cure="use estimator='pathwise', or hold the bound constant with jax.lax.stop_gradient",
    )


def with_unmoved_support(q: Any) -> Any:
    """The same distributions, raising once a parameter on which the support depends is differentiated."""
    return jax.tree.map(_with_unmoved_support, q, is_leaf=is_distribution)


def _with_unmoved_support(q: dist.Distribution) -> dist.Distribution:
    flat, structure = jax.tree.flatten(q)
    guarded = [
        _unmoved(leaf) if moves and jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf
        for moves, leaf in zip(support_reads(q), flat, strict=True)
    ]
    return jax.tree.unflatten(structure, guarded)


def scored_draws(f: Integrand, q: Any, key: jax.Array, num_samples: int) -> tuple[Any, Any, Float[Array, " n"]]:
    """Draws, f at them, and their log densities (differentiable in the parameters, not in the draws)."""
    draw_key, f_key = jax.random.split(key)
    z = draw(q, draw_key, num_samples)
    values = evaluate(f, z, jax.random.split(f_key, num_samples))
    return z, values, jax.vmap(functools.partial(log_prob, with_unmoved_support(q)))(z)
