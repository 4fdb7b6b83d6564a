"""The choice by measurement: the least variance times cost on pilot draws, among those that nothing contradicts."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from reparax.errors import InvalidEstimator
from reparax.estimators._agreement import is_own, is_zero, trust, verdict, witness
from reparax.estimators._base import AbstractEstimator
from reparax.estimators._choice import named
from reparax.estimators._measure import (
    Measured,
    Problem,
    candidates,
    check_scalar,
    measure,
    problem,
    referees,
    refusal_of,
)
from reparax.estimators.draws import is_distribution


def tune(
    f: Callable[..., Any],
    q: Any,
    *,
    key: jax.Array,
    parameters: Any = None,
    num_samples: int = 2,
    num_pilot: int = 1000,
    estimators: Sequence[Any] | None = None,
    minimize: Sequence[str] | None = None,
) -> Any:
    """The estimator whose gradient of E_q[f(z)] has the least variance times evaluations of f, frozen.

    All candidates run on the same pilot keys. Draws made later with the result are fresh, so that the selection adds
    no bias. For a pytree the variables are chosen one after the other, the others kept.

    A candidate is left out if it does not pass the checks of `expectation`, or if its mean contradicts that of
    estimators that assume less, one vote per mechanism (see `compare`). Where all candidates assume a continuous f,
    one that does not is run beside them as a judge. Of an f that is vouched for, and of estimators that are not the
    library's, a gradient that is always 0 is not trusted unless a judge finds the same.

    Args:
        f: The integrand, of one draw; it returns one real number.
        q: A distribution, a pytree of independent ones, or a function of ``parameters``, at typical parameters.
        key: The random key of the pilot.
        parameters: As for `compare`: a pytree of arrays; f is then ``f(z, parameters)``.
        num_samples: The number of draws per gradient that the result will be used with.
        num_pilot: The number of pilot gradients per candidate.
        estimators: The candidates, names or instances; by default every valid unbiased estimator.
        minimize: The names of the parameters whose variance counts (as `compare` prints them); by default all.

    Returns:
        An estimator, or for a pytree a pytree of estimators: what `expectation` takes as ``estimator``.

    Raises:
        InvalidEstimator: No candidate is left, f does not return one number, or a parameter is unknown.

    Warns:
        UserWarning: The pilot has too few draws to tell whether the estimator chosen is right, where that rests on the
            author's word alone.
    """
    asked = problem(f, q, parameters)
    check_scalar(asked)
    counted = _counted(asked, minimize)
    flat, structure = jax.tree.flatten(asked.q, is_leaf=is_distribution)
    chosen: list[Any] = ["auto"] * len(flat)
    for place, leaf in enumerate(flat):
        options = _options(leaf, estimators)

        def run(option: AbstractEstimator, place: int = place) -> Measured | str:
            trial = jax.tree.unflatten(structure, [*chosen[:place], option, *chosen[place + 1 :]])
            refusal = refusal_of(asked, trial, num_samples)
            return refusal or measure(asked, trial, key, num_samples, num_pilot)

        chosen[place] = _best(asked, options, _judges(leaf, options), run, counted)
    return jax.tree.unflatten(structure, chosen)


def _counted(asked: Problem, minimize: Sequence[str] | None) -> list[str]:
    counted = list(asked.arrays if minimize is None else minimize)
    unknown = [name for name in counted if name not in asked.arrays]
    if unknown:
        raise InvalidEstimator(
            expected=f"minimize to name parameters among {', '.join(asked.arrays)}",
            got=", ".join(unknown),
            cure="use the names that compare prints",
        )
    return counted


def _options(leaf: Any, estimators: Sequence[Any] | None) -> list[AbstractEstimator]:
    if estimators is None:
        return list(candidates(leaf, biased=False).values())
    parts = [named(part) if isinstance(part, str) else part for part in estimators]
    return [part for part in parts if part.unbiased]


def _judges(leaf: Any, options: Sequence[AbstractEstimator]) -> list[AbstractEstimator]:
    """An estimator that assumes less than all the options, where they assume a continuous f or more."""
    if not options or min(trust(option) for option in options) < 2:
        return []
    return list(referees(leaf).values())[:1]


@dataclass(frozen=True)
class _Trial:
    option: AbstractEstimator
    measured: Measured
    objection: str
    unnoticed: float

    def score(self, counted: Sequence[str]) -> float:
        gradients = [self.measured.gradients[name] for name in counted]
        if not all(np.isfinite(draws).all() for draws in gradients):
            return float("inf")
        return sum(float(draws.var(axis=0, ddof=1).sum()) for draws in gradients) * self.measured.evaluations


def _best(
    asked: Problem,
    options: Sequence[AbstractEstimator],
    judges: Sequence[AbstractEstimator],
    run: Callable[[AbstractEstimator], Measured | str],
    counted: Sequence[str],
) -> AbstractEstimator:
    refused: list[str] = []
    results: list[tuple[AbstractEstimator, Measured, bool]] = []
    for option, eligible in [*((option, True) for option in options), *((judge, False) for judge in judges)]:
        outcome = run(option)
        if not isinstance(outcome, str):
            results.append((option, outcome, eligible))
        elif eligible:
            refused.append(f"{option}: {outcome}")
    trials = [trial for trial, eligible in zip(_trials(asked, results), results, strict=True) if eligible[2]]
    refused += [f"{trial.option}: {trial.objection}" for trial in trials if trial.objection]
    left = {index: trial.score(counted) for index, trial in enumerate(trials) if not trial.objection}
    left = {index: score for index, score in left.items() if np.isfinite(score)}
    if not left:
        raise InvalidEstimator(
            expected="at least one candidate that is valid and unbiased for q and f",
            got="; ".join(refused) or "none, or none with finite gradients",
            cure="pass estimators=None to try them all, or see compare(f, q, key=key)",
        )
    best = trials[min(left, key=lambda index: left[index])]
    if _on_trust(asked, best.option) and best.unnoticed > 1:
        few = "not enough draws to tell: raise num_pilot"
        missing = "no other mechanism is valid" if np.isinf(best.unnoticed) else few
        message = f"whether {best.option} is right was not seen on the pilot ({missing})"
        warnings.warn(message, UserWarning, stacklevel=3)
    return best.option


def _trials(asked: Problem, results: Sequence[tuple[AbstractEstimator, Measured, bool]]) -> list[_Trial]:
    """Every candidate with what speaks against it, in any parameter."""
    witnesses = {
        parameter: {str(place): witness(measured.gradients[parameter], [option])
                    for place, (option, measured, _) in enumerate(results)}
        for parameter in asked.arrays
    }  # fmt: skip
    trials = []
    for place, (option, measured, _) in enumerate(results):
        objection, unnoticed = "", 0.0
        for parameter, known in witnesses.items():
            judgment = verdict(str(place), known)
            zero = is_zero(measured.gradients[parameter])
            if judgment.alarm:
                objection = objection or f"d/d {parameter} contradicts estimators that assume less"
            elif zero and _on_trust(asked, option) and judgment.unnoticed > 0:
                objection = objection or f"d/d {parameter} is always 0, which no judge confirms"
            unnoticed = max(unnoticed, judgment.unnoticed)
        trials.append(_Trial(option, measured, objection, unnoticed))
    return trials


def _on_trust(asked: Problem, option: AbstractEstimator) -> bool:
    """Whether nothing but the author's word says that the estimator is right here."""
    return not is_own(option) or (asked.vouched and trust(option) >= 2)
