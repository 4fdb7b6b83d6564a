"""Codes of a codebook: held-out bounds before and after a refit of the prior, perplexity and dead codes.

A fifth of the rows takes part in no choice: neither when training stops, nor which prior is fitted to the codes.
`docs/codes.md` quotes the results. The defaults of the posteriors were chosen on the digits.

python benchmarks/codes.py [SEEDS]
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import reparax as rx
from reparax.applications import code_use
from reparax.data import Dataset, split
from reparax.posteriors.codes import CodePosterior

WINE = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables" / "winequality-white.csv"
TESTED = 0.2
FITS: tuple[dict[str, Any], ...] = (
    {"posterior": "fsq"},
    {"posterior": "fsq", "latent_dim": 4},
    {"posterior": "vq"},
    {"posterior": "vq", "latent_dim": 4},
    {"posterior": "residual-vq"},
    {"posterior": "categorical-codebook"},
    {"posterior": "categorical-codebook", "latent_dim": 4},
    {"posterior": "categorical"},
    {"posterior": "diagonal-normal"},
)


def datasets() -> Iterator[tuple[str, Dataset]]:
    yield "digits", rx.read("builtin:digits")
    if WINE.exists():
        yield "winequality-white", rx.read(pl.read_csv(WINE, has_header=False))


def measured(data: Dataset, seed: int, chosen: dict[str, Any]) -> tuple[list[float], str]:
    """The bound on tested rows, the same after the refit, the KL before and after; and how codes are used."""
    rest, tested = split(data, TESTED, 1000 + seed)
    fitted = rx.fit(rest, seed=seed, **chosen)
    refitted = rx.refit_prior(fitted, rest, seed=seed)
    found = [rx.evaluate(one, tested) for one in (fitted, refitted)]
    used = f"{fitted.recipe.latent_dim if fitted.recipe else 0} latent"
    if isinstance(fitted.model.posterior, CodePosterior):
        use = code_use(fitted, rest)
        perplexity = ", ".join(f"{value:.0f}" for value in use.perplexity)
        used += f"; perplexity {perplexity} of {use.num_codes}; dead {', '.join(map(str, use.dead.tolist()))}"
    values = [found[0].elbo, found[1].elbo, found[0].kl, found[1].kl, found[0].reconstruction, found[0].iwae]
    name = refitted.recipe.name("prior") if refitted.recipe else ""
    return [float("nan") if value is None else value for value in values], f"{used}; {name}"


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for name, data in datasets():
        print(f"{name}: ELBO, after the refit, KL, after the refit, reconstruction, IWAE; standard errors over seeds")
        for chosen in FITS:
            runs = [measured(data, seed, chosen) for seed in range(seeds)]
            values = np.asarray([run[0] for run in runs])
            error = values.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.zeros(values.shape[1])
            figures = "  ".join(
                f"{mean:8.2f} ({sem:.2f})" for mean, sem in zip(values.mean(axis=0), error, strict=True)
            )
            print(f"{chosen!s:62} {figures}   first seed: {runs[0][1]}", flush=True)


if __name__ == "__main__":
    main()
