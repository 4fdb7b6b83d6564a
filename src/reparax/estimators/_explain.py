"""Which estimator each variable gets, how each parameter is differentiated, and why."""

from dataclasses import dataclass
from typing import Any

import jax
import numpyro.distributions as dist

from reparax import registry
from reparax.estimators._base import AbstractEstimator
from reparax.estimators._bound_base import AbstractBoundEstimator
from reparax.estimators._choice import Choice, automatic, named
from reparax.estimators._distributions import is_distribution, num_states
from reparax.estimators._expectation import spread
from reparax.estimators._parameters import named_parameters
from reparax.estimators._table import table
from reparax.reparameterization import parameter_rules


@dataclass(frozen=True)
class Line:
    """How one parameter of one variable is differentiated.

    Args:
        variable: The variable's place in the pytree; empty for a single distribution.
        distribution: Its family.
        parameter: The parameter's name.
        estimator: The estimator's name.
        method: The route: for pathwise derivatives location-scale, inverse CDF, implicit and so on.
        unbiased: Whether the derivative is unbiased.
        why: Why this estimator.
        reference: Its source.
    """

    variable: str
    distribution: str
    parameter: str
    estimator: str
    method: str
    unbiased: bool
    why: str
    reference: str


@dataclass(frozen=True)
class Explanation:
    """One `Line` per parameter; printing it gives the table."""

    lines: tuple[Line, ...]

    def __str__(self) -> str:
        header = ("variable", "distribution", "parameter", "estimator", "method", "unbiased", "why", "reference")
        rows = [
            (
                a.variable or "z",
                a.distribution,
                a.parameter,
                a.estimator,
                a.method,
                _yes(a.unbiased),
                a.why,
                a.reference,
            )
            for a in self.lines
        ]
        return table(header, rows)

    def __repr__(self) -> str:
        return str(self)


def _yes(unbiased: bool) -> str:
    return "yes" if unbiased else "NO: biased"


def explain(q: Any, estimator: Any = "auto") -> Explanation:
    """How `expectation` differentiates each parameter of q, with which estimator and why; nothing is run.

    Args:
        q: A distribution or a pytree of distributions.
        estimator: As for `expectation`, or one of bounds.

    Returns:
        A value that prints as a table, one line per variable and parameter.

    Raises:
        InvalidEstimator: The estimator would be wrong for q.
    """
    pairs, _ = jax.tree_util.tree_flatten_with_path(q, is_leaf=is_distribution)
    lines: list[Line] = []
    states = 1.0
    for (path, leaf), wish in zip(pairs, spread(q, estimator), strict=True):
        choice = _chosen(leaf, wish, states)
        choice.estimator.check(leaf)
        states *= num_states(leaf) if _enumerates(choice.estimator) else 1.0
        lines += _lines(jax.tree_util.keystr(path, simple=True, separator="."), leaf, choice)
    return Explanation(tuple(lines))


def _chosen(q: dist.Distribution, wish: Any, states: float) -> Choice:
    if wish == "auto":
        return automatic(q)
    return Choice(named(wish) if isinstance(wish, str) else wish, "asked for by name")


def _lines(variable: str, q: dist.Distribution, choice: Choice) -> list[Line]:
    part = choice.estimator
    name, family = registry.part_name(type(part)), type(_inside(q)).__name__
    if name != "pathwise":
        return [
            Line(variable, family, parameter, name, _method(part), part.unbiased, choice.why, part.reference)
            for parameter in named_parameters(q)[0]
        ]
    return [
        Line(variable, family, rule.parameter, name, rule.method, True, rule.reason or choice.why,
             rule.reference or part.reference)
        for rule in parameter_rules(q)
    ]  # fmt: skip


def _inside(q: dist.Distribution) -> dist.Distribution:
    return _inside(q.base_dist) if isinstance(q, dist.Independent | dist.ExpandedDistribution) else q


def _enumerates(part: AbstractEstimator | AbstractBoundEstimator) -> bool:
    return isinstance(part, AbstractEstimator) and part.level == "enumerate"


def _method(part: AbstractEstimator | AbstractBoundEstimator) -> str:
    if isinstance(part, AbstractBoundEstimator):
        return "pathwise, of the bound" if part.differentiates_the_sample else "score function, of the bound"
    if part.level == "enumerate":
        return "exact sum"
    return "score function" if part.level == "score" else "path of a stand-in" if not part.unbiased else "pathwise"
