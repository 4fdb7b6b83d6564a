"""Writes docs/unbiasedness.md: every gradient beside the exact one, in standard errors.

The cases, their integrands and their exact answers are those of the tests (tests/reparameterization,
tests/distributions and tests/estimators); this script only runs them at a size of its own and shows the result.
"""

import argparse
import ast
import functools
import html
import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "unbiasedness.md"
FULL = 400_000
LIMIT = 5.0
DRAWS_PER_GRADIENT = 4


class Row(NamedTuple):
    """One derivative: what was estimated, by what, and how far it is from the exact answer."""

    distribution: str
    parameters: str
    f: str
    parameter: str
    estimator: str
    estimate: float
    exact: float
    z: float


def test_module(name: str) -> Any:
    """A module of the tests, imported by its path from the root of the repository."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(f"tests.{name}")


# How the integrands are called where their source does not read well.
WORDS = {
    "total": "sum x",
    "total_square": "sum x^2",
    "sine_of_first": "sin(w . x)",
    "binary_f": "(w . z)^2 - 3 z[0]",
    "one_hot_f": "(sum of w z)^2",
    "normal_f": "|z - 0.4|^2 + z[0] z[1]",
}
KERNEL_FUNCTIONS = {
    "gamma": ("log x", "exp(-x / max(a, 1))"),
    "large gamma": ("log x",),
    "beta": ("log x", "log(1 - x)", "x^2"),
    "beta in b": ("log x", "log(1 - x)"),
    "dirichlet": ("log x[0]", "log x[1]", "x[0]^2"),
    "student_t": ("log |x|", "|x|^(1/2), 0 for df <= 2"),
    "von_mises": ("1 - cos x", "sin x"),
}
KERNEL_PARAMETERS = {
    "gamma": ("Gamma", ("a",)),
    "large gamma": ("Gamma", ("a",)),
    "beta": ("Beta", ("a", "b")),
    "beta in b": ("Beta", ("b", "a")),
    "dirichlet": ("Dirichlet(a, b, b)", ("a", "b")),
    "student_t": ("StudentT", ("df",)),
    "von_mises": ("VonMises", ("kappa",)),
}


@functools.cache
def _expressions(file: str) -> tuple[list[ast.Lambda], dict[str, ast.expr]]:
    """The lambdas of a file, and the returned expressions of its one-line functions."""
    nodes = list(ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))))
    returned = {
        node.name: node.body[-1].value
        for node in nodes
        if isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return) and node.body[-1].value
    }
    return [node for node in nodes if isinstance(node, ast.Lambda)], returned


def written(function: Callable[..., Any]) -> str:
    """A function as its source writes it, for a table."""
    name = getattr(function, "__name__", "")
    if name in WORDS:
        return WORDS[name]
    code = getattr(function, "__code__", None)
    if code is None or "/tests/" not in code.co_filename.replace(os.sep, "/"):
        return f"{name}(x)"
    lambdas, returned = _expressions(code.co_filename)
    if name in returned:
        return _plain(ast.unparse(returned[name]))
    at = [(line, column) for line, _, column, end in code.co_positions() if line and column is not None and end]
    within = [node for node in lambdas if _start(node) <= max(at) <= _end(node) and node.lineno == code.co_firstlineno]
    narrowest = min(within, key=lambda node: len(ast.unparse(node)))
    return _plain(ast.unparse(narrowest.body))


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or 0


def _plain(text: str) -> str:
    for old, new in (("jnp.", ""), ("dist.", ""), ("jax.nn.", ""), (" ** ", "^"), ("astype(float)", "")):
        text = text.replace(old, new)
    return text.replace("z.^", "z^").replace("[..., ", "[")


def parameter_names(make: Callable[..., Any], count: int) -> list[str]:
    """The names that a constructor gives its parameters."""
    signature = inspect.signature(make.__init__ if inspect.isclass(make) else make)
    names = [p.name for p in signature.parameters.values() if p.name != "self" and p.kind != p.VAR_POSITIONAL]
    return names[:count] if len(names) >= count else [f"parameter {i + 1}" for i in range(count)]


def _settings(names: Sequence[str], values: Sequence[float]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in zip(names, values, strict=True))


def samples(size: int, reduced: bool) -> Iterator[Row]:
    """`rsample` of every family against closed forms."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from reparax.reparameterization import rsample

    table = test_module("reparameterization.test_rsample_unbiased")
    for case in table.CASES:
        if reduced and not table.in_reduced_run(case):
            continue
        theta = jnp.array(case.theta)

        def values(t: Any, key: Any, case: Any = case) -> Any:
            z = rsample(case.make(*t), key, (size,))
            return jnp.stack([f(z) for f in case.functions])

        def exact(t: Any, case: Any = case) -> Any:
            return jnp.stack([jnp.asarray(e) for e in case.exact(*t)])

        mean, error = jax.jit(_moments(values))(theta, jax.random.key(0))
        truth = np.asarray(jax.jit(jax.jacfwd(exact))(theta))
        names = parameter_names(case.make, len(case.theta))
        family = type(case.distribution).__name__
        labels = [written(f) for f in case.functions]
        yield from _rows(family, _settings(names, case.theta), labels, names, mean, error, truth)


