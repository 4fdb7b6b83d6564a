"""Distributions made of others: independent, expanded and masked ones, and transformations."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.reparameterization._rsample import rsample
from reparax.reparameterization._rule import ParameterRule, parameter_rules, rule


def _of_base(q: dist.Distribution) -> tuple[ParameterRule, ...]:
    return parameter_rules(q.base_dist)


@rule(dist.Independent, dist.MaskedDistribution, declare=_of_base)
def _base(q: dist.Independent, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return rsample(q.base_dist, key, sample_shape)


@rule(dist.ExpandedDistribution, declare=_of_base)
def _expanded(q: dist.ExpandedDistribution, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    base = q.base_dist
    batch = tuple(q.batch_shape)
    rank = len(base.batch_shape)
    inner = batch[len(batch) - rank :]
    # Axes of size one in the base that are wider here are drawn as samples, then moved to their places.
    grown = [i for i in range(rank) if base.batch_shape[i] != inner[i]]
    front = (*sample_shape, *batch[: len(batch) - rank])
    draws = rsample(base, key, (*front, *(inner[i] for i in grown)))
    for position, axis in enumerate(grown):
        draws = jnp.swapaxes(draws, len(front) + position, len(front) + len(grown) + axis)
    return draws.reshape(front + inner + tuple(q.event_shape))


def _of_transformed(q: dist.TransformedDistribution) -> tuple[ParameterRule, ...]:
    base = parameter_rules(q.base_dist)
    if type(q) is not dist.TransformedDistribution and q.arg_constraints:
        base = _renamed(q, base)
    moved = (
        ParameterRule(f"parameters of {type(transform).__name__}", "composed", True, "the sample passes through it")
        for transform in q.transforms
        if jax.tree.leaves(transform)
    )
    own = () if q.arg_constraints else tuple(moved)
    return tuple(composed(entry) for entry in base) + own


def _renamed(q: dist.Distribution, base: tuple[ParameterRule, ...]) -> tuple[ParameterRule, ...]:
    refused = tuple(entry for entry in base if not entry.differentiable)
    method = " + ".join(dict.fromkeys(entry.method for entry in base))
    return refused or tuple(ParameterRule(name, method) for name in q.arg_constraints)


def composed(entry: ParameterRule) -> ParameterRule:
    """The rule of a parameter whose sample passes through a transform."""
    if not entry.differentiable:
        return entry
    return ParameterRule(entry.parameter, f"composed ({entry.method})", True, entry.reason, entry.reference)


@rule(dist.TransformedDistribution, declare=_of_transformed)
def _transformed(q: dist.TransformedDistribution, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    value = rsample(q.base_dist, key, sample_shape)
    for transform in q.transforms:
        value = transform(value)
    return value
