"""A comparison of estimators on one problem: mean, variance, cost, tails, and whether they agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from reparax.errors import InvalidEstimator
from reparax.estimators._agreement import Verdict, Witness, trust, verdict, witness
from reparax.estimators._base import AbstractEstimator
from reparax.estimators._measure import (
    Measured,
    Problem,
    candidates,
    check_scalar,
    measure,
    problem_of,
    referees,
    refusal_of,
    tail_shape,
    used,
)
from reparax.estimators.text_table import short, table
from reparax.notebook import table as html_table

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure

HEAVY_TAIL = 0.7


@dataclass(frozen=True)
class Row:
    """One estimator and one parameter.

    Args:
        estimator: The estimator's name.
        parameter: The parameter's name.
        mechanism: What it has in common with related estimators, which share its errors: "pathwise", ...
        mean: The mean gradient, in the parameter's shape.
        standard_error: Its standard error.
        variance: The variance of one gradient, summed over the parameter's elements.
        evaluations: Evaluations of f per gradient.
        seconds: Time per gradient when many are computed at once.
        non_finite: The fraction of draws that are not finite.
        tail: The shape of a Pareto distribution fitted to the tail; above 1/2 the variance may be infinite, and above
            0.7 there is a warning.
        claims_unbiased: Whether the estimator claims to be unbiased.
        disagreement: The largest |z| of a paired test against any other estimator that claims to be unbiased.
        against: That estimator.
        alarm: Whether it claims to be unbiased, but is contradicted by estimators that assume less, or no more by
            another mechanism.
        reason: The reason of the alarm; empty without one.
        unnoticed: The relative error of the gradient that these draws could have missed: above 1 there are too few
            draws to tell. Infinite if no estimator with another mechanism was run, 0 if none is needed.
        remarks: What `expectation` warned of, and whether the row was added as a reference.
    """

    estimator: str
    parameter: str
    mechanism: str
    mean: Float[np.ndarray, "*s"]
    standard_error: Float[np.ndarray, "*s"]
    variance: float
    evaluations: int
    seconds: float
    non_finite: float
    tail: float
    claims_unbiased: bool
    disagreement: float
    against: str
    alarm: bool
    reason: str
    unnoticed: float
    remarks: tuple[str, ...]

    @property
    def variance_times_cost(self) -> float:
        """The variance at a budget of one evaluation of f, which a fair choice minimizes."""
        return self.variance * self.evaluations


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`: prints as a table; ``plot()`` makes a figure, ``to_frame()`` a polars frame.

    Args:
        rows: One per estimator and parameter.
        repeats: How many gradients each estimator computed.
        num_samples: The number of draws per gradient.
        refused: Why estimators were not run, by name.
    """

    rows: tuple[Row, ...]
    repeats: int
    num_samples: int
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def alarms(self) -> tuple[Row, ...]:
        """The rows whose claim to be unbiased is contradicted by the others."""
        return tuple(row for row in self.rows if row.alarm)

    def row(self, estimator: str, parameter: str) -> Row:
        """The row of one estimator and parameter."""
        return next(row for row in self.rows if (row.estimator, row.parameter) == (estimator, parameter))

    def __str__(self) -> str:
        header = ("parameter", "estimator", "gradient", "std. error", "variance", "evaluations", "variance x cost",
                  "microseconds", "notes")  # fmt: skip
        body = [
            (row.parameter, row.estimator, _summary(row.mean), _summary(row.standard_error), short(row.variance),
             str(row.evaluations), short(row.variance_times_cost), f"{1e6 * row.seconds:.2f}", _notes(row))
            for row in sorted(self.rows, key=lambda row: (row.parameter, row.variance_times_cost))
        ]  # fmt: skip
        lines = [table(header, body), "", f"{self.repeats} gradients of {self.num_samples} draws each"]
        lines += [f"not run: {name} ({reason})" for name, reason in self.refused.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """The table of `str`, shorter, for notebooks."""
        rows = [
            (row.parameter, row.estimator, short(row.variance), short(row.variance_times_cost), _notes(row))
            for row in sorted(self.rows, key=lambda row: (row.parameter, row.variance_times_cost))
        ]
        header = ("parameter", "estimator", "variance", "variance x cost", "notes")
        refused = f"; not run: {', '.join(self.refused)}" if self.refused else ""
        note = f"{self.repeats} gradients of {self.num_samples} draws each{refused}"
        return html_table("Comparison", header, rows, note=note)

    def to_frame(self) -> "polars.DataFrame":
        """One row per estimator and parameter; means of parameters with several elements are lists."""
        import polars

        return polars.DataFrame([_record(row) for row in self.rows])

    def plot(self) -> "Figure":
        """Variance times cost per parameter and estimator, on a logarithmic axis, as a matplotlib figure."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter

        parameters = list(dict.fromkeys(row.parameter for row in self.rows))
        figure = Figure(figsize=(4.5 * len(parameters), 1.2 + 0.32 * len(self.rows) / len(parameters)), layout="tight")
        for place, parameter in enumerate(parameters):
            axes = figure.add_subplot(1, len(parameters), place + 1)
            rows = sorted((r for r in self.rows if r.parameter == parameter), key=lambda r: -r.variance_times_cost)
            shown = [max(row.variance_times_cost, 1e-12) for row in rows]
            colors = ["C3" if row.alarm or not row.claims_unbiased else "C0" for row in rows]
            axes.barh([row.estimator for row in rows], shown, color=colors)
            axes.set_xscale("log")
            low, high = min(shown) / 3, 2 * max(shown)
            axes.set_xlim(low, high)
            axes.xaxis.set_minor_formatter(NullFormatter())
            # On a short axis powers of ten alone would leave almost no numbers.
            if high < 200 * low:
                axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.xaxis.set_major_formatter("{x:g}")
            else:
                axes.xaxis.set_major_locator(LogLocator(numticks=6))
            axes.set_xlabel("variance x evaluations of f")
            axes.set_title(f"d/d {parameter}")
        return figure


def compare(
    f: Callable[..., Any],
    q: Any,
    *,
    key: jax.Array,
    parameters: Any = None,
    estimators: Sequence[Any] | dict[str, Any] | None = None,
    num_samples: int = 2,
    repeats: int = 2000,
) -> Comparison:
    """Measures estimators of the gradient of E_q[f(z)], side by side.

    The gradient is with respect to the parameters of q and, if given, those in ``parameters``, any pytree of arrays. f
    is then called as ``f(z, parameters)``, and q may be a function that makes the distributions from the parameters
    (an encoder).

    Estimators with the same mechanism have the same errors, so that they count as one. An estimator raises an alarm if
    it contradicts those that assume less (exact sums assume less than densities, densities less than a continuous f,
    and all of these less than custom estimators). If all estimators given assume a continuous f, one that does not is
    also run.

    Args:
        f: The integrand, of one draw; it returns one real number.
        q: A distribution, a pytree of independent ones, or a function that makes these from ``parameters``.
        key: The random key. All estimators get the same keys, so that their differences can be tested in pairs.
        parameters: A pytree whose floating arrays are differentiated in addition to, or instead of, the parameters of
            q.
        estimators: Names and instances, or a dict from any names to what `expectation` takes as ``estimator``. By
            default every valid estimator, including biased ones.
        num_samples: The number of draws per gradient; estimators that need more make more, which adds to their cost.
        repeats: The number of gradients per estimator.

    Returns:
        Gradient mean with standard error, variance, cost, their product, the fraction of non-finite draws, a warning of
        heavy tails, and a paired test of every estimator that claims to be unbiased against the others.

    Raises:
        InvalidEstimator: An estimator given explicitly would be wrong, none is valid, or f does not return one number.
    """
    problem = problem_of(f, q, parameters)
    check_scalar(problem)
    refused: dict[str, str] = {}
    measured: dict[str, Measured] = {}
    parts: dict[str, list[AbstractEstimator]] = {}

    def run(name: str, estimator: Any) -> None:
        measured[name] = measure(problem, estimator, key, num_samples, repeats)
        parts[name] = used(problem.q, estimator, num_samples, measured[name].messages)

    for name, estimator in _wanted(problem.q, estimators).items():
        reason = refusal_of(problem, estimator, num_samples) if estimators is None else None
        if reason is None:
            run(name, estimator)
        else:
            refused[name] = reason
    added = _missing_referee(problem, parts, num_samples) if estimators is not None else {}
    for name, estimator in added.items():
        run(name, estimator)
    if not measured:
        raise InvalidEstimator(
            expected="at least one estimator that is valid for q and f",
            got="; ".join(f"{name}: {reason}" for name, reason in refused.items()) or "none",
            cure="see the reasons, or pass estimators with their options",
        )
    rows = [
        row
        for parameter in problem.arrays
        for row in _rows(parameter, measured, parts, frozenset(added))
    ]  # fmt: skip
    return Comparison(tuple(rows), repeats, num_samples, refused)


def _wanted(q: Any, estimators: Sequence[Any] | dict[str, Any] | None) -> dict[str, Any]:
    if estimators is None:
        return dict(candidates(q, biased=True))
    if isinstance(estimators, dict):
        return dict(estimators)
    named: dict[str, Any] = {}
    for part in estimators:
        name = part if isinstance(part, str) else str(part) if isinstance(part, AbstractEstimator) else repr(part)
        named[name] = part
    if not named:
        raise InvalidEstimator(expected="at least one estimator", got="none", cure="leave estimators=None for all")
    return named


def _missing_referee(problem: Problem, parts: dict[str, list[AbstractEstimator]], num_samples: int) -> dict[str, Any]:
    """The first valid referee, if all estimators given assume more, so that none could contradict the others."""
    worst = [max(map(trust, group)) for group in parts.values() if all(part.unbiased for part in group)]
    if not worst or max(worst) < 2 or min(worst) < 2:
        return {}
    for name, part in referees(problem.q).items():
        if refusal_of(problem, part, num_samples) is None:
            return {name: part}
    return {}


def _rows(
    parameter: str, measured: dict[str, Measured], parts: dict[str, list[AbstractEstimator]], added: frozenset[str]
) -> list[Row]:
    witnesses = {name: witness(result.gradients[parameter], parts[name]) for name, result in measured.items()}
    return [
        _row(name, parameter, result, witnesses[name], verdict(name, witnesses), added)
        for name, result in measured.items()
    ]


def _row(
    name: str, parameter: str, result: Measured, mine: Witness, outcome: Verdict, added: frozenset[str]
) -> Row:  # fmt: skip
    finite = np.isfinite(mine.draws.reshape(len(mine.draws), -1)).all(axis=1)
    # Without two finite gradients there is no mean, and no variance.
    kept = mine.draws[finite] if finite.sum() > 1 else np.full((2, *mine.draws.shape[1:]), np.nan)
    return Row(
        estimator=name,
        parameter=parameter,
        mechanism=mine.mechanism,
        mean=kept.mean(axis=0),
        standard_error=kept.std(axis=0, ddof=1) / np.sqrt(len(kept)),
        variance=float(kept.var(axis=0, ddof=1).sum()),
        evaluations=result.evaluations,
        seconds=result.seconds,
        non_finite=float(1 - finite.mean()),
        tail=_worst_tail(kept),
        claims_unbiased=mine.unbiased,
        disagreement=outcome.disagreement,
        against=outcome.against,
        alarm=bool(outcome.alarm),
        reason=outcome.alarm,
        unnoticed=outcome.unnoticed,
        remarks=(*result.messages, *(["added as a reference"] if name in added else [])),
    )


def _worst_tail(draws: np.ndarray) -> float:
    flat = draws.reshape(len(draws), -1)[:, :32]
    shapes = [tail_shape(column) for column in flat.T]
    return float(np.nanmax(shapes)) if np.isfinite(shapes).any() else float("nan")


def _summary(value: np.ndarray) -> str:
    flat = np.ravel(value)
    if flat.size == 1:
        return f"{flat[0]:.4g}"
    return " ".join(f"{x:.3g}" for x in flat[:3]) + (" ..." if flat.size > 3 else "")


def _notes(row: Row) -> str:
    notes = []
    if not row.claims_unbiased:
        notes.append(f"biased, as declared ({row.disagreement:.1f} standard errors)")
    if row.alarm:
        notes.append(f"BIAS ALARM: {row.reason}")
    elif row.claims_unbiased and np.isinf(row.unnoticed):
        notes.append("not checked: no other mechanism was run")
    elif row.claims_unbiased and row.unnoticed > 1:
        notes.append("not enough draws to tell whether it is right")
    if row.non_finite > 0:
        notes.append(f"{100 * row.non_finite:.2g} % not finite")
    if row.tail > HEAVY_TAIL:
        notes.append(f"heavy tail (k = {row.tail:.2f}): the variance may be infinite")
    return "; ".join([*notes, *row.remarks])


def _record(row: Row) -> dict[str, Any]:
    return {
        "estimator": row.estimator,
        "parameter": row.parameter,
        "mechanism": row.mechanism,
        "mean": np.ravel(row.mean).tolist(),
        "standard_error": np.ravel(row.standard_error).tolist(),
        "variance": row.variance,
        "evaluations": row.evaluations,
        "seconds": row.seconds,
        "variance_times_cost": row.variance_times_cost,
        "non_finite": row.non_finite,
        "tail": row.tail,
        "claims_unbiased": row.claims_unbiased,
        "disagreement": row.disagreement,
        "against": row.against,
        "alarm": row.alarm,
        "reason": row.reason,
        "unnoticed": row.unnoticed,
        "remarks": list(row.remarks),
    }
