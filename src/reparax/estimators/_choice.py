"""The choice that needs no run: which estimators are valid for a distribution, and which of them "auto" takes."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import numpyro.distributions as dist

from reparax import registry
from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator
from reparax.estimators._distributions import is_binary, num_states

CHEAP_STATES = 64
FEW_COMPONENTS = 8
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
    found = {}
    for name in registry.names("estimators"):
        kind = registry.load("estimators", name)
        needs = any(p.default is p.empty for p in inspect.signature(kind).parameters.values())
        if issubclass(kind, AbstractEstimator) and not needs:
            found[name] = kind()
    return found


def valid_names(q: dist.Distribution) -> tuple[str, ...]:
    """The names of the unbiased estimators that are valid for one distribution, for any f that is smooth."""
    return tuple(name for name, part in all_named().items() if part.unbiased and part.refusal(q) is None)


@dataclass(frozen=True)
class Choice:
    """An estimator, and why it was taken."""

    estimator: AbstractEstimator
    why: str


def automatic(q: dist.Distribution, states_so_far: float = 1.0, num_samples: int = 1) -> Choice:
    """What "auto" takes: enumerate if cheap, reparameterize if possible, DisARM or ARMS for bits, else leave-one-out.

    Args:
        q: One distribution.
        states_so_far: The number of joint states already enumerated outside of it.
        num_samples: The number of draws asked for.

    Raises:
        InvalidEstimator: No estimator is valid.
    """
    reasons = []
    for name, why in _preferences(q, states_so_far, num_samples):
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


def _preferences(q: dist.Distribution, states_so_far: float, num_samples: int) -> Iterator[tuple[str, str]]:
    states = num_states(q) * states_so_far
    if states <= CHEAP_STATES:
        yield "enumeration", f"exact, and {states:.0f} joint states are cheap (at most {CHEAP_STATES})"
    if isinstance(q, dist.MixtureSameFamily | dist.MixtureGeneral) and q.mixture_size <= FEW_COMPONENTS:
        yield "rao-blackwellized-mixture", f"its {q.mixture_size} components can be enumerated with common noise"
    yield "pathwise", "its samples are differentiable in every parameter"
    if is_binary(q) and num_samples > PAIR:
        yield "arms", f"binary, with too many joint states to enumerate, and {num_samples} draws"
    if is_binary(q):
        yield "disarm", "binary, with too many joint states to enumerate, and one pair of draws"
    yield "leave-one-out", "neither enumerable cheaply, nor reparameterizable, nor binary"
