"""Which estimator each variable of an expectation gets: which are valid, which "auto" chooses, how they are nested."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpyro.distributions as dist

from reparax import registry
from reparax.continuity import AssumedContinuous, Reason
from reparax.distributions.codes import RoundedCodes
from reparax.errors import InvalidEstimator
from reparax.estimators._base import LEVELS, AbstractBoundEstimator, AbstractEstimator
from reparax.estimators._integrand import Inspected, Integrand, discontinuous, with_key, worth_it
from reparax.estimators.draws import is_binary, is_distribution, leaves, num_states
from reparax.reparameterization import innermost, is_discrete

CHEAP_STATES = 64
# Draws of other variables are repeated for every enumerated state: this many times at most.
STATES_PER_DRAW = 16
FEW_COMPONENTS = 64
PAIR = 2


def named(name: str) -> AbstractEstimator:
    """The estimator of that name with its default options.

    Raises:
        RecipeError: No estimator has that name.
        InvalidEstimator: It has an option without a default, so that a name is not enough.
    """
    kind = registry.load("estimators", name)
    needed = [
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is parameter.empty
    ]
    if needed:
        raise InvalidEstimator(
            expected=f"an instance of {kind.__name__}, which needs {', '.join(needed)}",
            got=f"the name {name!r}",
            cure=f"pass estimators.{kind.__name__}({', '.join(needed)}=...)",
        )
    return kind()


def all_named() -> dict[str, AbstractEstimator]:
    """Every estimator of expectations whose options all have defaults, by its name."""
    instances = {}
    for name in registry.names("estimators"):
        kind = registry.load("estimators", name)
        needs = any(p.default is p.empty for p in inspect.signature(kind).parameters.values())
        if issubclass(kind, AbstractEstimator) and not needs:
            instances[name] = kind()
    return instances


def valid_names(q: dist.Distribution) -> tuple[str, ...]:
    """The names of the unbiased estimators that are valid for one distribution and any smooth f."""
    return tuple(name for name, part in all_named().items() if part.unbiased and part.refusal(q) is None)


def check(part: AbstractEstimator, q: Any) -> None:
    """Refuses distributions for which an estimator would be wrong.

    Args:
        part: The estimator.
        q: A distribution or a pytree of distributions.

    Raises:
        InvalidEstimator: With the reason and the estimators that are valid instead.
    """
    for leaf in leaves(q):
        reason = part.refusal(leaf)
        if reason is not None:
            raise InvalidEstimator(
                expected=f"{type(part).__name__} to be used for {part.valid_for}",
                got=reason,
                cure=_cure(leaf),
            )


def _cure(q: dist.Distribution) -> str:
    if isinstance(innermost(q), RoundedCodes):
        return "choose estimator='straight-through', whose derivative is biased, or draw the codes: independent_codes"
    names = valid_names(q)
    return f"use one of: {', '.join(names)}" if names else "replace the distribution, as no estimator is unbiased"


@dataclass(frozen=True)
class Choice:
    """An estimator, and why it was chosen."""

    estimator: AbstractEstimator
    why: str


def enumerated(flat: Sequence[dist.Distribution | None], num_samples: int) -> dict[int, Choice]:
    """Which of several variables "auto" enumerates together, independently of their order.

    Variables with the fewest states come first, and those with equally many states together, as long as there are at
    most 64 joint states and, if other variables are sampled for each of them, at most max(64, 16 num_samples)
    evaluations of f.

    Args:
        flat: The distributions that "auto" may choose for; ``None`` for others, which are sampled.
        num_samples: The number of draws of the variables that are sampled.
    """
    states = [float("inf") if q is None else num_states(q) for q in flat]
    chosen: list[int] = []
    total = 1.0
    for size in sorted(set(states)):
        group = [place for place, count in enumerate(states) if count == size]
        joint = total * size ** len(group)
        everything = len(chosen) + len(group) == len(flat)
        cost = joint if everything else joint * num_samples
        if joint > CHEAP_STATES or cost > max(CHEAP_STATES, STATES_PER_DRAW * num_samples):
            break
        chosen, total = chosen + group, joint
    why = f"exact, and {total:.0f} joint states are cheap (at most {CHEAP_STATES})"
    return {place: Choice(named("enumeration"), why) for place in chosen}


def automatic(q: dist.Distribution, num_samples: int = 1) -> Choice:
    """What "auto" uses if it does not enumerate: pathwise if possible, DisARM or ARMS for bits, else leave-one-out.

    Args:
        q: One distribution.
        num_samples: The number of draws.

    Raises:
        InvalidEstimator: No estimator is valid.
    """
    reasons = []
    for name, why in _preferences(q, num_samples):
        estimator = named(name)
        reason = estimator.refusal(q)
        if reason is None:
            return Choice(estimator, why)
        reasons.append(f"{name}: {reason}")
    raise InvalidEstimator(
        expected=f"an estimator that is valid for {type(q).__name__}",
        got="; ".join(reasons),
        cure=_cure(q),
    )


def _preferences(q: dist.Distribution, num_samples: int) -> Iterator[tuple[str, str]]:
    if isinstance(q, dist.MixtureSameFamily | dist.MixtureGeneral):
        if q.mixture_size <= FEW_COMPONENTS:
            yield "rao-blackwellized-mixture", f"its {q.mixture_size} components can be enumerated with common noise"
        # Not pathwise: the variance is large if the components are far apart.
        yield "mixture-index-score", "it has too many components to enumerate; each is reparameterized"
    yield "pathwise", "its samples are differentiable in every parameter"
    if is_binary(q) and num_samples > PAIR:
        yield "arms", f"binary, with too many joint states to enumerate, and {num_samples} draws"
    if is_binary(q):
        yield "disarm", "binary, with too many joint states to enumerate, and one pair of draws"
    yield "leave-one-out", "neither enumerable cheaply, nor reparameterizable, nor binary"


Group = tuple[AbstractEstimator, list[int]]
_BY_NAME = "chosen by name"
_SURROGATE = "If f is continuous, or is an intended surrogate, wrap it: estimators.AssumedContinuous(f)."


def grouped(estimators: list[AbstractEstimator]) -> list[Group]:
    """Equal estimators together, each with the indices of its variables, enumeration outermost, pathwise innermost."""
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
    """How often f is evaluated for one estimate.

    The groups are nested, and only the outermost one that is sampled makes ``num_samples`` draws.

    Args:
        q: A pytree of distributions.
        estimators: One per distribution of q.
        num_samples: The number of draws.
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
        jumps: For each distribution, why f is not shown to be continuous in it; ``None`` if it is or was not inspected.
        messages: Warnings for the user.
    """

    flat: list[dist.Distribution]
    choices: list[Choice]
    integrand: Integrand
    jumps: list[Reason | None]
    messages: list[str]

    @property
    def estimators(self) -> list[AbstractEstimator]:
        """The estimator of each distribution."""
        return [choice.estimator for choice in self.choices]


def planned(f: Any, q: Any, estimator: Any, num_samples: int) -> Plan:
    """The plan for E_q[f(z)].

    Raises:
        InvalidEstimator: An estimator that was chosen by name would be wrong for q or f.
    """
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    call = with_key(f)

    def integrand(z: list[Any], k: jax.Array) -> Any:
        return call(jax.tree.unflatten(structure, z), k)

    requests = spread(q, estimator)
    choices = choices_for(flat, requests, num_samples)
    for choice, leaf in zip(choices, flat, strict=True):
        check(choice.estimator, leaf)
    plan = Plan(flat, choices, integrand, [None] * len(flat), [])
    free = [request == "auto" for request in requests]
    by_terms = [auto and _may_go_term_by_term(c, leaf) for auto, c, leaf in zip(free, choices, flat, strict=True)]
    inspects = [_needs_inspection(choice.estimator, leaf) for choice, leaf in zip(choices, flat, strict=True)]
    if isinstance(f, AssumedContinuous) or not any([*inspects, *by_terms]):
        return plan
    inspected = Inspected(integrand, flat, [choice.estimator.differentiates_the_sample for choice in choices])
    choices = _term_by_term(inspected, choices, by_terms)
    names = variable_names(structure, len(flat))
    jumps = list(inspected.verdict.variables[: len(flat)]) if any(inspects) else plan.jumps
    messages: list[str] = []
    if any(inspects):
        choices = [
            _where_continuous(
                choice, leaf, reason, inspected.verdict.held_back[place], free[place], names[place], messages
            )
            for place, (choice, leaf, reason) in enumerate(zip(choices, flat, jumps, strict=True))
        ]
    estimators = [choice.estimator for choice in choices]
    inspected.differentiated = tuple(part.differentiates_the_sample or part.counts_jumps for part in estimators)
    inspected.handled = sum(1 << place for place, choice in enumerate(choices) if choice.estimator.counts_jumps)
    return Plan(flat, choices, inspected, jumps, messages)


def assign(q: Any, estimator: Any, num_samples: int = 1) -> list[AbstractEstimator]:
    """One estimator per distribution of q, from a name, an instance or a pytree of these, before f is inspected."""
    return [choice.estimator for choice in choices_for(leaves(q), spread(q, estimator), num_samples)]


def choices_for(flat: list[dist.Distribution], requests: list[Any], num_samples: int) -> list[Choice]:
    """The estimator for each request, and why."""
    exact = enumerated(
        [leaf if request == "auto" else None for leaf, request in zip(flat, requests, strict=True)], num_samples
    )
    choices: list[Choice] = []
    for place, (leaf, request) in enumerate(zip(flat, requests, strict=True)):
        if request == "auto":
            choices.append(exact[place] if place in exact else automatic(leaf, num_samples))
            continue
        part = named(request) if isinstance(request, str) else request
        if not isinstance(part, AbstractEstimator):
            raise InvalidEstimator(
                expected='"auto", the name of an estimator, or an instance of one',
                got=repr(part),
                cure="see reparax.registry.names('estimators')",
            )
        choices.append(Choice(part, _BY_NAME))
    return choices


def spread(q: Any, estimator: Any) -> list[Any]:
    """The request for each distribution of q: an estimator, a name or "auto"."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    requests = jax.tree.map(
        lambda part, below: jax.tree.map(lambda _: part, below, is_leaf=is_distribution),
        estimator,
        jax.tree.unflatten(structure, flat),
        is_leaf=_is_choice,
    )
    return jax.tree.leaves(requests, is_leaf=_is_choice)


