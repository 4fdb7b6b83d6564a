"""Writes docs/images/families/*.png: what the codes or the samples of each family of models look like.

python scripts/make_family_pictures.py [NAME ...]

The fits are small, on the digits of scikit-learn or on simulated rows, and take some minutes on two cores.
"""

import argparse
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import matplotlib
import numpy as np
import numpyro.distributions as dist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import reparax as rx
from reparax.likelihoods import Likelihood

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images" / "families"
KEY = jax.random.key(0)
COLORS = matplotlib.colormaps["tab10"]
SHOWN = 700
COUNT_OF_COLORS = 96


def digits() -> Any:
    """The digits with their labels."""
    return rx.read("builtin:digits")


def fit(**chosen: Any) -> Any:
    """A fit of the digits, with the training of a picture."""
    return rx.fit(digits(), **({"epochs": 40, "seed": 0} | chosen))


def labels() -> np.ndarray:
    """The digit of each example."""
    return np.asarray(digits().labels).astype(int)


def from_prior(fitted: Any, count: int) -> np.ndarray:
    """Draws of z from the prior."""
    return np.asarray(fitted.model.prior(fitted.model.posterior).sample(KEY, (count,)))


def panels(*titles: str, width: float = 2.3, height: float | None = None, **chosen: Any) -> tuple[Figure, list[Axes]]:
    """Panels side by side, without ticks."""
    figure = Figure(figsize=(width * len(titles), height or width + 0.25), layout="constrained", facecolor="white")
    axes = list(np.ravel(figure.subplots(1, len(titles), **chosen)))
    for one, title in zip(axes, titles, strict=True):
        one.set_title(title, fontsize=9)
        one.set_xticks([])
        one.set_yticks([])
    return figure, axes


def dots(axes: Axes, points: np.ndarray, color: Any, size: float = 3, **chosen: Any) -> None:
    """Points of a plane or of space."""
    axes.scatter(
        *points[:SHOWN].T, c=color if isinstance(color, str) else COLORS(color[:SHOWN]), s=size, lw=0, **chosen
    )


def pictures_of(axes: Axes, images: np.ndarray, columns: int) -> None:
    """Images of digits in a grid, dark on white."""
    rows = len(images) // columns
    shaped = np.asarray(images)[: rows * columns].reshape(rows, columns, 8, 8)
    framed = np.pad(shaped, ((0, 0), (0, 0), (1, 0), (1, 0)))
    axes.imshow(framed.transpose(0, 2, 1, 3).reshape(rows * 9, columns * 9), cmap="Greys", vmin=0, vmax=16)
    axes.axis("off")


def normal() -> Figure:
    """The codes of digits in two dimensions, and what the decoder makes of a grid."""
    fitted = fit(latent_dim=2)
    figure, (left, right) = panels("codes, by digit", "decoded, from the same plane")
    found = rx.encode(fitted, digits())
    dots(left, found, labels())
    across, down = np.linspace(*np.quantile(found, (0.05, 0.95), axis=0), 9).T
    pictures_of(right, rx.decode(fitted, np.stack(np.meshgrid(across, down[::-1]), -1).reshape(-1, 2)), 9)
    return figure


def priors() -> Figure:
    """Codes, and draws from three priors that were fitted with the model."""
    names = ("standard-normal", "normal-mixture", "coupling-flow")
    figure, axes = panels(*names, width=1.8)
    for one, name in zip(axes, names, strict=True):
        fitted = fit(latent_dim=2, prior=name, epochs=100)
        dots(one, rx.encode(fitted, digits()), "0.75", 4)
        dots(one, from_prior(fitted, 400), "tab:red", 3)
    return figure


class Parabola(Likelihood):
    """x ~ N(z_2 + z_1^2, 0.2^2), a likelihood without weights: z given x lies along a parabola."""

    def __call__(self, z: jax.Array) -> dist.Distribution:
        """The distribution of x given z."""
        return dist.Normal((z[1] + z[0] ** 2)[None], 0.2).to_event(1)


def flows() -> Figure:
    """Draws of z for three examples whose posteriors are bent, as a Normal and as a flow."""
    noise = np.random.default_rng(0).normal(size=(4000, 3))
    rows = noise[:, :1] + noise[:, 1:2] ** 2 + 0.2 * noise[:, 2:]
    names = ("diagonal-normal", "inverse-autoregressive-flow")
    figure, axes = panels(*names, sharex=True, sharey=True)
    for one, name in zip(axes, names, strict=True):
        start = rx.fit(rows, posterior=name, likelihood="normal", latent_dim=2, epochs=1)
        model = eqx.tree_at(lambda m: m.likelihood, start.model, Parabola())
        posterior = rx.fit(rows, model=model, epochs=60, seed=0).model.posterior
        for place, value in enumerate((-1.0, 1.0, 3.0)):
            dots(one, np.asarray(posterior(np.array([value], np.float32)).sample(KEY, (300,))), np.full(300, place))
    return figure


