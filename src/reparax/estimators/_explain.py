"""Which estimator is used for each variable, how each parameter is differentiated, and why."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax import registry
from reparax.continuity import AssumedContinuous
from reparax.estimators._base import AbstractBoundEstimator, AbstractEstimator
from reparax.estimators._integrand import with_key
from reparax.estimators._measure import Problem, problem_of
from reparax.estimators._parameters import dependencies, named_parameters
from reparax.estimators._plan import Choice, evaluations, named, planned, spread
from reparax.estimators.draws import draw, is_distribution, leaves
from reparax.estimators.text_table import table
from reparax.reparameterization import innermost, parameter_rules


@dataclass(frozen=True)
class Line:
    """How one parameter of one variable is differentiated.

    Args:
        variable: The path of the variable in the pytree; empty for a single distribution.
        distribution: Its family.
        parameter: The parameter's name.
        estimator: The estimator's name.
        method: How; for pathwise derivatives location-scale, inverse CDF, implicit, ...
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
class Reach:
    """How the expectation depends on a parameter.

    Args:
        parameter: Its path in the pytree of parameters.
        through: The variables whose distributions depend on it.
        inside: Whether f itself depends on it.
    """

    parameter: str
    through: tuple[str, ...]
    inside: bool

    def __str__(self) -> str:
        ways = [f"the distribution of {', '.join(self.through)}"] if self.through else []
        text = " and ".join([*ways, *(["f itself"] if self.inside else [])])
        return f"{self.parameter} acts through {text}" if text else f"nothing depends on {self.parameter}"


@dataclass(frozen=True)
class Explanation:
    """One `Line` per parameter; printing it gives the table.

    Args:
        lines: How each parameter of each variable is differentiated.
        jumps: The name of each variable in which f is not shown to be continuous, and why.
        reaches: How the expectation depends on each of the parameters that were given.
        evaluations: Evaluations of f per gradient; ``None`` without f.
    """

    lines: tuple[Line, ...]
    jumps: tuple[tuple[str, str], ...] = ()
    reaches: tuple[Reach, ...] = ()
    evaluations: int | None = None

    def __str__(self) -> str:
        lines = [self._table()]
        lines += [f"f may jump in {variable}: {reason}" for variable, reason in self.jumps]
        lines += [str(reach) for reach in self.reaches]
        if self.evaluations is not None:
            lines.append(f"{self.evaluations} evaluations of f per gradient")
        return "\n".join(lines)

    def _table(self) -> str:
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


def explain(
    q: Any,
    estimator: Any = "auto",
    f: Callable[..., Any] | None = None,
    *,
    parameters: Any = None,
    num_samples: int = 1,
) -> Explanation:
    """How `expectation` differentiates each parameter of q, with which estimator and why; nothing is run.

    Args:
        q: A distribution, a pytree of distributions, or a function that makes these from ``parameters``.
        estimator: As for `expectation`, or one of bounds.
        f: The integrand. If given, the variables in which it may jump are listed, and its evaluations counted.
        parameters: As for `compare`: a pytree of arrays; f is then ``f(z, parameters)``. For each array the result says
            on which variables' distributions it acts, and whether f depends on it.
        num_samples: The number of draws, on which "auto" and the count of evaluations depend.

    Returns:
        An object that prints as a table with one line per variable and parameter.

    Raises:
        InvalidEstimator: The estimator would be wrong for q.
    """
    problem = problem_of(f or _nothing, q, parameters)
    pairs, _ = jax.tree_util.tree_flatten_with_path(problem.q, is_leaf=is_distribution)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in pairs]
    requests = spread(problem.q, estimator)
    if any(_is_of_bounds(request) for request in requests):
        choices, jumps = [_named(request) for request in requests], []
        for choice, (_, leaf) in zip(choices, pairs, strict=True):
            choice.estimator.check(leaf)
        count = None
    else:
        plan = planned(AssumedContinuous(_nothing) if f is None else problem.f, problem.q, estimator, num_samples)
        choices, jumps = plan.choices, list(zip(names, plan.jumps, strict=True))
        count = None if f is None else evaluations(problem.q, plan.estimators, num_samples)
    shown = [name or "z" for name in names]
    return Explanation(
        tuple(line for name, (_, q), c in zip(names, pairs, choices, strict=True) for line in _lines(name, q, c)),
        tuple((name or "z", reason.text) for name, reason in jumps if reason is not None),
        () if parameters is None else _reaches(problem, shown),
        count,
    )


def _is_of_bounds(request: Any) -> bool:
    if isinstance(request, str) and request != "auto":
        return issubclass(registry.load("estimators", request), AbstractBoundEstimator)
    return isinstance(request, AbstractBoundEstimator)


def _named(request: Any) -> Any:
    return Choice(named(request) if isinstance(request, str) else request, "chosen by name")


def _nothing(*_: Any) -> Any:
    return jnp.zeros(())


def _reaches(problem: Problem, names: list[str]) -> tuple[Reach, ...]:
    """Through what each array of the problem acts, according to the data flow."""
    arrays, given = list(problem.arrays), list(problem.arrays.values())
    drawn = jax.eval_shape(lambda: draw(problem.q, jax.random.key(0), 1))
    z = jax.tree.map(lambda leaf: jnp.ones(leaf.shape[1:], leaf.dtype), drawn)

    def variable(place: int) -> Callable[..., Any]:
        return lambda *values: jax.tree.leaves(leaves(problem.at(dict(zip(arrays, values, strict=True)))[1])[place])

    def integrand(*values: Any) -> Any:
        f, _ = problem.at(dict(zip(arrays, values, strict=True)))
        return jax.tree.leaves(with_key(f)(z, jax.random.key(0)))

    through = [dependencies(variable(place), given) for place in range(len(names))]
    inside = dependencies(integrand, given)
    return tuple(
        Reach(parameter, tuple(name for name, used in zip(names, through, strict=True) if used[place]), inside[place])
        for place, parameter in enumerate(arrays)
    )


def _lines(variable: str, q: dist.Distribution, choice: Choice) -> list[Line]:
    part = choice.estimator
    name, family = registry.part_name(type(part)), type(innermost(q)).__name__
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


def _method(part: AbstractEstimator | AbstractBoundEstimator) -> str:
    if isinstance(part, AbstractBoundEstimator):
        return "pathwise, of the bound" if part.differentiates_the_sample else "score function, of the bound"
    if part.level in {"enumerate", "term by term"}:
        return "exact sum"
    return "score function" if part.level == "score" else "path of a relaxation" if not part.unbiased else "pathwise"