def variable_names(structure: Any, count: int) -> list[str]:
    """The path of each distribution in the pytree q, in brackets as in Python; empty for a single distribution."""
    numbered = jax.tree.unflatten(structure, range(count))
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(numbered)[0]]


def _is_choice(node: Any) -> bool:
    return isinstance(node, str | AbstractEstimator | AbstractBoundEstimator)


def _needs_inspection(part: AbstractEstimator, q: dist.Distribution) -> bool:
    """Whether jumps of f in a variable matter: whether its draws, or the locations of jumps, can move."""
    return part.differentiates_the_sample or not is_discrete(q)


def _may_go_term_by_term(choice: Choice, q: dist.Distribution) -> bool:
    """Whether a variable would be sampled although its elements could be enumerated one by one."""
    return choice.estimator.level == "score" and worth_it(q, CHEAP_STATES)


def _term_by_term(inspected: Inspected, choices: list[Choice], candidates: list[bool]) -> list[Choice]:
    """The choices, with an exact sum for a variable if f is a sum of terms of one element of it each."""
    for place, candidate in enumerate(candidates):
        if candidate and inspected.is_separable(place):
            # For one variable only: two would have to be separable together.
            choice = Choice(named("separable-enumeration"), "f is a sum of terms of one element each")
            return [choice if other == place else kept for other, kept in enumerate(choices)]
    return choices


def _where_continuous(
    choice: Choice,
    q: dist.Distribution,
    reason: Reason | None,
    held_back: bool,
    free: bool,
    name: str,
    messages: list[str],
) -> Choice:
    """The choice, or one that needs no continuity if f is not shown to be continuous."""
    part = choice.estimator
    if not part.differentiates_the_sample or (reason is None and not held_back):
        return choice
    if reason is None and not free:
        messages.append(
            f"f stops the derivative of a value that depends on z{name} (stop_gradient): {type(part).__name__} "
            f"differentiates the rest of f, not E[f]. {_SURROGATE}"
        )
        return choice
    why = reason or Reason("stop_gradient", "the derivative of a value that depends on it is stopped")
    fallback = named("leave-one-out")
    if not free or fallback.refusal(q) is not None:
        raise discontinuous(part, why, name)
    what = "is not shown to be continuous in" if reason is not None else "stops a derivative in"
    messages.append(
        f"f {what} z{name} ({why.text}): leave-one-out is used, which is right but noisier than pathwise. Choose it by "
        f"name to silence this warning. {_SURROGATE}"
    )
    return Choice(fallback, f"f {what} it: {why.text}")
