"""Writes docs/images/*.png, one per page of docs/estimators: exact variances as lines, measured ones as dots."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import reparax as rx
from reparax.estimators import REBAR, GumbelSoftmax, MeanBaseline, StraightThroughGumbelSoftmax, SumAndSample

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"


def gradients(loss: Callable[[Any, Any], Any], thetas: Sequence[Any], repeats: int) -> np.ndarray:
    """Gradients of ``loss(theta, key)`` for many keys at every theta: (thetas, repeats, *theta)."""
    keys = jax.random.split(jax.random.key(0), repeats)
    batch = min(repeats, 2000)
    per_theta = jax.jit(lambda theta: jax.lax.map(lambda key: jax.grad(loss)(theta, key), keys, batch_size=batch))
    return np.stack([np.asarray(per_theta(jnp.asarray(theta, jnp.float32)), np.float64) for theta in thetas])


def estimate(f: Callable[..., Any], make: Callable[[Any], Any], estimator: Any, count: int) -> Callable[..., Any]:
    """The expectation of f as a function of parameters and key."""
    return lambda theta, key: rx.expectation(f, make(theta), key=key, num_samples=count, estimator=estimator)


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and labels; no frame where there is no axis."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def panels(columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side."""
    figure = Figure(figsize=(4.0 * columns, 3.4), layout="constrained")
    return figure, list(np.ravel(figure.subplots(1, columns)))