def _moments(values: Callable[..., Any]) -> Callable[..., Any]:
    """Mean and standard error of the derivative, over the axis of draws."""
    import jax
    import jax.numpy as jnp

    def run(theta: Any, key: Any) -> Any:
        slopes = jax.jacfwd(values)(theta, key)
        return slopes.mean(1), slopes.std(1) / jnp.sqrt(slopes.shape[1])

    return run


def _rows(
    family: str, settings: str, functions: Sequence[str], names: Sequence[str], mean: Any, error: Any, exact: Any
) -> Iterator[Row]:
    for i, f in enumerate(functions):
        for j, parameter in enumerate(names):
            a, b, e = float(mean[i][j]), float(exact[i][j]), float(error[i][j])
            rounding = 2e-5 * abs(b) + 2e-6
            yield Row(family, settings, f, parameter, "pathwise", a, b, (a - b) / (e + rounding))


def quadratures(size: int, reduced: bool) -> Iterator[Row]:
    """Truncated distributions, mixtures and Student's t against quadrature of scipy's densities."""
    import jax
    import jax.numpy as jnp

    from reparax.reparameterization import rsample

    table = test_module("reparameterization.test_rsample_quadrature")
    for case in table.CASES:
        if reduced and case.name in table.ONLY_FULL:
            continue

        def values(t: Any, key: Any, case: Any = case) -> Any:
            z = rsample(case.make(*t), key, (size,))
            return jnp.stack([f(z) for _, f in table.FUNCTIONS])

        mean, error = jax.jit(_moments(values))(jnp.array(case.theta), jax.random.key(0))
        names = _truncated_names(case) or parameter_names(case.make, len(case.theta))
        family = case.name.replace("()", "").replace("None", "infinity").replace("(infinity", "(-infinity")
        labels = [written(f) for _, f in table.FUNCTIONS]
        truth = table.truth(case)[:, 1:]
        yield from _rows(family, _settings(names, case.theta), labels, names, mean, error, truth)


def _truncated_names(case: Any) -> list[str]:
    if not case.name.startswith("truncated"):
        return []
    low, high = case.name.rpartition(" to (")[2].rstrip(")").split(", ")
    ends = [name for name, end in (("low", low), ("high", high)) if end != "None"]
    return ["df"] * (len(case.theta) - 2 - len(ends)) + ["loc", "scale", *ends]


def own(size: int, reduced: bool) -> Iterator[Row]:
    """Distributions made of the user's own noise, quantile function, CDF or log-density; variables in log space."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from reparax.reparameterization import rsample

    for name, case in test_module("distributions.test_user_defined").CASES.items():

        def values(t: Any, key: Any, case: Any = case) -> Any:
            return case.f(rsample(case.make(*t), key, (size,)))[None]

        def exact(t: Any, case: Any = case) -> Any:
            return case.exact(*t)[None]

        theta = jnp.array(case.theta)
        mean, error = jax.jit(_moments(values))(theta, jax.random.key(0))
        truth = np.asarray(jax.jacfwd(exact)(theta))
        yield from _rows(
            name, _settings(case.parameters, case.theta), [written(case.f)], case.parameters, mean, error, truth
        )


def curved(size: int, reduced: bool) -> Iterator[Row]:
    """Spheres in many dimensions, and the Poincare ball."""
    import numpy as np

    sphere, ball = (test_module(f"distributions.{name}") for name in ("test_sphere", "test_hyperbolic"))
    for family, d, kappa in (*sphere.QUICK, *(() if reduced else sphere.SLOW)):
        slopes, exact = sphere.derivatives(family, d, kappa, size)
        mean, error = (np.asarray(part, np.float64)[None] for part in (slopes.mean(0), slopes.std(0) / np.sqrt(size)))
        settings = f"dimension = {d}, kappa = {kappa:g}"
        yield from _rows(family.__name__, settings, ["w . x"], ("angle", "kappa"), mean, error, exact[None])
    slopes, exact = ball.derivatives(size)
    names = ("location[0]", "location[1]", "scale[0]", "scale[1]")
    error = slopes.std(1) / np.sqrt(size)
    settings = _settings(names, ball.THETA)
    yield from _rows("PoincareNormal", settings, ["z[0]", "z[1]^2"], names, slopes.mean(1), error, exact)


def kernels(size: int, reduced: bool) -> Iterator[Row]:
    """The samplers in log space at extreme shapes, first and second derivatives, against closed forms."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    table = test_module("reparameterization.test_kernels_unbiased")
    for name, (function, exact, columns) in table.CASES.items():

        @jax.jit
        def run(key: Any, first: Any, *rest: Any, function: Any = function) -> Any:
            def slopes(first: Any) -> Any:
                return jax.jvp(lambda a: function(key, size, a, *rest), (first,), (jnp.ones_like(first),))[1]

            return jax.jvp(slopes, (first,), (jnp.ones_like(first),))

        family, names = KERNEL_PARAMETERS[name]
        parameters = [jnp.array(column, jnp.float32) for column in columns]
        truth = exact(*(np.asarray(parameter, np.float64) for parameter in parameters))
        for order, draws in enumerate(run(jax.random.key(11), *parameters), 1):
            draws = np.asarray(draws, np.float64)
            mean, error = draws.mean(1), draws.std(1) / np.sqrt(size)
            for i, f in enumerate(KERNEL_FUNCTIONS[name]):
                for j in range(len(columns[0])):
                    right = float(truth[i, order, j])
                    z = (mean[i, j] - right) / max(error[i, j], 1e-6 * abs(right) + 1e-12)
                    settings = _settings(names, [column[j] for column in columns])
                    derivative = names[0] if order == 1 else f"{names[0]}, second derivative"
                    yield Row(family, settings, f, derivative, "pathwise", mean[i, j], right, z)


