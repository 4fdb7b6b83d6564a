"""The front door: E_q[f(z)], whose derivative is an estimate of the derivative."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpyro.distributions as dist

from reparax.errors import InvalidEstimator
from reparax.estimators._base import LEVELS, AbstractEstimator, Integrand
from reparax.estimators._bound_base import AbstractBoundEstimator
from reparax.estimators._choice import automatic, named
from reparax.estimators._continuity import Vouched
from reparax.estimators._distributions import is_distribution, leaves, num_states
from reparax.estimators._validity import discontinuous, jump_of, with_key


def expectation(
    f: Callable[..., Any],
    q: Any,
    *,
    key: jax.Array,
    num_samples: int = 1,
    estimator: Any = "auto",
) -> Any:
    """An estimate of E_q[f(z)]; differentiating it gives an estimate of the derivative of the expectation.

    ``jax.grad``, ``jacfwd``, ``hessian``, ``vmap``, ``jit``, ``scan`` and ``checkpoint`` around it stay right, whether
    the parameters enter through the leaves of q, through f, or through both, and f may contain expectations itself.

    Args:
        f: The integrand, of ONE draw: ``f(z)`` or ``f(z, *, key)``. It returns an array of any shape or a pytree of
            arrays. With a keyword-only ``key`` it gets a fresh one per draw, for its own randomness; a key it closes
            over is shared by all draws, which is unbiased too.
        q: A numpyro distribution, or a pytree whose leaves are independent distributions; z has the same structure.
        key: The random key.
        num_samples: The number of draws of the outermost level that is sampled. An estimator that needs more draws
            than this makes as many as it needs (leave-one-out: 2). Inner levels make as few as they can.
        estimator: ``"auto"``, the name of an estimator, an instance of one, or a pytree of these that has the structure
            of q. "auto" enumerates if that is cheap, reparameterizes if possible, takes DisARM or ARMS for binary
            variables and leave-one-out for the rest.

    Returns:
        The mean of f over the draws (exact where all of q is enumerated), in the structure that f returns.

    Raises:
        InvalidEstimator: An estimator would be wrong for q or f; the message names those that are valid.
        RecipeError: No estimator has that name.
    """
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    _check_leaves(flat)
    call = with_key(f)

    def integrand(z: list[Any], k: jax.Array) -> Any:
        return call(jax.tree.unflatten(structure, z), k)

    estimators = assign(q, estimator, num_samples)
    for part, leaf in zip(estimators, flat, strict=True):
        part.check(leaf)
    if not isinstance(f, Vouched):
        automatic_ones = [wish == "auto" for wish in spread(q, estimator)]
        estimators = _with_continuity(integrand, flat, estimators, automatic_ones)
    return _nested(integrand, flat, _grouped(estimators), {}, key, num_samples)


def assign(q: Any, estimator: Any, num_samples: int = 1) -> list[AbstractEstimator]:
    """One estimator per distribution of q, from a name, an instance or a pytree of these."""
    flat = leaves(q)
    chosen: list[AbstractEstimator] = []
    states = 1.0
    for leaf, part in zip(flat, spread(q, estimator), strict=True):
        found = named(part) if isinstance(part, str) and part != "auto" else part
        found = automatic(leaf, states, num_samples).estimator if found == "auto" else found
        if not isinstance(found, AbstractEstimator):
            raise InvalidEstimator(
                expected='"auto", the name of an estimator, or an instance of one',
                got=repr(found),
                cure="see reparax.registry.names('estimators')",
            )
        states *= num_states(leaf) if found.level == "enumerate" else 1.0
        chosen.append(found)
    return chosen


def spread(q: Any, estimator: Any) -> list[Any]:
    """The wish for each distribution of q: an estimator, a name or "auto"."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    wishes = jax.tree.map(
        lambda part, below: jax.tree.map(lambda _: part, below, is_leaf=is_distribution),
        estimator,
        jax.tree.unflatten(structure, flat),
        is_leaf=_is_choice,
    )
    return jax.tree.leaves(wishes, is_leaf=_is_choice)


def _with_continuity(
    integrand: Integrand, flat: list[Any], estimators: list[AbstractEstimator], automatic_ones: list[bool]
) -> list[AbstractEstimator]:
    varying = [part.differentiates_the_sample for part in estimators]
    jump = jump_of(lambda z: integrand(z, jax.random.key(0)), flat, varying)
    if jump is None:
        return estimators
    changed = list(estimators)
    for place, (part, moves, own) in enumerate(zip(estimators, varying, automatic_ones, strict=True)):
        if not moves:
            continue
        fallback = named("leave-one-out")
        if not own or fallback.refusal(flat[place]) is not None:
            raise discontinuous(part, jump)
        changed[place] = fallback
    warnings.warn(
        f"f is not continuous in z ({jump.reason}): leave-one-out is used, which is right but noisier than pathwise. "
        "Name it to silence this, or wrap a continuous f as estimators.Vouched(f).",
        UserWarning,
        stacklevel=3,
    )
    return changed


def _is_choice(node: Any) -> bool:
    return isinstance(node, str | AbstractEstimator | AbstractBoundEstimator)


def _check_leaves(flat: list[Any]) -> None:
    wrong = [leaf for leaf in flat if not isinstance(leaf, dist.Distribution)]
    if wrong or not flat:
        raise InvalidEstimator(
            expected="q to be a numpyro distribution or a pytree of distributions",
            got=type(wrong[0]).__name__ if wrong else "no distribution at all",
            cure="pass for example numpyro.distributions.Normal(loc, scale)",
        )
    if any(_is_masked(leaf) for leaf in flat):
        raise InvalidEstimator(
            expected="q to be a distribution whose log density is that of its draws",
            got="a masked distribution: the mask changes its log density, but not its draws",
            cure="mask inside f instead, for example lambda z: jnp.where(mask, f(z), 0)",
        )


def _is_masked(q: dist.Distribution) -> bool:
    return isinstance(q, dist.MaskedDistribution) or (hasattr(q, "base_dist") and _is_masked(q.base_dist))


def _grouped(estimators: list[AbstractEstimator]) -> list[tuple[AbstractEstimator, list[int]]]:
    groups: list[tuple[AbstractEstimator, list[int]]] = []
    for index, estimator in enumerate(estimators):
        for known, members in groups:
            if known is estimator or eqx.tree_equal(known, estimator) is True:
                members.append(index)
                break
        else:
            groups.append((estimator, [index]))
    return sorted(groups, key=lambda group: LEVELS.index(group[0].level))


def _nested(
    f: Integrand,
    flat: list[dist.Distribution],
    groups: list[tuple[AbstractEstimator, list[int]]],
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
