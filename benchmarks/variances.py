"""The variance study of Mohamed et al. (2020), section 3, and the question it answers: why reparameterize?

Prints the table of the question, then the variance per draw of every estimator for every cost; ``--out`` draws them.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._estimates import expectation
from reparax.estimators._measure import repeated
from reparax.estimators._plan import named
from reparax.estimators.text_table import short, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ESTIMATORS = ("score-function", "leave-one-out", "optimal-baseline", "pathwise", "measure-valued")
HELD = "sample held constant"
Cost = Callable[[Array, Array], Array]


def _quadratic(z: Array, k: Array) -> Array:
    return (z - k) ** 2


def _exp(z: Array, k: Array) -> Array:
    return jnp.exp(-k * z**2)


def _cos(z: Array, k: Array) -> Array:
    return jnp.cos(k * z)


COSTS: dict[str, Cost] = {"quadratic": _quadratic, "exp": _exp, "cos": _cos}
FORMULAS = {"quadratic": "(z - k)^2", "exp": "exp(-k z^2)", "cos": "cos(k z)"}
GRIDS = {
    "quadratic": (-3.0, -1.0, 0.0, 1.0, 3.0),
    "exp": (0.1, 0.3, 0.5, 1.0, 3.0),
    "cos": (0.5, 1.0, 1.25, 1.5, 3.0),
}


def exact(cost: str, k: Array, theta: Float[Array, "2"]) -> Float[Array, ""]:
    """E f(z) in closed form, z ~ Normal(theta_0, theta_1).

    (mu - k)^2 + sigma^2; (1 + 2 k sigma^2)^(-1/2) exp(-k mu^2 / (1 + 2 k sigma^2)); cos(k mu) exp(-k^2 sigma^2 / 2).
    """
    loc, scale = theta
    if cost == "quadratic":
        return (loc - k) ** 2 + scale**2
    if cost == "exp":
        spread = 1 + 2 * k * scale**2
        return jnp.exp(-k * loc**2 / spread) / jnp.sqrt(spread)
    return jnp.cos(k * loc) * jnp.exp(-((k * scale) ** 2) / 2)


@dataclass(frozen=True)
class StudyRow:
    """One estimator, cost and parameter: the mean gradient against the exact one, and the variance per draw."""

    cost: str
    k: float
    parameter: str
    estimator: str
    mean: float
    standard_error: float
    exact: float
    variance: float

    @property
    def z(self) -> float:
        """How many standard errors the mean is from the exact gradient."""
        return (self.mean - self.exact) / max(self.standard_error, 1e-6 * (1 + abs(self.exact)))


@dataclass(frozen=True)
class Study:
    """Rows of the study: prints as tables, ``plot()`` draws the variances.

    Args:
        rows: One per cost, k, parameter and estimator.
        loc: The mean of the Normal.
        scale: Its standard deviation.
        num_samples: Draws per gradient; variances are given per draw.
        repeats: Gradients per estimator.
    """

    rows: tuple[StudyRow, ...]
    loc: float
    scale: float
    num_samples: int
    repeats: int

    def __str__(self) -> str:
        return "\n\n".join([self.question(), *self._variances()])

    def question(self) -> str:
        """The basic question, as a table: does the gradient flow, is it right, and how noisy is it?"""
        first = self.rows[0]
        rows = [row for row in self.rows if (row.cost, row.k) == (first.cost, first.k)]
        header = ("estimator", "d/d", "gradient", "std. error", "exact", "flows", "unbiased", "variance per draw")
        body = [
            (
                r.estimator,
                r.parameter,
                *map(_four, (r.mean, r.standard_error, r.exact)),
                _flows(r),
                _right(r),
                short(r.variance),
            )
            for r in sorted(rows, key=lambda r: r.parameter)
        ]
        text = f"d/dtheta E[{FORMULAS[first.cost]}], k = {first.k:g}, z ~ Normal({self.loc:g}, {self.scale:g})"
        return f"{text}\n{table(header, body)}"

    def _variances(self) -> list[str]:
        blocks = []
        for cost, parameter in dict.fromkeys((row.cost, row.parameter) for row in self.rows):
            chosen = [r for r in self.rows if (r.cost, r.parameter) == (cost, parameter) and r.estimator != HELD]
            found = {(row.k, row.estimator): row for row in chosen}
            ks = sorted({row.k for row in chosen})
            body = [(f"{k:g}", *(short(found[k, name].variance) for name in ESTIMATORS)) for k in ks]
            worst = max(chosen, key=lambda row: abs(row.z))
            blocks.append(
                f"variance per draw of d/d{parameter} E[{FORMULAS[cost]}] "
                f"(worst |z| against the exact gradient: {abs(worst.z):.1f}, {worst.estimator} at k = {worst.k:g})\n"
                + table(("k", *ESTIMATORS), body)
            )
        return blocks

    def plot(self) -> "Figure":
        """Variance per draw against k, one panel per cost and parameter, as a matplotlib figure."""
        from matplotlib.figure import Figure

        costs = list(dict.fromkeys(row.cost for row in self.rows))
        parameters = list(dict.fromkeys(row.parameter for row in self.rows))
        figure = Figure(figsize=(4.2 * len(costs), 3.2 * len(parameters)), layout="constrained")
        panels = figure.subplots(len(parameters), len(costs), squeeze=False)
        for line, parameter in enumerate(parameters):
            for column, cost in enumerate(costs):
                axes = panels[line][column]
                for place, name in enumerate(ESTIMATORS):
                    rows = [r for r in self.rows if (r.cost, r.parameter, r.estimator) == (cost, parameter, name)]
                    rows.sort(key=lambda row: row.k)
                    axes.plot([r.k for r in rows], [r.variance for r in rows], "o-", color=f"C{place}", label=name)
                axes.set_yscale("log")
                axes.set_title(f"E[{FORMULAS[cost]}], d/d {parameter}")
                axes.set_xlabel("k")
                axes.set_ylabel("variance per draw")
        panels[0][0].legend(fontsize="small")
        return figure


def _four(value: float) -> str:
    return f"{value:.4f}"


def _flows(row: StudyRow) -> str:
    return "no: zero" if row.mean == 0 and row.variance == 0 and row.exact != 0 else "yes"


def _right(row: StudyRow) -> str:
    return "yes" if abs(row.z) <= 5 else f"NO: {abs(row.z):.0f} std. errors"


def study(costs: Sequence[str], *, loc: float, scale: float, num_samples: int, repeats: int, key: jax.Array) -> Study:
    """Gradients of E f(z), z ~ Normal(loc, scale), by every estimator, for every cost and its grid of k.

    Mohamed et al. (2020), section 3, figures 2 to 4.
    """
    theta = jnp.array([loc, scale])
    rows: list[StudyRow] = []
    for cost in costs:
        ks = jnp.array(GRIDS[cost])
        right = np.stack([np.asarray(jax.grad(exact, argnums=2)(cost, k, theta), np.float64) for k in ks])
        for name in (HELD, *ESTIMATORS):
            draws = _gradients(COSTS[cost], name, theta, ks, num_samples, jax.random.split(key, repeats))
            rows += _summaries(cost, name, draws, right, num_samples)
    return Study(tuple(rows), loc, scale, num_samples, repeats)


def _gradients(
    cost: Cost, name: str, theta: Float[Array, "2"], ks: Float[Array, " m"], num_samples: int, keys: jax.Array
) -> np.ndarray:
    def value(t: Array, k: Array, key: jax.Array) -> Array:
        q = dist.Normal(t[0], t[1])
        if name == HELD:
            z = jax.lax.stop_gradient(q.sample(key, (num_samples,)))
            return jnp.mean(cost(z, k))
        return expectation(lambda z: cost(z, k), q, key=key, num_samples=num_samples, estimator=named(name))

    one = jax.grad(value)
    per_k = jax.jit(lambda k: repeated(lambda key: one(theta, k, key), keys))
    return np.stack([np.asarray(per_k(k), np.float64) for k in ks])


def _summaries(cost: str, name: str, draws: np.ndarray, right: np.ndarray, num_samples: int) -> list[StudyRow]:
    repeats = draws.shape[1]
    return [
        StudyRow(
            cost=cost,
            k=k,
            parameter=parameter,
            estimator=name,
            mean=float(draws[i, :, j].mean()),
            standard_error=float(draws[i, :, j].std(ddof=1) / np.sqrt(repeats)),
            exact=float(right[i, j]),
            variance=float(draws[i, :, j].var(ddof=1) * num_samples),
        )
        for i, k in enumerate(GRIDS[cost])
        for j, parameter in enumerate(("loc", "scale"))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cost", choices=[*COSTS, "all"], default="all")
    parser.add_argument("--loc", type=float, default=1.0, help="the mean of z")
    parser.add_argument("--scale", type=float, default=1.0, help="the standard deviation of z")
    parser.add_argument("--draws", type=int, default=64, help="draws for each gradient")
    parser.add_argument("--repeats", type=int, default=1000, help="gradients for each estimator")
    parser.add_argument("--out", help="a file for the picture")
    options = parser.parse_args()
    costs = list(COSTS) if options.cost == "all" else [options.cost]
    found = study(
        costs, loc=options.loc, scale=options.scale, num_samples=options.draws, repeats=options.repeats,
        key=jax.random.key(0),
    )  # fmt: skip
    print(found)
    if options.out is not None:
        found.plot().savefig(options.out, dpi=150)


if __name__ == "__main__":
    main()
