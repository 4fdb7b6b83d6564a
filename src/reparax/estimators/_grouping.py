"""Which variables are estimated together, in which order, and how often f is evaluated for it."""

from typing import Any

import equinox as eqx

from reparax.estimators._base import LEVELS, AbstractEstimator
from reparax.estimators._distributions import leaves

Group = tuple[AbstractEstimator, list[int]]


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
