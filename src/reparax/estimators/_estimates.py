"""Estimates of E_q[f(z)], the ELBO and the importance-weighted bound, whose derivatives are estimates too."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax import registry
from reparax.continuity import AssumedContinuous, trusted
from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractBoundEstimator, Bound, LogJoint
from reparax.estimators._base_of import joint_at_base
from reparax.estimators._integrand import Inspected, Integrand, discontinuous
from reparax.estimators._plan import Group, grouped, named, planned, variable_names
from reparax.estimators.bounds import VIMCO, ImportanceWeightedPathwise, log_mean_exp
from reparax.estimators.draws import check_distributions, check_num_samples, is_distribution, leaves, log_prob
from reparax.reparameterization import is_discrete, is_reparameterizable


def expectation(
    f: Callable[..., Any],
    q: Any,
    *,
    key: jax.Array,
    num_samples: int = 1,
    estimator: Any = "auto",
) -> Any:
    """An estimate of E_q[f(z)]; differentiating it gives an estimate of the derivative of the expectation.

    It works inside ``jax.grad``, ``jacfwd``, ``hessian``, ``vmap``, ``jit``, ``scan`` and ``checkpoint``, whether
    parameters enter through the leaves of q, through f, or through both. f may itself contain expectations.

    Args:
        f: The integrand, of ONE draw: ``f(z)`` or ``f(z, *, key)``. It returns an array of any shape or a pytree of
            arrays. If it has a keyword-only ``key``, it gets a different key for each draw, for additional randomness;
            a key that it closes over is shared by all draws, which is also unbiased.
        q: A numpyro distribution, or a pytree whose leaves are independent distributions; z has the same structure.
        key: The random key.
        num_samples: The number of draws of the outermost level that is sampled. An estimator makes more draws if it
            needs more (leave-one-out: 2). Inner levels make as few draws as possible.
        estimator: ``"auto"``, the name of an estimator, an instance of one, or a pytree of these that has the structure
            of q. "auto" enumerates if that is cheap, reparameterizes if possible, uses DisARM or ARMS for binary
            variables, and leave-one-out for all others and for variables in which f is not shown to be continuous.

    Returns:
        The mean of f over the draws (exact if all of q is enumerated), in the structure that f returns.

    Raises:
        InvalidEstimator: An estimator would be wrong for q or f; the message names valid ones. Also when it is
            differentiated with respect to a value inside f that moves a jump of f, unless the estimator is
            ``boundary``.
        RecipeError: No estimator has that name.
    """
    check_num_samples(num_samples)
    check_distributions(leaves(q), "mask inside f instead, for example lambda z: jnp.where(mask, f(z), 0)")
    plan = planned(f, q, estimator, num_samples)
    for message in plan.messages:
        warnings.warn(message, UserWarning, stacklevel=2)
    return trusted(_nested(plan.integrand, plan.flat, grouped(plan.estimators), {}, key, num_samples))


def _nested(
    f: Integrand,
    flat: list[dist.Distribution],
    groups: list[Group],
    known: dict[int, Any],
    key: jax.Array,
    num_samples: int,
) -> Any:
    if not groups:
        return f([known[index] for index in range(len(flat))], key)
    (estimator, members), *inner = groups
    # Only the outermost sampled level makes num_samples draws: the draws of inner levels are averaged over it.
    left = num_samples if estimator.level == "enumerate" else 1

    def given(z: list[Any], k: jax.Array) -> Any:
        return _nested(f, flat, inner, known | dict(zip(members, z, strict=True)), k, left)

    chosen = [flat[index] for index in members]
    return estimator.estimate(given, chosen, key=key, num_samples=max(num_samples, estimator.minimum_samples))


def elbo_estimate(
    log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int = 1, estimator: Any = "auto"
) -> Float[Array, ""]:
    """An estimate of the evidence lower bound E_q[log p(x, z) - log q(z)], in nats.

    Args:
        log_joint: z -> log p(x, z), a scalar.
        q: The approximate posterior: a distribution or a pytree of independent ones.
        key: The random key.
        num_samples: The number of draws, averaged over.
        estimator: ``"auto"`` or any estimator of expectations (see `expectation`), or one of bounds by name or
            instance: ``"sticking-the-landing"``, ``"doubly-reparameterized"`` (the same for this bound).

    Raises:
        InvalidEstimator: The estimator would be wrong for q, for log_joint or for this bound.
    """
    check_num_samples(num_samples)
    of_bounds = _of_bounds(estimator)
    if of_bounds is not None:
        return _estimate(of_bounds, log_joint, q, key, num_samples, "elbo")
    log_joint, base = joint_at_base(log_joint, q)
    integrand = _log_weight(log_joint, base)
    return expectation(integrand, base, key=key, num_samples=num_samples, estimator=estimator)


def iwae_estimate(
    log_joint: LogJoint, q: Any, *, key: jax.Array, num_samples: int, estimator: Any = "auto"
) -> Float[Array, ""]:
    """An estimate of the importance-weighted bound E[log (1/K) sum_k p(x, z_k) / q(z_k)], in nats.

    Burda, Grosse & Salakhutdinov (2016), eq. 8; at K = 1 the ELBO, non-decreasing in K.

    Args:
        log_joint: z -> log p(x, z), a scalar.
        q: The approximate posterior: a distribution or a pytree of independent ones.
        key: The random key.
        num_samples: K, the number of draws inside the logarithm.
        estimator: ``"importance-weighted-pathwise"``, ``"doubly-reparameterized"`` or ``"vimco"``, or an instance; or
            an estimator of expectations, for which the bound is the expectation of a function of all K draws. "auto"
            uses the first if q is reparameterizable, otherwise VIMCO.

    Raises:
        InvalidEstimator: The estimator would be wrong for q, for log_joint or for this bound.
    """
    check_num_samples(num_samples)
    if estimator == "auto":
        smooth = all(is_reparameterizable(leaf) for leaf in leaves(joint_at_base(log_joint, q)[1]))
        estimator = ImportanceWeightedPathwise() if smooth or num_samples == 1 else VIMCO()
        if not smooth and num_samples == 1:
            return elbo_estimate(log_joint, q, key=key)
    of_bounds = _of_bounds(estimator)
    if of_bounds is not None:
        return _estimate(of_bounds, log_joint, q, key, num_samples, "iwae")
    log_joint, base = joint_at_base(log_joint, q)
    weight = _log_weight(log_joint, base)

    def of_all(draws: list[Any]) -> Array:
        return log_mean_exp(jnp.stack([weight(draw) for draw in draws]))

    part = named(estimator) if isinstance(estimator, str) else estimator
    return expectation(of_all, [base] * num_samples, key=key, estimator=part)


def _log_weight(log_joint: LogJoint, q: Any) -> LogJoint:
    def weight(z: Any) -> Array:
        return log_joint(z) - log_prob(q, z)

    return AssumedContinuous(weight) if isinstance(log_joint, AssumedContinuous) else weight


def _of_bounds(estimator: Any) -> AbstractBoundEstimator | None:
    """The estimator of bounds, or ``None`` if an estimator of expectations was given."""
    if isinstance(estimator, AbstractBoundEstimator):
        return estimator
    if isinstance(estimator, str) and estimator != "auto":
        kind = registry.load("estimators", estimator)
        return kind() if issubclass(kind, AbstractBoundEstimator) else None
    return None


def _estimate(
    part: AbstractBoundEstimator, log_joint: LogJoint, q: Any, key: jax.Array, num_samples: int, bound: Bound
) -> Array:
    at_base, base = joint_at_base(log_joint, q)
    check_bound(part, q if part.holds_parameters else base, bound)
    if not part.holds_parameters:
        log_joint, q = at_base, base
    elif base is not q:
        # log q is not inspected at z, and jumps where the volume does.
        _inspected(part, at_base, base)
    inspected = _inspected(part, log_joint, q)
    count = max(num_samples, part.minimum_samples)
    return trusted(part.estimate(inspected, q, key=key, num_samples=count, bound=bound))


def check_bound(part: AbstractBoundEstimator, q: Any, bound: Bound) -> None:
    """Refuses an estimator that would be wrong for a bound or a posterior.

    Raises:
        InvalidEstimator: With the reason and the alternatives.
    """
    if bound not in part.bounds:
        raise InvalidEstimator(
            expected=f"an estimator that is unbiased for the {bound} bound",
            got=f"{type(part).__name__}, valid for {' and '.join(part.bounds)} only",
            cure=f"use one of: {', '.join(bound_names(bound))}",
        )
    for leaf in leaves(q):
        part.check(leaf)


def _inspected(part: AbstractBoundEstimator, log_joint: LogJoint, q: Any) -> LogJoint:
    """log p(x, z), refused if it is not shown to be continuous in the variables that the estimator differentiates."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    if isinstance(log_joint, AssumedContinuous) or not any(
        part.differentiates_the_sample or not is_discrete(q) for q in flat
    ):
        return log_joint
    inspected = Inspected(
        lambda z, key: log_joint(jax.tree.unflatten(structure, z)), flat, [part.differentiates_the_sample] * len(flat)
    )
    names = variable_names(structure, len(flat))
    for place, reason in enumerate(inspected.verdict.variables[: len(flat)]):
        if reason is not None and part.differentiates_the_sample:
            raise discontinuous(part, reason, names[place])
    key = jax.random.key(0)
    return lambda z: inspected(jax.tree.leaves(z), key)


def bound_names(bound: Bound) -> tuple[str, ...]:
    """The names of the unbiased estimators made for a bound."""
    kinds = ((name, registry.load("estimators", name)) for name in registry.names("estimators"))
    return tuple(
        name
        for name, kind in kinds
        if issubclass(kind, AbstractBoundEstimator) and bound in kind.bounds and kind.unbiased
    )
