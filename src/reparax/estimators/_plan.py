"""Which estimator every variable of an expectation gets, once f has been looked at, and which go together."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpyro.distributions as dist

from reparax.continuity import Reason, Vouched
from reparax.errors import InvalidEstimator
from reparax.estimators._base import LEVELS, AbstractBoundEstimator, AbstractEstimator
from reparax.estimators._choice import CHEAP_STATES, Choice, automatic, check, enumerated, named
from reparax.estimators._integrand import Inspected, Integrand, discontinuous, with_key
from reparax.estimators._separable import worth_it
from reparax.estimators.draws import is_distribution, leaves
from reparax.reparameterization import is_discrete

Group = tuple[AbstractEstimator, list[int]]
_BY_NAME = "asked for by name"
_SURROGATE = "Wrap a continuous f, or a surrogate that is meant as it is, as estimators.Vouched(f)."


def grouped(estimators: list[AbstractEstimator]) -> list[Group]:
    """Equal estimators together, each with the places of its variables, enumeration outermost, pathwise innermost."""
    groups: list[Group] = []
    for index, estimator in enumerate(estimators):
        for known, members in groups:
            if known is estimator or eqx.tree_equal(known, estimator) is True:
                members.append(index)
                break
        else:
            groups.append((estimator, [index]))
    return sorted(groups, key=lambda group: LEVELS.index(group[0].level))


def evaluations(q: Any, estimators: list[AbstractEstimator], num_samples: int) -> int:
    """How often f is evaluated for one estimate: the groups are nested, and only the outermost sampled one makes draws.

    Args:
        q: A pytree of distributions.
        estimators: One per distribution of q.
        num_samples: The number of draws asked for.
    """
    flat = leaves(q)
    total, left = 1, num_samples
    for part, places in grouped(estimators):
        total *= part.evaluations([flat[place] for place in places], max(left, part.minimum_samples))
        left = left if part.level == "enumerate" else 1
    return total


@dataclass(frozen=True)
class Plan:
    """How an expectation is estimated.

    Args:
        flat: The distributions.
        choices: The estimator of each, and why.
        integrand: f as a function of one draw of each, in a list, and a key.
        jumps: Per distribution, why f is not shown to be continuous in it; ``None`` where it is, or was not looked at.
        said: What the user should know.
    """

    flat: list[dist.Distribution]
    choices: list[Choice]
    integrand: Integrand
    jumps: list[Reason | None]
    said: list[str]

    @property
    def estimators(self) -> list[AbstractEstimator]:
        """The estimator of each distribution."""
        return [choice.estimator for choice in self.choices]


def planned(f: Any, q: Any, estimator: Any, num_samples: int) -> Plan:
    """The plan for E_q[f(z)].

    Raises:
        InvalidEstimator: An estimator that is named would be wrong for q or f.
    """
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    call = with_key(f)

    def integrand(z: list[Any], k: jax.Array) -> Any:
        return call(jax.tree.unflatten(structure, z), k)

    wishes = spread(q, estimator)
    choices = choices_for(flat, wishes, num_samples)
    for choice, leaf in zip(choices, flat, strict=True):
        check(choice.estimator, leaf)
    plan = Plan(flat, choices, integrand, [None] * len(flat), [])
    free = [wish == "auto" for wish in wishes]
    by_terms = [auto and _may_go_term_by_term(c, leaf) for auto, c, leaf in zip(free, choices, flat, strict=True)]
    looks = [_needs_a_look(choice.estimator, leaf) for choice, leaf in zip(choices, flat, strict=True)]
    if isinstance(f, Vouched) or not any([*looks, *by_terms]):
        return plan
    inspected = Inspected(integrand, flat, [choice.estimator.differentiates_the_sample for choice in choices])
    choices = _term_by_term(inspected, choices, by_terms)
    names = variable_names(structure, len(flat))
    jumps = list(inspected.verdict.variables[: len(flat)]) if any(looks) else plan.jumps
    said: list[str] = []
    if any(looks):
        choices = [
            _where_continuous(choice, leaf, reason, inspected.verdict.held_back[place], free[place], names[place], said)
            for place, (choice, leaf, reason) in enumerate(zip(choices, flat, jumps, strict=True))
        ]
    inspected.handled = sum(1 << place for place, choice in enumerate(choices) if choice.estimator.counts_jumps)
    return Plan(flat, choices, inspected, jumps, said)


def assign(q: Any, estimator: Any, num_samples: int = 1) -> list[AbstractEstimator]:
    """One estimator per distribution of q, from a name, an instance or a pytree of these, before f is inspected."""
    return [choice.estimator for choice in choices_for(leaves(q), spread(q, estimator), num_samples)]


def choices_for(flat: list[dist.Distribution], wishes: list[Any], num_samples: int) -> list[Choice]:
    """The estimator that each wish names, with the reason where it was chosen here."""
    exact = enumerated([leaf if wish == "auto" else None for leaf, wish in zip(flat, wishes, strict=True)], num_samples)
    choices: list[Choice] = []
    for place, (leaf, wish) in enumerate(zip(flat, wishes, strict=True)):
        if wish == "auto":
            choices.append(exact[place] if place in exact else automatic(leaf, num_samples))
            continue
        part = named(wish) if isinstance(wish, str) else wish
        if not isinstance(part, AbstractEstimator):
            raise InvalidEstimator(
                expected='"auto", the name of an estimator, or an instance of one',
                got=repr(part),
                cure="see reparax.registry.names('estimators')",
            )
        choices.append(Choice(part, _BY_NAME))
    return choices


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


def variable_names(structure: Any, count: int) -> list[str]:
    """The places of the distributions in the pytree q, in brackets as in Python; empty for a single one."""
    numbered = jax.tree.unflatten(structure, range(count))
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(numbered)[0]]


def _is_choice(node: Any) -> bool:
    return isinstance(node, str | AbstractEstimator | AbstractBoundEstimator)


def _needs_a_look(part: AbstractEstimator, q: dist.Distribution) -> bool:
    """Whether it matters for a variable if f jumps in it: where its draws, or the places of jumps, can move."""
    return part.differentiates_the_sample or not is_discrete(q)


def _may_go_term_by_term(choice: Choice, q: dist.Distribution) -> bool:
    """Whether a variable would be sampled, though its elements could be enumerated one by one."""
    return choice.estimator.level == "score" and worth_it(q, CHEAP_STATES)


def _term_by_term(inspected: Inspected, choices: list[Choice], candidates: list[bool]) -> list[Choice]:
    """The choices, with an exact sum for a variable where f is a sum of terms that read one element of it each."""
    for place, candidate in enumerate(candidates):
        if candidate and inspected.is_separable(place):
            # Of one variable only: two together would have to be read apart from each other.
            choice = Choice(named("separable-enumeration"), "f is a sum of terms that read one element each")
            return [choice if other == place else kept for other, kept in enumerate(choices)]
    return choices


def _where_continuous(
    choice: Choice, q: dist.Distribution, reason: Reason | None, held_back: bool, free: bool, name: str, said: list[str]
) -> Choice:
    """The choice, or one that needs no continuity where f is not shown to be continuous."""
    part = choice.estimator
    if not part.differentiates_the_sample or (reason is None and not held_back):
        return choice
    if reason is None and not free:
        said.append(
            f"f holds back the derivative of a value that depends on z{name} (stop_gradient): {type(part).__name__} "
            f"differentiates what is left, not E[f]. {_SURROGATE}"
        )
        return choice
    why = reason or Reason("stop_gradient", "the derivative of a value that depends on it is held back")
    fallback = named("leave-one-out")
    if not free or fallback.refusal(q) is not None:
        raise discontinuous(part, why, name)
    what = "is not shown to be continuous in" if reason is not None else "hides a derivative in"
    said.append(
        f"f {what} z{name} ({why.text}): leave-one-out is used, which is right but noisier than pathwise. Name it to "
        f"silence this. {_SURROGATE}"
    )
    return Choice(fallback, f"f {what} it: {why.text}")
