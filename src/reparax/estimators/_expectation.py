"""The front door: E_q[f(z)], whose derivative is an estimate of the derivative."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpyro.distributions as dist

from reparax.continuity import Reason, Vouched, trusted
from reparax.errors import InvalidEstimator
from reparax.estimators._base import LEVELS, AbstractEstimator
from reparax.estimators._bound_base import AbstractBoundEstimator
from reparax.estimators._choice import CHEAP_STATES, automatic, enumerated, named
from reparax.estimators._distributions import is_discrete, is_distribution, leaves
from reparax.estimators._integrand import Inspected, Integrand, discontinuous, with_key
from reparax.estimators._separable import worth_it


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
            of q. "auto" enumerates if that is cheap, reparameterizes if possible, takes DisARM for binary variables and
            leave-one-out for the rest, as well as for variables in which f is not shown to be continuous.

    Returns:
        The mean of f over the draws (exact where all of q is enumerated), in the structure that f returns.

    Raises:
        InvalidEstimator: An estimator would be wrong for q or f; the message names those that are valid. When it is
            differentiated: in a value inside f that moves a jump of f, which no estimator but ``boundary`` sees.
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
    if isinstance(f, Vouched) or not any(
        _needs_a_look(part, leaf) for part, leaf in zip(estimators, flat, strict=True)
    ):
        return trusted(_nested(integrand, flat, _grouped(estimators), {}, key, num_samples))
    inspected = Inspected(integrand, flat, [part.differentiates_the_sample for part in estimators])
    estimators = _term_by_term(inspected, q, flat, estimators, estimator)
    automatic_ones = [wish == "auto" for wish in spread(q, estimator)]
    estimators = _where_continuous(inspected, flat, structure, estimators, automatic_ones)
    inspected.handled = sum(1 << place for place, part in enumerate(estimators) if part.counts_jumps)
    return trusted(_nested(inspected, flat, _grouped(estimators), {}, key, num_samples))


def assign(q: Any, estimator: Any, num_samples: int = 1) -> list[AbstractEstimator]:
    """One estimator per distribution of q, from a name, an instance or a pytree of these."""
    flat = leaves(q)
    wishes = spread(q, estimator)
    free = [leaf if wish == "auto" else None for leaf, wish in zip(flat, wishes, strict=True)]
    exact = enumerated(free, num_samples)
    chosen: list[AbstractEstimator] = []
    for place, (leaf, wish) in enumerate(zip(flat, wishes, strict=True)):
        part = named(wish) if isinstance(wish, str) and wish != "auto" else wish
        if wish == "auto":
            part = exact[place].estimator if place in exact else automatic(leaf).estimator
        if not isinstance(part, AbstractEstimator):
            raise InvalidEstimator(
                expected='"auto", the name of an estimator, or an instance of one',
                got=repr(part),
                cure="see reparax.registry.names('estimators')",
            )
        chosen.append(part)
    return chosen


def _needs_a_look(part: AbstractEstimator, q: dist.Distribution) -> bool:
    """Whether it matters for a variable if f jumps in it: where its draws, or the places of jumps, can move."""
    return part.differentiates_the_sample or not is_discrete(q)


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


def _candidates(q: Any, flat: list[Any], estimators: list[AbstractEstimator], estimator: Any) -> list[int]:
    """The variables that "auto" would sample, but whose elements could be enumerated one by one."""
    wishes = spread(q, estimator)
    return [
        place for place, (leaf, wish, part) in enumerate(zip(flat, wishes, estimators, strict=True))
        if wish == "auto" and part.level == "score" and worth_it(leaf, CHEAP_STATES)
    ]  # fmt: skip


def _term_by_term(
    inspected: Inspected, q: Any, flat: list[Any], estimators: list[AbstractEstimator], estimator: Any
) -> list[AbstractEstimator]:
    """The estimators, with exact sums where f is a sum of terms that read one element of a variable each."""
    changed = list(estimators)
    for place in _candidates(q, flat, estimators, estimator):
        if inspected.is_separable(place):
            changed[place] = named("separable-enumeration")
            # Of one variable only: two together would have to be read apart from each other.
            break
    return changed


def _where_continuous(
    inspected: Inspected,
    flat: list[dist.Distribution],
    structure: Any,
    estimators: list[AbstractEstimator],
    automatic_ones: list[bool],
) -> list[AbstractEstimator]:
    """The estimators, with one that needs no continuity where f is not shown to be continuous."""
    changed = list(estimators)
    names = variable_names(structure, len(flat))
    for place, part in enumerate(estimators):
        reason, held_back = inspected.verdict.variables[place], inspected.verdict.held_back[place]
        if not part.differentiates_the_sample or (reason is None and not held_back):
            continue
        if reason is None and not automatic_ones[place]:
            _say(
                f"f holds back the derivative of a value that depends on z{names[place]} (stop_gradient): "
                f"{type(part).__name__} differentiates what is left, which is not the derivative of E[f]. {_SURROGATE}"
            )
            continue
        why = reason or Reason("stop_gradient", "the derivative of a value that depends on it is held back")
        fallback = named("leave-one-out")
        if not automatic_ones[place] or fallback.refusal(flat[place]) is not None:
            raise discontinuous(part, why, names[place])
        changed[place] = fallback
        what = "is not shown to be continuous in" if reason is not None else "hides a derivative in"
        _say(f"f {what} z{names[place]} ({why.text}): leave-one-out is used, which is right but noisier than "
             f"pathwise. Name it to silence this. {_SURROGATE}")  # fmt: skip
    return changed


_SURROGATE = "Wrap a continuous f, or a surrogate that is meant as it is, as estimators.Vouched(f)."


def _say(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)


def variable_names(structure: Any, count: int) -> list[str]:
    """The places of the distributions in the pytree q, in brackets as in Python; empty for a single one."""
    numbered = jax.tree.unflatten(structure, range(count))
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(numbered)[0]]


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