def expectations(size: int, reduced: bool) -> Iterator[Row]:
    """Every unbiased estimator on every distribution it is valid for, against closed forms and sums."""
    import numpy as np

    import reparax as rx

    table = test_module("estimators.test_unbiased")
    for name, problem in table.UNBIASED:
        if reduced and problem not in table.QUICK.get(name, ()):
            continue
        make, f, exact, theta = table.PROBLEMS[problem]

        def loss(t: Any, key: Any, make: Any = make, f: Any = f, name: str = name) -> Any:
            q = make(t)
            return rx.expectation(f, q, key=key, num_samples=DRAWS_PER_GRADIENT, estimator=table.INSTANCES[name])

        labels = (written(make) if not inspect.isclass(make) else f"{make.__name__}(t)", written(f))
        names = _elements(theta)
        settings = "t = " + ", ".join(f"{value:g}" for value in np.ravel(theta))
        yield from _gradients(loss, exact, theta, size, name, (labels[0], settings, labels[1]), names)


def _elements(theta: Any) -> list[str]:
    return ["t"] if theta.ndim == 0 else [f"t[{i}]" for i in range(theta.size)]


def _gradients(
    loss: Any, exact: Any, theta: Any, size: int, name: str, labels: tuple[str, str, str], names: Sequence[str]
) -> Iterator[Row]:
    import jax
    import numpy as np

    keys = jax.random.split(jax.random.key(0), max(2, size // DRAWS_PER_GRADIENT))
    gradient = jax.grad(loss)
    run = jax.jit(lambda t: jax.lax.map(lambda key: gradient(t, key), keys, batch_size=min(len(keys), 5000)))
    draws = np.asarray(run(theta), np.float64).reshape(len(keys), -1)
    right = np.ravel(np.asarray(jax.grad(exact)(theta), np.float64))
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    rounding = 2e-6 * (1 + np.abs(draws).mean(axis=0))
    z = (draws.mean(axis=0) - right) / np.hypot(error, rounding)
    for place, parameter in enumerate(names):
        yield Row(*labels, parameter, name, float(draws[:, place].mean()), float(right[place]), float(z[place]))


def bounds(size: int, reduced: bool) -> Iterator[Row]:
    """The evidence lower bound and the importance-weighted bound of two draws, against quadrature."""
    import reparax as rx

    table = test_module("estimators.test_bounds")
    cases = [(rx.elbo_estimate, name, table.exact_elbo, "ELBO") for name in (*table.ELBO, "doubly-reparameterized")]
    cases += [(rx.iwae_estimate, name, table.exact_iwae, "IWAE, K = 2") for name in table.IWAE]
    for bound, name, exact, title in cases:

        def loss(t: Any, key: Any, bound: Any = bound, name: str = name) -> Any:
            return bound(table.joint(t), table.posterior(t), key=key, num_samples=2, estimator=name)

        labels = ("q = Normal(t[0], exp(t[1]))", "t = " + ", ".join(f"{v:g}" for v in table.THETA), title)
        yield from _gradients(loss, exact, table.THETA, size, name, labels, _elements(table.THETA))


SECTIONS = {
    "Samples, against closed forms": (
        samples,
        "The derivative of `rsample`, in every parameter of every family that has a closed form.",
    ),
    "Samples, against quadrature": (
        quadratures,
        "Truncated distributions, mixtures (weights included) and Student's t; the exact answer is a quadrature of "
        "scipy's densities in double precision, differentiated by central differences.",
    ),
    "Distributions of one's own": (
        own,
        "From a base noise, a quantile function, a distribution function or a log-density; and variables in log space, "
        "where small shapes do not underflow.",
    ),
    "Spheres and hyperbolic space": (
        curved,
        "The mean direction is turned by an angle; w . x against Bessel functions. The Poincare ball against "
        "quadrature on its tangent space.",
    ),
    "Extreme shapes, to second order": (
        kernels,
        "First and second derivatives of the samplers that work in log space.",
    ),
    "Estimators": (
        expectations,
        "Every unbiased estimator on the distributions of the table that it is valid for. The vector of parameters "
        "is t.",
    ),
    "Bounds": (
        bounds,
        "A linear-Gaussian model with one latent variable: t[0] and t[1] belong to q, t[2] and t[3] to the model.",
    ),
}


def _cells(row: Row) -> str:
    text = (row.distribution, row.parameter, row.f, row.parameters)
    shown = [_code(cell) if any(sign in cell for sign in "[(|*_^") else cell for cell in text]
    numbers = (f"{row.estimate:.5g}", f"{row.exact:.5g}", f"{row.z:.1f}")
    return "| " + " | ".join([*shown, row.estimator, *numbers]) + " |"


def _code(text: str) -> str:
    """Code in a cell of a table: of a bar between backticks, GitHub and the site make different things."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def page(sections: dict[str, list[Row]], size: int, reduced: Sequence[str]) -> str:
    """The whole page."""
    rows = [row for found in sections.values() for row in found]
    worst = max(rows, key=lambda row: abs(row.z))
    beyond = sum(abs(row.z) > 2 for row in rows) / len(rows)
    bad = [row for row in rows if not abs(row.z) <= LIMIT]
    verdict = "None is beyond 5." if not bad else f"**{len(bad)} are beyond 5.**"
    fewer = " and ".join(f"*{title}*" for title in reduced)
    part = f"; of {fewer} only the cases that `make test` runs" if reduced else ""
    head = [
        "# Unbiasedness, measured",
        "",
        "Generated by `scripts/make_unbiasedness_page.py`; do not edit. The cases, the integrands and the exact",
        "answers are those of `tests/reparameterization`, `tests/distributions` and `tests/estimators`, which assert",
        "|z| <= 5.",
        "",
        f"Size of this run: {size:,} draws per row (full size: {FULL:,}){part}.",
        "z is the estimate minus the exact derivative, in standard errors; where an estimator has no noise, in units",
        "of single-precision rounding.",
        "",
        f"{len(rows)} derivatives. The largest |z| is {abs(worst.z):.1f} ({worst.distribution}, {worst.estimator}, "
        f"d/d {worst.parameter}).",
        f"{verdict} {100 * beyond:.1f} % of them are beyond 2; of independent, exactly normal scores 4.6 % would be",
        "(rows of one case share their draws).",
    ]
    lines = head
    for title, found in sections.items():
        lines += ["", f"## {title}", "", SECTIONS[title][1], ""]
        lines += [
            "| distribution | d/d | f | at | estimator | estimate | exact | z |",
            "|---|---|---|---|---|--:|--:|--:|",
        ]
        lines += [_cells(row) for row in found]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the cases and writes the page; 1 if one of them is beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=FULL, help="draws per row (default: %(default)s, the full size)")
    names = sorted(rows.__name__ for rows, _ in SECTIONS.values())
    parser.add_argument("--reduced", nargs="*", choices=names, default=[], help="sections: only what make test runs")
    parser.add_argument("--only", choices=names, help="one section")
    parser.add_argument("--out", type=Path, default=PAGE, help="where to write (default: docs/unbiasedness.md)")
    options = parser.parse_args(argv)
    sections: dict[str, list[Row]] = {}
    for title, (rows, _) in SECTIONS.items():
        if options.only in (None, rows.__name__):
            sections[title] = list(rows(options.size, rows.__name__ in options.reduced))
            sys.stderr.write(f"{title}: {len(sections[title])} rows\n")
    reduced = [title for title, (rows, _) in SECTIONS.items() if rows.__name__ in options.reduced]
    options.out.write_text(page(sections, options.size, reduced), encoding="utf-8")
    every = [row for found in sections.values() for row in found]
    bad = [row for row in every if not (abs(row.z) <= LIMIT and math.isfinite(row.estimate))]
    for row in bad:
        sys.stderr.write(f"beyond {LIMIT:g} standard errors: {row}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
