"""Which estimator each variable gets, how each parameter is differentiated, and why."""

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
from reparax.estimators._measure import Problem, problem
from reparax.estimators._parameters import dependencies, named_parameters
from reparax.estimators._plan import Choice, evaluations, named, planned, spread
from reparax.estimators.draws import draw, is_distribution, leaves
from reparax.estimators.text_table import table
from reparax.reparameterization import innermost, parameter_rules


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
class Reach:
    """How a parameter that was given reaches the expectation.

    Args:
        parameter: Its path in the pytree of parameters.
        through: The variables whose distribution depends on it.
        inside: Whether f depends on it besides.
    """

    parameter: str
    through: tuple[str, ...]
    inside: bool

    def __str__(self) -> str:
        ways = [f"the distribution of {', '.join(self.through)}"] if self.through else []
        text = " and ".join([*ways, *(["f itself"] if self.inside else [])])
        return f"{self.parameter} acts through {text}" if text else f"{self.parameter} is read by nothing"


@dataclass(frozen=True)
class Explanation:
    """One `Line` per parameter; printing it gives the table.

    Args:
        lines: How each parameter of each variable is differentiated.
        jumps: Per variable in which f was not found to be continuous, its name and why.
        reaches: How each of the parameters that were given reaches the expectation.
        evaluations: Evaluations of f per gradient; ``None`` without f.
    """

    lines: tuple[Line, ...]
    jumps: tuple[tuple[str, str], ...] = ()
    reaches: tuple[Reach, ...] = ()
    evaluations: int | None = None

    def __str__(self) -> str:
        said = [self._table()]
        said += [f"f may jump in {variable}: {reason}" for variable, reason in self.jumps]
        said += [str(reach) for reach in self.reaches]
        if self.evaluations is not None:
            said.append(f"{self.evaluations} evaluations of f per gradient")
        return "\n".join(said)

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
        f: The integrand. With it the variables in which it may jump are named, and its evaluations counted.
        parameters: As for `compare`: a pytree of arrays; f is then ``f(z, parameters)``. Of each it is said through
            which variables it reaches the expectation, and whether f reads it.
        num_samples: The number of draws, on which "auto" and the count of evaluations depend.

    Returns:
        A value that prints as a table, one line per variable and parameter.

    Raises:
        InvalidEstimator: The estimator would be wrong for q.
    """
    asked = problem(f or _nothing, q, parameters)
    pairs, _ = jax.tree_util.tree_flatten_with_path(asked.q, is_leaf=is_distribution)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in pairs]
    wishes = spread(asked.q, estimator)
    if any(_is_of_bounds(wish) for wish in wishes):
        choices, jumps = [_named(wish) for wish in wishes], []
        for choice, (_, leaf) in zip(choices, pairs, strict=True):
            choice.estimator.check(leaf)
        count = None
    else:
        plan = planned(AssumedContinuous(_nothing) if f is None else asked.f, asked.q, estimator, num_samples)
        choices, jumps = plan.choices, list(zip(names, plan.jumps, strict=True))
        count = None if f is None else evaluations(asked.q, plan.estimators, num_samples)
    shown = [name or "z" for name in names]
    return Explanation(
        tuple(line for name, (_, q), c in zip(names, pairs, choices, strict=True) for line in _lines(name, q, c)),
        tuple((name or "z", reason.text) for name, reason in jumps if reason is not None),
        () if parameters is None else _reaches(asked, shown),
        count,
    )


def _is_of_bounds(wish: Any) -> bool:
    if isinstance(wish, str) and wish != "auto":
        return issubclass(registry.load("estimators", wish), AbstractBoundEstimator)
    return isinstance(wish, AbstractBoundEstimator)


def _named(wish: Any) -> Any:
    return Choice(named(wish) if isinstance(wish, str) else wish, "asked for by name")


def _nothing(*_: Any) -> Any:
    return jnp.zeros(())


def _reaches(asked: Problem, names: list[str]) -> tuple[Reach, ...]:
    """Through what each of the problem's arrays acts, read off the data flow."""
    arrays, given = list(asked.arrays), list(asked.arrays.values())
    drawn = jax.eval_shape(lambda: draw(asked.q, jax.random.key(0), 1))
    z = jax.tree.map(lambda leaf: jnp.ones(leaf.shape[1:], leaf.dtype), drawn)

    def variable(place: int) -> Callable[..., Any]:
        return lambda *values: jax.tree.leaves(leaves(asked.at(dict(zip(arrays, values, strict=True)))[1])[place])

    def integrand(*values: Any) -> Any:
        f, _ = asked.at(dict(zip(arrays, values, strict=True)))
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
    return "score function" if part.level == "score" else "path of a stand-in" if not part.unbiased else "pathwise"
