"""The table of rules that say how a sample depends on each parameter, and sampling by these rules."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from reparax.errors import NotReparameterizable
from reparax.reparameterization.numerics import widened

Sampler = Callable[[Any, jax.Array, tuple[int, ...]], jax.Array]


def innermost(q: dist.Distribution) -> dist.Distribution:
    """The distribution inside all wrappers, whose batch shape may be smaller than the wrapper's."""
    while isinstance(q, dist.Independent | dist.ExpandedDistribution):
        q = q.base_dist
    return q


def is_discrete(q: dist.Distribution) -> bool:
    """Whether the support of q is discrete, also under wrappers."""
    support = q.support
    return support is not None and bool(support.is_discrete)


def is_masked(q: dist.Distribution) -> bool:
    """Whether a distribution contains a mask, which changes its log density, but not its draws."""
    inside = (getattr(q, name, None) for name in ("base_dist", "base"))
    below = (part for part in inside if isinstance(part, dist.Distribution))
    return isinstance(q, dist.MaskedDistribution) or any(is_masked(part) for part in below)


@dataclass(frozen=True)
class ParameterRule:
    """How a sample is differentiated with respect to one parameter.

    Args:
        parameter: The name of the parameter in the distribution.
        method: For example ``"location-scale"``, ``"inverse CDF"``, ``"implicit"`` or ``"none"``.
        differentiable: Whether a reparameterized derivative exists.
        reason: Why, or under which condition on the integrand.
        reference: The source, unless it is common knowledge.
    """

    parameter: str
    method: str
    differentiable: bool = True
    reason: str = ""
    reference: str = ""


Declaration = Callable[[Any], tuple[ParameterRule, ...]]


@dataclass(frozen=True)
class Rule:
    """The sampler of a family and its declaration, as registered for the type `owner`."""

    owner: type
    sampler: Sampler
    declare: Declaration


_TABLE: dict[type, Rule] = {}


def rule(*types: type, declare: Declaration | tuple[ParameterRule, ...]) -> Callable[[Sampler], Sampler]:
    """Registers a sampler as the reparameterization of one or several distribution types.

    The sampler is called as ``sampler(q, key, sample_shape)`` and returns an array of shape
    ``sample_shape + q.batch_shape + q.event_shape``, differentiable with respect to every parameter of q.

    Args:
        types: The distribution types. Subclasses inherit the rule as long as they do not override ``sample``.
        declare: One `ParameterRule` per parameter, or a function of q that returns them.
    """
    declaration: Declaration = (lambda q: declare) if isinstance(declare, tuple) else declare

    def register(sampler: Sampler) -> Sampler:
        for owner in types:
            _TABLE[owner] = Rule(owner, sampler, declaration)
        return sampler

    return register


def find(q: Distribution) -> Rule | None:
    """The rule for a distribution: that of its type, or of its nearest base class whose ``sample`` it inherits."""
    for ancestor in type(q).__mro__:
        entry = _TABLE.get(ancestor)
        if entry is not None:
            return entry if _same_sampler(type(q), ancestor) else None
    return None


def parameter_rules(q: Distribution) -> tuple[ParameterRule, ...]:
    """How a sample of q is differentiated, one entry per parameter; nothing is run.

    A distribution without a rule is reported as not differentiable in each of its parameters, with the reason.
    """
    entry = find(q)
    if entry is not None:
        return entry.declare(q)
    names = tuple(q.arg_constraints) or ("its parameters",)
    return tuple(ParameterRule(name, "none", False, _why_unknown(q)) for name in names)


def is_reparameterizable(q: Distribution) -> bool:
    """Whether a sample of q can be differentiated in all its parameters; nothing is run."""
    return all(rule.differentiable for rule in parameter_rules(q))


def _why_unknown(q: Distribution) -> str:
    kind = type(q).__name__
    if is_discrete(q):
        return f"{kind} is discrete: its sample is a step function of the parameter, with derivative zero or none"
    return f"there is no rule for how a sample of {kind} depends on its parameters (register one with rule)"


def _same_sampler(derived: type, ancestor: type) -> bool:
    # The derivative of the base class's draws is wrong for a subclass that draws differently.
    return inspect.getattr_static(derived, "sample", None) is inspect.getattr_static(ancestor, "sample", None)


def declared(method: str, *parameters: str, reason: str = "", reference: str = "") -> tuple[ParameterRule, ...]:
    """One `ParameterRule` per name, all of the same method."""
    return tuple(ParameterRule(name, method, True, reason, reference) for name in parameters)


def rsample(q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """A sample of q that can be differentiated with respect to every parameter of q.

    The sample is z = g(eps, theta), where eps does not depend on theta, or has the same derivative (implicit
    reparameterization, Figurnov et al. 2018, eq. 5), so that ``d/dtheta E[f(z)] = E[f'(z) dz/dtheta]`` for every
    continuous f that is differentiable almost everywhere.

    Args:
        q: The distribution.
        key: The random key; the same key gives the same bits.
        sample_shape: The shape of the array of independent draws.

    Returns:
        An array of shape ``sample_shape + q.batch_shape + q.event_shape``; float32 if the parameters have half
        precision.

    Raises:
        NotReparameterizable: The sample is not a differentiable function of some parameter. The error names this
            parameter, and the estimators that can be used.
    """
    refused = tuple(rule for rule in parameter_rules(q) if not rule.differentiable)
    entry = find(q)
    if refused or entry is None:
        raise refusal(q, refused)
    # numpyro broadcasts batches against samples implicitly by design: this is no mistake of the caller's.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return entry.sampler(widened(q), key, tuple(sample_shape))


def refusal(q: dist.Distribution, refused: tuple[ParameterRule, ...]) -> NotReparameterizable:
    """The error that names the parameters without a reparameterization, and the estimators that need none."""
    names = ", ".join(dict.fromkeys(rule.parameter for rule in refused))
    return NotReparameterizable(
        expected=f"{type(q).__name__} to have samples that are a differentiable function of {names}",
        got="; ".join(dict.fromkeys(rule.reason for rule in refused)),
        cure="use an estimator that does not differentiate the sample: " + ", ".join(_alternatives(q)),
    )


def _alternatives(q: dist.Distribution) -> tuple[str, ...]:
    base = innermost(q)
    if isinstance(base, dist.BernoulliProbs | dist.BernoulliLogits):
        return ("enumeration", "DisARM", "score function with a leave-one-out baseline", "measure-valued")
    if q.has_enumerate_support:
        return ("enumeration", "sum-and-sample", "score function with a leave-one-out baseline")
    if is_discrete(base):
        return ("score function with a leave-one-out baseline", "measure-valued")
    return ("score function with a leave-one-out baseline",)


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
    # Axes of size one in the base that are expanded here are drawn as sample axes, then moved into place.
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
    of_transforms = () if q.arg_constraints else tuple(moved)
    return tuple(composed(entry) for entry in base) + of_transforms


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
