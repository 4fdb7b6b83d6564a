"""Whether estimators agree: each is judged by those that assume less, one for each mechanism."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from reparax import registry
from reparax.estimators._base import AbstractEstimator

Trust = Literal[0, 1, 2, 3]
EXACT: Trust = 0
CUSTOM = "custom"
ALARM = 5.0


def family(part: AbstractEstimator) -> str:
    """The mechanism of an estimator.

    "enumeration"; "pathwise" for those that differentiate the sample; "relaxation" for control variates that do;
    "score function" for the rest. A class of the library may declare another (``family``). Custom estimators are
    "custom", even if they inherit from one of the library, because what they changed is not known.
    """
    if not is_built_in(part):
        return CUSTOM
    declared = getattr(type(part), "family", None)
    if declared is not None:
        return declared
    if part.level == "enumerate":
        return "enumeration"
    if part.level == "pathwise":
        return "pathwise"
    return "relaxation" if part.differentiates_the_sample else "score function"


def trust(part: AbstractEstimator) -> Trust:
    """What an estimator assumes: 0 nothing (exact), 1 a density, 2 a continuous f, 3 unknown."""
    if not is_built_in(part):
        return 3
    if part.level == "enumerate":
        return EXACT
    return 2 if part.differentiates_the_sample else 1


def is_built_in(part: AbstractEstimator) -> bool:
    """Whether the class is one of the library, not one that inherits from it."""
    name = registry.part_name(type(part))
    return type(part).__module__.startswith("reparax.estimators.") and name in registry.names("estimators")


@dataclass(frozen=True)
class Witness:
    """The gradients of one estimator in one parameter.

    Args:
        draws: Repeated gradients, along the first axis.
        mechanism: Its family, or several joined by "+".
        trust: 0 exact, 1 assumes a density, 2 a continuous f, 3 unknown; the worst of its parts.
        unbiased: Whether it claims to be unbiased.
    """

    draws: np.ndarray
    mechanism: str
    trust: Trust
    unbiased: bool


@dataclass(frozen=True)
class Verdict:
    """How one estimator compares with the others in one parameter.

    Args:
        disagreement: The largest |z| of a paired test against any of the others that claim to be unbiased.
        against: That estimator.
        alarm: Why it must be wrong; empty if nothing contradicts it.
        unnoticed: The largest error that these draws could have missed, relative to the gradient of the best judge;
            infinite if there is no estimator with another mechanism, 0 if it is exact.
    """

    disagreement: float
    against: str
    alarm: str
    unnoticed: float


def witness(draws: np.ndarray, parts: Sequence[AbstractEstimator]) -> Witness:
    """Gradients together with what is known of the estimators that computed them."""
    # An exact sum cannot be wrong.
    inexact = [part for part in parts if trust(part) != EXACT] or list(parts)
    mechanism = " + ".join(sorted({family(part) for part in inexact}))
    return Witness(draws, mechanism, max(trust(part) for part in inexact), all(part.unbiased for part in parts))


def verdict(name: str, witnesses: Mapping[str, Witness]) -> Verdict:
    """How one witness compares with the others.

    It is judged by those of other mechanisms that assume the least, if they assume no more than it does; each mechanism
    is represented by its least noisy member. It is wrong if at least half of these contradict it by more than five
    standard errors. If there is no other mechanism, it is judged by those of the same mechanism instead.
    """
    mine = witnesses[name]
    others = {other: w for other, w in witnesses.items() if other != name and w.unbiased}
    tests = {other: _z(mine.draws, w.draws) for other, w in others.items()}
    worst = max(tests, key=lambda other: tests[other], default="")
    judges = _judges(mine, others)
    size = mine.draws[0].size
    against = [judge for judge in judges if tests[judge] > threshold(size)]
    alarm = ""
    if mine.unbiased and against and 2 * len(against) >= len(judges):
        first = max(against, key=lambda judge: tests[judge])
        alarm = f"{tests[first]:.1f} standard errors from {first}"
    elif mine.unbiased and mine.trust != EXACT and is_zero(mine.draws):
        alarm = _wrongly_zero(others)
    different = [others[judge] for judge in judges if others[judge].mechanism != mine.mechanism]
    return Verdict(tests.get(worst, 0.0), worst, alarm, _unnoticed(mine, different))


def threshold(size: int) -> float:
    """The |z| that raises an alarm for the largest of ``size`` elements: as improbable as 5 for one element."""
    standard = NormalDist()
    return -standard.inv_cdf(standard.cdf(-ALARM) / max(size, 1))


def is_zero(draws: np.ndarray) -> bool:
    """Whether every gradient is exactly 0."""
    return not np.any(draws)


def _judges(mine: Witness, others: Mapping[str, Witness]) -> list[str]:
    known = {name: w for name, w in others.items() if w.mechanism != mine.mechanism and w.trust <= mine.trust}
    if not known and all(w.mechanism == mine.mechanism for w in others.values()):
        return list(others)
    if not known or mine.trust == EXACT:
        return []
    best = min(w.trust for w in known.values())
    chosen: dict[str, str] = {}
    for name, w in known.items():
        if w.trust != best:
            continue
        if w.mechanism not in chosen or _noise(w) < _noise(others[chosen[w.mechanism]]):
            chosen[w.mechanism] = name
    return list(chosen.values())


def _wrongly_zero(others: Mapping[str, Witness]) -> str:
    """Why a gradient that is always 0 is wrong: a mechanism of the library finds one that is not."""
    for name, w in others.items():
        score = _z(w.draws, np.zeros_like(w.draws))
        if w.trust <= 2 and not is_zero(w.draws) and score > threshold(w.draws[0].size):
            return f"always 0, and {name} is {score:.1f} standard errors from 0"
    return ""


def _unnoticed(mine: Witness, judges: Sequence[Witness]) -> float:
    if mine.trust == EXACT:
        return 0.0
    missed = [float("inf")]
    for judge in judges:
        difference, error = _paired(mine.draws, judge.draws)
        size = np.max(np.abs(_finite(judge.draws).mean(axis=0)), initial=0)
        if judge.trust == EXACT and is_zero(judge.draws):
            missed.append(0.0)
        # A sampled judge with no gradient but 0 is no evidence.
        elif difference.size and size > 0:
            missed.append(float(threshold(difference.size) * np.max(error) / size))
    return min(missed)


def _noise(one: Witness) -> float:
    """The variance of the mean; infinite if gradients are not finite."""
    flat = one.draws.reshape(len(one.draws), -1)
    return float(flat.var(axis=0).sum()) if np.isfinite(flat).all() else float("inf")


def _z(one: np.ndarray, other: np.ndarray) -> float:
    """The largest |z| over elements of the mean difference, in standard errors of the difference."""
    difference, error = _paired(one, other)
    # Two exact estimators agree up to rounding in single precision.
    rounding = 1e-5 * sum(np.abs(_finite(draws)).mean() for draws in (one, other)) + 1e-12
    return float(np.max(np.abs(difference) / np.hypot(error, rounding))) if difference.size else 0.0


def _finite(draws: np.ndarray) -> np.ndarray:
    """The gradients that are finite in all elements, one row each; a row of zeros if none is."""
    flat = draws.reshape(len(draws), -1)
    kept = flat[np.isfinite(flat).all(axis=1)]
    return kept if len(kept) else np.zeros_like(flat[:1])


def _paired(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean difference per element and its standard error, over repeats where both are finite; empty if none is."""
    difference = (one - other).reshape(len(one), -1)
    difference = difference[np.isfinite(difference).all(axis=1)]
    if len(difference) < 2:
        return np.zeros(0), np.zeros(0)
    return difference.mean(axis=0), difference.std(axis=0, ddof=1) / np.sqrt(len(difference))
