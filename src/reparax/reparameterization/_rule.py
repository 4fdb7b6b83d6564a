"""The table of rules: how a sample of each family depends on the parameters of its distribution.

A rule is a function ``(q, key, sample_shape) -> sample`` whose derivative with respect to every parameter of q is
right, together with its declaration: one `ParameterRule` per parameter. Rules are registered by type with `rule`, from
any file, a user's own included; `find` looks them up along the class hierarchy.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from numpyro.distributions import Distribution

from reparax.reparameterization._unwrap import is_discrete

Sampler = Callable[[Any, jax.Array, tuple[int, ...]], jax.Array]


@dataclass(frozen=True)
class ParameterRule:
    """How a sample is differentiated with respect to one parameter.

    Args:
        parameter: The parameter's name, as the distribution calls it.
        method: The route, for example ``"location-scale"``, ``"inverse CDF"``, ``"implicit"`` or ``"none"``.
        differentiable: Whether a reparameterized derivative exists.
        reason: Why, or under which condition on the integrand.
        reference: The source, where it is not common knowledge.
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
    """The rule for a distribution: of its type, or of the nearest ancestor whose ``sample`` it inherits unchanged."""
    for ancestor in type(q).__mro__:
        found = _TABLE.get(ancestor)
        if found is not None:
            return found if _same_sampler(type(q), ancestor) else None
    return None


def parameter_rules(q: Distribution) -> tuple[ParameterRule, ...]:
    """How a sample of q is differentiated, one entry per parameter; nothing is run.

    A distribution without a rule is reported as not differentiable in each of its parameters, with the reason.
    """
    found = find(q)
    if found is not None:
        return found.declare(q)
    names = tuple(q.arg_constraints) or ("its parameters",)
    return tuple(ParameterRule(name, "none", False, _why_unknown(q)) for name in names)


def is_reparameterizable(q: Distribution) -> bool:
    """Whether a sample of q can be differentiated in all its parameters; nothing is run."""
    return all(rule.differentiable for rule in parameter_rules(q))


def _why_unknown(q: Distribution) -> str:
    kind = type(q).__name__
    if is_discrete(q):
        return f"{kind} is discrete: its sample is a step function of the parameter, with derivative zero or none"
    return f"no rule says how a sample of {kind} depends on its parameters (register one with rule)"


def _same_sampler(derived: type, ancestor: type) -> bool:
    # A subclass that draws differently does not inherit the derivative of its ancestor's draws.
    return inspect.getattr_static(derived, "sample", None) is inspect.getattr_static(ancestor, "sample", None)


def declared(method: str, *parameters: str, reason: str = "", reference: str = "") -> tuple[ParameterRule, ...]:
    """One `ParameterRule` per name, all of the same method."""
    return tuple(ParameterRule(name, method, True, reason, reference) for name in parameters)
