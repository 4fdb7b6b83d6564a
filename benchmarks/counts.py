"""Held-out bounds of the likelihoods of counts, with three seeds; `docs/counts.md` quotes the results.

python benchmarks/counts.py [FILE ...]    files of counts (.h5ad, .loom, ...); by default those of shared/data/counts,
                                          or else made-up cells
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import reparax as rx
from reparax.data import Dataset, split

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "counts"
LIKELIHOODS = (
    ("poisson", "none"),
    ("negative-binomial", "none"),
    ("zero-inflated-negative-binomial", "none"),
    ("poisson", "latent"),
    ("negative-binomial", "observed"),
    ("zero-inflated-negative-binomial", "observed"),
)
NUM_SEEDS = 3
TESTED = 0.2


def made_up() -> np.ndarray:
    """2000 cells of six types, 150 genes, from negative binomial counts without additional zeros."""
    rng = np.random.default_rng(0)
    profiles = np.exp(rng.normal(-0.5, 1.2, 150) + rng.normal(size=(6, 150)) * (rng.random((6, 150)) < 0.3))
    mean = profiles[rng.integers(0, 6, 2000)] * rng.lognormal(0.0, 0.6, (2000, 1))
    return rng.negative_binomial(2.0, 2.0 / (2.0 + mean))


def bounds(whole: Dataset, likelihood: str, size: str, epochs: int | None) -> list[float]:
    """The importance-weighted bounds with 50 samples on a fifth of the rows, for each seed."""
    found = []
    for seed in range(NUM_SEEDS):
        part, rest = split(whole, TESTED, seed)
        chosen: dict[str, Any] = {"epochs": epochs} if epochs else {}
        part_of = {"name": likelihood, "library_size": size}
        fitted = rx.fit(part, likelihood=part_of, seed=seed, **chosen)
        found.append(rx.evaluate(fitted, rest, num_samples=50).iwae)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--epochs", type=int)
    arguments = parser.parse_args()
    files = arguments.files or (sorted(DATA.glob("*")) if DATA.is_dir() else [])
    sources = {path.name: rx.read(path) for path in files} or {"made up": rx.read(made_up())}
    print("| counts | likelihood | size | bound, nats (three seeds) |\n|---|---|---|--:|")
    for name, whole in sources.items():
        for likelihood, size in LIKELIHOODS:
            numbers = bounds(whole, likelihood, size, arguments.epochs)
            size_of = f"{len(whole)} x {whole.schema.event_shape[0]}"
            shown = f"{np.mean(numbers):.2f} ± {np.std(numbers, ddof=1):.2f}"
            print(f"| {name}, {size_of} | {likelihood} | {size} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