def layers() -> Figure:
    """In each row, the upper layer stays and the lower one is drawn anew."""
    fitted = fit(posterior="ladder", latent_dim=6, num_layers=2, epochs=80, warmup_epochs=20)
    figure, (axes,) = panels("upper layer the same in a row, lower drawn anew", width=3.4, height=2.3)
    many, upper = from_prior(fitted, 100_000), 2
    rows = []
    for top in many[:6]:
        nearest = np.argsort(((many[:, :upper] - top[:upper]) ** 2).sum(1))[:10]
        rows.append(rx.decode(fitted, many[nearest]))
    pictures_of(axes, np.concatenate(rows), 10)
    return figure


def codes() -> Figure:
    """What each of 32 codes stands for, and how often it is used."""
    fitted = fit(posterior="vq", num_codes=32, latent_dim=1)
    used = np.bincount(rx.encode(fitted, digits())[:, 0].astype(int), minlength=32)
    figure, (left, right) = panels("what each of 32 codes stands for", "how often each is used")
    pictures_of(left, rx.decode(fitted, np.arange(32, dtype=np.float32)[:, None]), 8)
    right.bar(range(32), used, color="tab:blue")
    return figure


def curved() -> Figure:
    """Codes on a sphere and in the ball of hyperbolic geometry."""
    figure = Figure(figsize=(4.8, 2.5), layout="constrained", facecolor="white")
    sphere = figure.add_subplot(1, 2, 1, projection="3d")
    dots(sphere, rx.encode(fit(posterior="von-mises-fisher", latent_dim=2), digits()), labels())
    sphere.set_axis_off()
    sphere.set_box_aspect((1, 1, 1), zoom=1.4)
    ball = figure.add_subplot(1, 2, 2, aspect="equal")
    dots(ball, rx.encode(fit(posterior="poincare-normal", latent_dim=2), digits()), labels())
    angle = np.linspace(0, 2 * np.pi, 200)
    ball.plot(np.cos(angle), np.sin(angle), color="0.5", lw=0.8)
    ball.set_axis_off()
    for axes, title in ((sphere, "von-mises-fisher"), (ball, "poincare-normal")):
        axes.set_title(title, fontsize=9)
    return figure


def conditional() -> Figure:
    """Each row one label, each column one z."""
    fitted = fit(given=["label"], latent_dim=8)
    figure, (axes,) = panels("a row for each label, a column for each z", width=3.4, height=3.1)
    columns = 12
    z = np.repeat(from_prior(fitted, columns)[None], 10, axis=0).reshape(10 * columns, -1)
    given = {"label": np.repeat(np.arange(10), columns).astype(str)}
    pictures_of(axes, rx.decode(fitted, z, context=given), columns)
    return figure


def few_labels() -> Figure:
    """The class of each example, with ten labels of each digit."""
    truth = labels()
    known = np.full(len(truth), -1)
    for digit in range(10):
        known[np.flatnonzero(truth == digit)[:10]] = digit
    data = rx.data.from_array(np.asarray(digits().values), labels=known)
    fitted = rx.fit(data, objective="semi-supervised", epochs=60, seed=0)
    found = rx.classify(fitted, data).labels.astype(int)
    figure, (left, right) = panels("100 labels are known", "classes found (crosses: wrong)")
    map_of = rx.encode(fit(latent_dim=2), data)
    dots(left, map_of, "0.8")
    left.scatter(*map_of[known >= 0].T, c=COLORS(known[known >= 0]), s=22, lw=0)
    dots(right, map_of, found)
    wrong = found[:SHOWN] != truth[:SHOWN]
    right.scatter(*map_of[:SHOWN][wrong].T, c="black", marker="x", s=14, lw=0.9)
    return figure


def counts() -> Figure:
    """Variance against mean of counts: data, and samples of two likelihoods."""
    rng = np.random.default_rng(0)
    kinds = rng.gamma(1.0, 4.0, size=(3, 40))[rng.integers(0, 3, 1500)]
    data = rng.poisson(kinds * rng.gamma(1.5, 1 / 1.5, size=kinds.shape))
    figure, axes = panels("poisson", "negative-binomial")
    for one, name in zip(axes, ("poisson", "negative-binomial"), strict=True):
        drawn = rx.sample(rx.fit(data, likelihood=name, epochs=40, seed=0), 1500, key=KEY)
        for values, color, word in ((data, "0.6", "data"), (np.asarray(drawn), "tab:red", "samples")):
            one.loglog(values.mean(0), values.var(0), "o", ms=3, color=color, label=word)
        one.set_xlabel("mean", fontsize=8)
        one.set_ylabel("variance", fontsize=8)
        one.minorticks_off()
    axes[0].legend(fontsize=7, frameon=False)
    return figure