def legend_right(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, outside of them."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)


def normal(theta: Any) -> dist.Distribution:
    """Normal with parameters (loc, scale)."""
    return dist.Normal(theta[0], theta[1])


def pathwise(repeats: int) -> Figure:
    """Variance of designed noise relative to independent draws, against K."""
    counts = (4, 16, 64)
    theta = [0.4, -0.3, 0.2, 0.1, -0.2, 0.0]

    def f(z: Any) -> Any:
        return jnp.log1p(jnp.exp(z[0] + 0.5 * z[1] - z[2])) + 0.1 * jnp.sum(z**2)

    def make(t: Any) -> dist.Distribution:
        return dist.Normal(t[:3], jnp.exp(t[3:])).to_event(1)

    figure, (left, right) = panels(2)
    base: list[np.ndarray] = []
    for color, name in enumerate(("pathwise", "antithetic", "latin-hypercube", "sobol")):
        found = [gradients(estimate(f, make, name, k), [theta], repeats)[0].var(axis=0) for k in counts]
        base = base or found
        for axes, part in ((left, slice(0, 3)), (right, slice(3, 6))):
            ratio = [mine[part].sum() / other[part].sum() for mine, other in zip(found, base, strict=True)]
            axes.loglog(counts, ratio, "o-", color=f"C{color}", label="independent" if name == "pathwise" else name)
    for axes, title in ((left, "d/d loc"), (right, "d/d log scale")):
        tidy(axes, title, "draws K per gradient", "variance / that of independent draws")
        axes.set_xticks(counts, [str(k) for k in counts], minor=False)
        axes.minorticks_off()
    legend_right(figure, left)
    return figure


def score_function(repeats: int) -> Figure:
    """Normal(delta, 1), f = z^2: variance per draw against delta, exact and measured."""
    delta = np.linspace(0.0, 3.0, 61)
    d2, d4 = delta**2, delta**4
    exact = {
        "score-function": (d4 + 14 * d2 + 15, 2 * d4 + 60 * d2 + 74),
        "mean-baseline": (8 * d2 + 10, 40 * d2 + 56),
        "optimal-baseline": (8 * d2 + 6, 40 * d2 + 24),
        "pathwise": (4 + 0 * d2, 4 * d2 + 8),
    }
    at = [(mean, 1.0) for mean in (0.0, 1.0, 2.0, 3.0)]
    figure, axes = panels(2)
    for color, (name, curves) in enumerate(exact.items()):
        count = {"mean-baseline": 1, "optimal-baseline": 512}.get(name, 1)
        part = MeanBaseline(num_pilot=512) if name == "mean-baseline" else name
        runs = 5 * repeats if count == 1 else max(repeats // 5, 2)
        found = gradients(estimate(jnp.square, normal, part, count), at, runs).var(axis=1) * count
        for place, panel in enumerate(axes):
            panel.semilogy(delta, curves[place], color=f"C{color}", label=name)
            panel.plot([mean for mean, _ in at], found[:, place], "o", color=f"C{color}")
    for panel, title in zip(axes, ("d/d loc", "d/d scale"), strict=True):
        tidy(panel, title, "loc", "variance per draw")
    legend_right(figure, axes[0])
    return figure


def enumeration(repeats: int) -> Figure:
    """Variance times evaluations of f on a category variable with one likely class, and with equal ones."""
    peaked = np.log([0.86, 0.06, 0.04, 0.02, 0.01, 0.01])
    flat = np.zeros(6)
    costs = jnp.array([1.0, 3.0, -2.0, 0.5, 4.0, -1.0])
    parts = {
        "score function": ("score-function", 4, 4),
        "leave-one-out": ("leave-one-out", 4, 4),
        "sum 1, sample 3": (SumAndSample(top=1), 3, 4),
        "sum 2, sample 2": (SumAndSample(top=2), 2, 4),
        "sum 3, sample 1": (SumAndSample(top=3), 1, 4),
        "enumeration": ("enumeration", 1, 6),
    }
    figure, axes = panels(2)
    for panel, logits, title in zip(axes, (peaked, flat), ("one class has 86 %", "six equal classes"), strict=True):
        shown = []
        for name, (part, count, _) in parts.items():
            draws = gradients(
                estimate(lambda z: costs[z], lambda t: dist.Categorical(logits=t), part, count), [logits], repeats
            )
            shown.append((name, float(draws[0].var(axis=0).sum())))
        names, values = zip(*shown[::-1], strict=True)
        shares = [value if value > 1e-10 else 0.0 for value in values]
        bars = panel.barh(names, shares, color=["C2" if name == "enumeration" else "C0" for name in names])
        panel.bar_label(bars, [f"{value:.2g}" for value in shares], padding=3, fontsize=9)
        panel.margins(x=0.18)
        tidy(panel, title, "variance, summed over the logits", "")
    axes[1].set_yticklabels([])
    return figure


def measure_valued(repeats: int) -> Figure:
    """Normal(1, 1), f = cos(k z): variance per draw against k."""
    ks = np.linspace(0.25, 3.0, 12)
    figure, axes = panels(2)
    names = {"score-function": 1, "leave-one-out": 16, "pathwise": 1, "measure-valued": 1}
    for color, (name, count) in enumerate(names.items()):

        def loss(theta: Any, key: Any, name: str = name, count: int = count) -> Any:
            frequency = jax.lax.stop_gradient(theta[2])
            return estimate(lambda z: jnp.cos(frequency * z), normal, name, count)(theta, key)

        runs = max(repeats // count, 2)
        found = gradients(loss, [(1.0, 1.0, k) for k in ks], runs).var(axis=1) * count
        for place, panel in enumerate(axes):
            panel.semilogy(ks, found[:, place], "o-", ms=4, color=f"C{color}", label=name)
    for panel, title in zip(axes, ("d/d loc E cos(k z)", "d/d scale E cos(k z)"), strict=True):
        tidy(panel, title, "k", "variance per draw")
    legend_right(figure, axes[0])
    return figure


def discrete(repeats: int) -> Figure:
    """Bernoulli(p), f = (b - 0.45)^2: variance at two evaluations against p, exact and measured."""
    t = 0.45
    p = np.linspace(0.01, 0.99, 99)
    m, d2 = np.minimum(p, 1 - p), (1 - 2 * t) ** 2
    exact = {
        "score-function": p * (1 - p) * ((1 - p) * (1 - t) ** 2 + p * t**2) ** 2 / 2,
        "leave-one-out": d2 * (p * (1 - p) / 2 - (p * (1 - p)) ** 2),
        "arm": d2 * ((2 / 3) * (1 / 8 - (1 / 2 - m) ** 3) - (m * (1 - m)) ** 2),
        "disarm": d2 * (1 - m) ** 2 * m * (1 / 2 - m),
    }
    at = np.array([0.05, 0.2, 0.35, 0.45, 0.55, 0.65, 0.8, 0.95])
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    axes = figure.subplots()
    for color, (name, curve) in enumerate(exact.items()):
        axes.semilogy(p, np.maximum(curve, 1e-9), color=f"C{color}", label=name)
        f = estimate(lambda b: (b.astype(float) - t) ** 2, lambda v: dist.Bernoulli(logits=v), name, 2)
        found = gradients(f, np.log(at / (1 - at)), repeats).var(axis=1)
        axes.plot(at, np.where(found > 1e-9, found, np.nan), "o", color=f"C{color}")
    axes.set_ylim(1e-5, None)
    tidy(axes, "d/d logit E (b - 0.45)^2, two evaluations of f", "p", "variance")
    legend_right(figure, axes)
    return figure


def relaxations(repeats: int) -> Figure:
    """Bias and standard deviation against the temperature, three one-hot variables."""
    theta = [0.3, -0.8, 0.5, 0.1, 0.0, -1.0, 0.6, -0.3, 0.2]
    weights = jnp.array([[1.0, 2.0, -1.0], [0.5, 0.3, 1.0], [-0.5, 1.5, 0.2]])

    def f(z: Any) -> Any:
        return jnp.tanh(jnp.sum(z * weights)) + 0.2 * jnp.sum(z * weights) ** 2

    def make(t: Any) -> Any:
        from reparax.distributions import OneHotCategorical

        return OneHotCategorical(t.reshape(3, 3)).to_event(1)

    exact = gradients(estimate(f, make, "enumeration", 1), [theta], 2)[0, 0]
    temperatures = (0.1, 0.2, 0.4, 0.8, 1.6)
    lines = {
        "gumbel-softmax": GumbelSoftmax,
        "straight-through-gumbel-softmax": StraightThroughGumbelSoftmax,
        "rebar (4 draws)": REBAR,
        "straight-through": "straight-through",
        "reinmax": "reinmax",
        "leave-one-out (2 draws)": "leave-one-out",
    }
    figure, axes = panels(2)
    for color, (name, part) in enumerate(lines.items()):
        floating = isinstance(part, str)
        count = 2 if "leave" in name else 1

        def loss(t: Any, key: Any, part: Any = part, count: int = count) -> Any:
            # The temperature travels behind the parameters, so that one program serves all temperatures.
            chosen = part if isinstance(part, str) else part(temperature=jax.lax.stop_gradient(t[9]))
            return estimate(f, lambda v: make(v[:9]), chosen, count)(t, key)

        draws = gradients(loss, [[*theta, x] for x in (temperatures[:1] if floating else temperatures)], repeats)
        draws = draws[:, :, :9]
        spread = [np.sqrt(found.var(axis=0).sum()) for found in draws]
        bias = [np.linalg.norm(found.mean(axis=0) - exact) for found in draws]
        x = (temperatures[0], temperatures[-1]) if floating else temperatures
        style = "--" if floating else "o-"
        unbiased = "rebar" in name or count == 2
        axes[1].loglog(x, spread * (2 if floating else 1), style, color=f"C{color}", label=name)
        if not unbiased:
            axes[0].loglog(x, bias * (2 if floating else 1), style, color=f"C{color}")
    for panel, title in zip(axes, ("bias (its norm); rebar has none", "standard deviation"), strict=True):
        tidy(panel, title, "temperature", "")
        panel.set_xticks(temperatures, [f"{x:g}" for x in temperatures], minor=False)
        panel.minorticks_off()
    legend_right(figure, axes[1])
    return figure


def mixtures(repeats: int) -> Figure:
    """Two Normal components, near and far apart: variance times evaluations in the logit of a weight."""
    parts = {"rao-blackwellized-mixture": 1, "pathwise": 1, "score-function": 1, "leave-one-out": 2}
    figure, axes = panels(2)
    for panel, right in zip(axes, (1.0, 3.0), strict=True):

        def make(t: Any, right: float = right) -> dist.Distribution:
            weights = dist.Categorical(logits=jnp.stack([t, jnp.zeros_like(t)]))
            return dist.MixtureSameFamily(weights, dist.Normal(jnp.array([-1.0, right]), 0.7))

        shown = []
        for name, count in parts.items():
            evaluations = 2 if name in ("rao-blackwellized-mixture", "leave-one-out") else 1
            draws = gradients(estimate(jnp.sin, make, name, count), [0.0], repeats)
            shown.append((name, float(draws.var()) * evaluations))
        names, values = zip(*shown[::-1], strict=True)
        bars = panel.barh(names, values, color="C0")
        panel.bar_label(bars, [f"{value:.3f}" for value in values], padding=3, fontsize=9)
        panel.margins(x=0.18)
        tidy(panel, f"d/d logit, means -1 and {right:g}", "variance x evaluations of f", "")
    axes[1].set_yticklabels([])
    return figure


def bounds(repeats: int) -> Figure:
    """Signal-to-noise ratio of the gradient of the importance-weighted bound in q's mean, against K."""
    counts = (1, 4, 16, 64, 256)
    names = {"importance-weighted-pathwise": "C0", "doubly-reparameterized": "C2", "vimco": "C1"}
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    axes = figure.subplots()

    def loss(name: str, count: int) -> Callable[..., Any]:
        def bound(theta: Any, key: Any) -> Any:
            def log_joint(z: Any) -> Any:
                return dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(0.9 * z, 0.7).log_prob(1.3)

            return rx.iwae_estimate(log_joint, normal(theta), key=key, num_samples=count, estimator=name)

        return bound

    for name, color in names.items():
        used = [k for k in counts if k > 1 or name != "vimco"]
        draws = [gradients(loss(name, k), [(0.2, 0.7)], repeats)[0, :, 0] for k in used]
        ratio = [abs(found.mean()) / found.std() for found in draws]
        axes.loglog(used, ratio, "o-", color=color, label=name)
    axes.set_xticks(counts, [str(k) for k in counts], minor=False)
    axes.minorticks_off()
    tidy(axes, "d/d loc of the bound", "samples K", "|mean| / standard deviation")
    legend_right(figure, axes)
    return figure


def choosing(repeats: int) -> Figure:
    """The picture that `rx.compare` draws, for the example of the page on choosing."""
    figure = rx.compare(
        lambda z: jnp.exp(-0.5 * z**2),
        dist.Normal(1.0, 1.0),
        key=jax.random.key(0),
        estimators=["pathwise", "sobol", "leave-one-out", "measure-valued", "score-function"],
        num_samples=4,
        repeats=max(repeats // 10, 2),
    ).plot()
    for axes in figure.axes:
        # Over less than a decade the labels of the minor ticks would overlap.
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(1e-2, 1.0)
    return figure


PICTURES = (
    pathwise, score_function, enumeration, measure_valued, discrete, relaxations, mixtures, bounds, choosing,
)  # fmt: skip


def main() -> None:
    """Draws the pictures, all or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[draw.__name__ for draw in PICTURES])
    parser.add_argument("--repeats", type=int, default=20_000)
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for draw in PICTURES:
        if draw.__name__ in options.names:
            draw(options.repeats).savefig(FOLDER / f"{draw.__name__}.png", dpi=110, facecolor="white")


if __name__ == "__main__":
    main()
