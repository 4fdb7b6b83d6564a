"""The choice by measurement: the least variance times cost on pilot draws."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from reparax.errors import InvalidEstimator
from reparax.estimators._choice import named
from reparax.estimators._distributions import is_distribution
from reparax.estimators._expectation import assign
from reparax.estimators._measure import candidates, check_scalar, measure, refusal_of


def tune(
    f: Callable[..., Any],
    q: Any,
    *,
    key: jax.Array,
    num_samples: int = 2,
    num_pilot: int = 1000,
    estimators: Sequence[Any] | None = None,
    parameters: Sequence[str] | None = None,
) -> Any:
    """The estimator whose gradient of E_q[f(z)] has the least variance times evaluations of f, frozen.

    All candidates run on the same pilot keys. Draws made later with the result are fresh, so that the selection adds
    no bias. For a pytree the variables are chosen one after the other, the others kept.

    Args:
        f: The integrand, of one draw; it returns one real number.
        q: A distribution, or a pytree of independent ones, at typical parameters.
        key: The random key of the pilot.
        num_samples: The number of draws per gradient that the result will be used with.
        num_pilot: The number of pilot gradients per candidate.
        estimators: The candidates, names or instances; by default every valid unbiased estimator.
        parameters: The names of the parameters whose variance counts (as `compare` prints them); by default all.

    Returns:
        An estimator, or for a pytree a pytree of estimators: what `expectation` takes as ``estimator``.

    Raises:
        InvalidEstimator: No candidate is valid, f does not return one number, or a parameter is unknown.
    """
    check_scalar(f, q)
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    chosen = assign(q, "auto")
    for place, leaf in enumerate(flat):
        options = _options(leaf, estimators)
        scores: dict[int, float] = {}
        for index, option in enumerate(options):
            trial = jax.tree.unflatten(structure, [*chosen[:place], option, *chosen[place + 1 :]])
            if refusal_of(f, q, trial, num_samples) is None:
                scores[index] = _score(f, q, trial, key, num_samples, num_pilot, parameters)
        if not scores:
            raise InvalidEstimator(
                expected="at least one candidate that is valid and unbiased for q and f",
                got=f"none for {type(leaf).__name__}",
                cure="pass estimators=None to try them all, or see compare(f, q, key=key).refused",
            )
        chosen[place] = options[min(scores, key=lambda index: scores[index])]
    return jax.tree.unflatten(structure, chosen)


def _options(leaf: Any, estimators: Sequence[Any] | None) -> list[Any]:
    if estimators is None:
        return list(candidates(leaf, biased=False).values())
    parts = [named(part) if isinstance(part, str) else part for part in estimators]
    return [part for part in parts if part.unbiased]


def _score(
    f: Callable[..., Any], q: Any, trial: Any, key: jax.Array, num_samples: int, num_pilot: int,
    parameters: Sequence[str] | None,
) -> float:  # fmt: skip
    result = measure(f, q, trial, key, num_samples, num_pilot)
    counted = list(result.gradients) if parameters is None else list(parameters)
    unknown = [name for name in counted if name not in result.gradients]
    if unknown:
        raise InvalidEstimator(
            expected=f"parameters among {', '.join(result.gradients)}",
            got=", ".join(unknown),
            cure="use the names that compare prints",
        )
    variance = sum(float(result.gradients[name].var(axis=0, ddof=1).sum()) for name in counted)
    return variance * result.evaluations if variance == variance else float("inf")