def tables() -> Figure:
    """Two columns of real and of synthetic rows."""
    from sklearn.datasets import load_breast_cancer

    data, shown = load_breast_cancer().data, [0, 6]
    drawn = np.asarray(rx.sample(rx.fit(data, seed=0), len(data), key=KEY))
    figure, axes = panels("real rows", "synthetic rows", sharex=True, sharey=True)
    for one, rows, color in zip(axes, (data, drawn), ("0.4", "tab:red"), strict=True):
        dots(one, rows[:, shown], color, 6)
        one.set_xlabel("mean radius", fontsize=8)
        one.set_ylabel("mean concavity", fontsize=8)
    return figure


def bounds() -> Figure:
    """The importance-weighted bound against K, of models trained with the ELBO and with IWAE."""
    rest, tested = rx.data.split(digits(), 0.2, 0)
    figure, (axes,) = panels("held-out bound against samples", width=2.8)
    counts = (1, 10, 100, 1000)
    for name, chosen in (("elbo", {}), ("iwae", {"objective": "iwae", "num_samples": 8})):
        fitted = rx.fit(rest, latent_dim=4, epochs=80, seed=0, binarize="dynamic", **chosen)
        axes.semilogx(counts, [rx.evaluate(fitted, tested, num_samples=k).iwae for k in counts], "o-", label=name)
    axes.set_xticks(counts, [f"{k}" for k in counts], fontsize=7)
    axes.minorticks_off()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_yticks([round(value) for value in np.linspace(*axes.get_ylim(), 4)[1:-1]])
    axes.legend(fontsize=8, frameon=False)
    return figure


def of_batch() -> Figure:
    """Codes of a deterministic encoder without and with a penalty on the codes of a batch."""
    figure, axes = panels("reconstruction", "info-vae")
    for one, name in zip(axes, ("reconstruction", "info-vae"), strict=True):
        chosen = {} if name == "reconstruction" else {"prior": "standard-normal"}
        fitted = fit(posterior="deterministic", objective=name, latent_dim=2, **chosen)
        found = rx.encode(fitted, digits())
        dots(one, found, labels())
        angle = np.linspace(0, 2 * np.pi, 200)
        one.plot(2 * np.cos(angle), 2 * np.sin(angle), color="0.3", lw=0.8, ls="--")
    return figure


def refitted() -> Figure:
    """Samples of a deterministic autoencoder from one Normal, and from a prior that was fitted afterwards."""
    fitted = fit(posterior="deterministic", objective="reconstruction", latent_dim=8, epochs=80)
    better = rx.refit_prior(fitted, digits())
    assert better.recipe is not None
    figure, axes = panels("from one Normal", f"refitted: {better.recipe.name('prior')}")
    for one, model in zip(axes, (fitted, better), strict=True):
        pictures_of(one, rx.sample_means(model, 64, key=KEY), 8)
    return figure


def simplex() -> Figure:
    """Proportions of three, as points of a triangle."""
    figure, (axes,) = panels("dirichlet: three proportions", width=2.6)
    fitted = fit(posterior="dirichlet", latent_dim=3)
    found = rx.encode(fitted, digits())
    corners = np.array([[0, 0], [1, 0], [0.5, 0.87]])
    axes.fill(*corners.T, fill=False, ec="0.6", lw=0.8)
    dots(axes, found @ corners, labels())
    axes.set_aspect("equal")
    axes.axis("off")
    return figure


def save(figure: Figure, path: Path) -> None:
    """A picture of few colors, which is a small file."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110)
    few = (
        Image.open(drawn).convert("RGB").quantize(COUNT_OF_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    few.save(path, optimize=True)


PICTURES: dict[str, Callable[[], Figure]] = {
    function.__name__: function
    for function in (normal, priors, flows, layers, codes, curved, simplex, conditional, few_labels, counts, tables,
                     bounds, of_batch, refitted)
}  # fmt: skip


def main() -> None:
    """Draws the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)} (default: all)")
    chosen = parser.parse_args().names or list(PICTURES)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        save(PICTURES[name](), FOLDER / f"{name}.png")
        print(f"{name}: {(FOLDER / f'{name}.png').stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
