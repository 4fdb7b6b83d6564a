"""The choice that needs no run: which estimators are valid for a distribution, and which of them "auto" takes."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpyro.distributions as dist

from reparax import registry
from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator
from reparax.estimators.draws import is_binary, leaves, num_states

CHEAP_STATES = 64
# Draws of other variables are repeated for every enumerated state: this many times at most.
STATES_PER_DRAW = 16
FEW_COMPONENTS = 64
PAIR = 2


def named(name: str) -> AbstractEstimator:
    """The estimator of that name with its default dials.

    Raises:
        RecipeError: No estimator has that name.
        InvalidEstimator: It has a part that must be given, so that a name is not enough.
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
    """Every estimator of expectations that needs no argument, by its name."""
    instances = {}
    for name in registry.names("estimators"):
        kind = registry.load("estimators", name)
        needs = any(p.default is p.empty for p in inspect.signature(kind).parameters.values())
        if issubclass(kind, AbstractEstimator) and not needs:
            instances[name] = kind()
    return instances


def valid_names(q: dist.Distribution) -> tuple[str, ...]:
    """The names of the unbiased estimators that are valid for one distribution, for any f that is smooth."""
    return tuple(name for name, part in all_named().items() if part.unbiased and part.refusal(q) is None)


def check(part: AbstractEstimator, q: Any) -> None:
    """Refuses distributions that an estimator would get wrong.

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
                cure=f"use one of: {', '.join(valid_names(leaf))}",
            )


@dataclass(frozen=True)
class Choice:
    """An estimator, and why it was taken."""

    estimator: AbstractEstimator
    why: str


def enumerated(flat: Sequence[dist.Distribution | None], num_samples: int) -> dict[int, Choice]:
    """Which of several variables "auto" enumerates together, whatever their order.

    Those of fewest states come first, those of equally many together, as long as there are at most 64 joint states and,
    where other variables are sampled for each of them, at most max(64, 16 num_samples) evaluations of f.

    Args:
        flat: The distributions that "auto" may choose for; ``None`` for others, which are sampled.
        num_samples: The number of draws of those that are sampled.
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
    """What "auto" takes where it does not enumerate: pathwise if possible, DisARM or ARMS for bits, else leave-one-out.

    Args:
        q: One distribution.
        num_samples: The number of draws asked for.

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
        cure="replace the distribution, or name an estimator explicitly",
    )


def _preferences(q: dist.Distribution, num_samples: int) -> Iterator[tuple[str, str]]:
    if isinstance(q, dist.MixtureSameFamily | dist.MixtureGeneral):
        if q.mixture_size <= FEW_COMPONENTS:
            yield "rao-blackwellized-mixture", f"its {q.mixture_size} components can be enumerated with common noise"
        # Not pathwise: a draw would have to cross the gap between components that lie apart, which few draws do.
        yield "mixture-index-score", "its components are too many to enumerate; each is reparameterized"
    yield "pathwise", "its samples are differentiable in every parameter"
    if is_binary(q) and num_samples > PAIR:
        yield "arms", f"binary, with too many joint states to enumerate, and {num_samples} draws"
    if is_binary(q):
        yield "disarm", "binary, with too many joint states to enumerate, and one pair of draws"
    yield "leave-one-out", "neither enumerable cheaply, nor reparameterizable, nor binary"
