"""What the score-function estimators share: the refusal of moving supports, and the boxed draws."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.estimators._base import Integrand
from reparax.estimators._distributions import is_distribution
from reparax.estimators._edges import held_at_edges, with_edges
from reparax.estimators._moving_support import kink_reads, support_reads
from reparax.estimators._positions import draw_positions, log_prob_at, values_at
from reparax.estimators._refusals import differentiable_once, not_differentiable
from reparax.estimators._surrogate import evaluate
from reparax.reparameterization import innermost

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


_unmoved = not_differentiable(
    lambda: InvalidEstimator(
        expected="the score-function estimator to differentiate parameters that do not move the support",
        got="a derivative with respect to a bound of the support, where the score misses the mass at the edge",
        cure="use estimator='pathwise', or hold the bound constant with jax.lax.stop_gradient",
    )
)
_smooth_once = differentiable_once(
    lambda: InvalidEstimator(
        expected="a log density that is twice differentiable, for second derivatives of the score-function estimator",
        got="the location of a Laplace, whose log density has a kink there: its second derivative misses a point mass",
        cure="use estimator='pathwise' for second derivatives",
    )
)


def with_unmoved_support(q: Any) -> Any:
    """The same distributions, raising where the score would be wrong.

    That is in a parameter on which the support depends, and in the second derivative in a location with a kink.
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
    """The positions of draws, f at the draws, and their log densities (differentiable in the parameters alone)."""
    draw_key, f_key = jax.random.split(key)
    positions = draw_positions(q, draw_key, num_samples)
    values = evaluate(f, values_at(q, positions), jax.random.split(f_key, num_samples))
    values = with_edges(values, f, q, jax.random.fold_in(key, 1))
    return positions, values, log_probs_at(held_at_edges(q), positions)


def log_probs_at(q: Any, positions: Any) -> Float[Array, " n"]:
    """The log densities of draws given by their positions, raising where the score would be wrong."""
    return jax.vmap(functools.partial(log_prob_at, with_unmoved_support(q)))(positions)
