"""Anomaly scores on the tables of ADBench, beside IsolationForest, and what choosing the score on other tables gives.

The protocol is that of ADBench: tables of more than 10,000 rows are sampled to 10,000, those below 1000 resampled to
1000, split 70/30, and fitted without labels. All methods get the same rows. Every score in `SCORES` is computed from
the same fit, and the one that is best on all other tables is judged on each table in turn.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split

import reparax as rx
from reparax.applications._rows import importance_samples, map_with_samples
from reparax.data import read_as
from reparax.tables import NUM_PRIOR_DRAWS, _score, prior_draws

FIRST_TABLES = frozenset({
    "Hepatitis", "Ionosphere", "mammography", "PageBlocks", "Pima", "satimage-2", "shuttle", "thyroid", "vowels",
    "breastw", "campaign", "cardio",
})  # fmt: skip
"""The tables that the form of the score was first chosen on."""
SMALL, LARGE = 1000, 10_000
NUM_SAMPLES = 100
FOREST = "IsolationForest"

Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def with_logs(least: float, of_row: float) -> Score:
    """The sum over columns of log(1 + t / least) + log(1 + a / least) / 3, what exceeds 4 nats, and weight m.

    Args:
        least: The scale of the logarithm.
        of_row: The weight of m.
    """

    def score(t: np.ndarray, a: np.ndarray, m: np.ndarray) -> np.ndarray:
        logs = (np.log1p(t / least) + MARGINAL_WEIGHT * np.log1p(a / least)).mean(axis=1)
        gross = np.maximum((t + MARGINAL_WEIGHT * a).mean(axis=1) - _score.LARGE_SURPRISE, 0)
        return (logs + gross).sum(axis=1) + of_row * t.shape[2] * m

    return score


def without_logs(of_row: float) -> Score:
    """The sum over columns of t + a / 3, and weight m."""
    return lambda t, a, m: (t + MARGINAL_WEIGHT * a).mean(axis=1).sum(axis=1) + of_row * t.shape[2] * m


MARGINAL_WEIGHT = _score.MARGINAL_WEIGHT
WEIGHTS = {"0": 0.0, "1/2": 0.5, "1": 1.0, "2": 2.0}
SCORES: dict[str, Score] = {
    **{f"logs, scale {least:g}, weight {name}": with_logs(least, weight)
       for least in (0.01, 0.1, 1.0) for name, weight in WEIGHTS.items()},
    **{f"sums, weight {name}": without_logs(weight) for name, weight in WEIGHTS.items()},
}  # fmt: skip
"""Scores of rows from t and a of every radius and column, each of shape (rows, radii, columns), and m."""
DEFAULT = f"logs, scale {_score.LEAST_SURPRISE:g}, weight 1/2"
"""The score of the package."""


class _Surprises(eqx.Module):
    """t and a of one row, per radius and column, and m; hashable, so that it is compiled once."""

    def __call__(self, model: Any, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        z, _ = importance_samples(model, model.posterior(x), key, NUM_SAMPLES)
        prior_z = prior_draws(model.prior(model.posterior))
        found = _score.surprises(model.likelihood, model.likelihood.layout.value, x, z, prior_z)
        return found.joint, found.marginal, found.row.surprise


def anomalies(seeds: Iterable[int], folder: Path) -> None:
    """Prints ROC AUC and average precision of each table: means over seeds, and their spread."""
    seeds = list(seeds)
    results: dict[str, np.ndarray] = {}
    print(f"seeds {', '.join(map(str, seeds))}; ROC AUC and average precision, means over seeds\n")
    print(f"| table | rows | columns | ROC AUC | {FOREST} | average precision | {FOREST} | fit, s |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for path in sorted(folder.glob("*.npz")):
        name = path.stem.partition("_")[2]
        found = [_of_table(path, seed) for seed in seeds]
        results[name] = np.stack([figures for figures, _ in found])
        seconds = np.mean([seconds for _, seconds in found])
        (area, precision), (its_area, its_precision) = results[name].mean(axis=0)[[_place(DEFAULT), _place(FOREST)]]
        with np.load(path) as arrays:
            rows, columns = arrays["X"].shape
        print(
            f"| {name} | {rows:,} | {columns} | {area:.3f} | {its_area:.3f} "
            f"| {precision:.3f} | {its_precision:.3f} | {seconds:.0f} |",
            flush=True,
        )
    _summary(results)


def _place(name: str) -> int:
    return [*SCORES, FOREST].index(name)


def _of_table(path: Path, seed: int) -> tuple[np.ndarray, float]:
    """The figures of every score and of IsolationForest, shape (scores, 2), and the seconds of the fit."""
    with np.load(path) as arrays:
        values, is_anomaly = arrays["X"], arrays["y"]
    rows, rng = len(values), np.random.default_rng(seed)
    if not SMALL <= rows <= LARGE:
        chosen = rng.choice(rows, SMALL) if rows < SMALL else rng.choice(rows, LARGE, replace=False)
        values, is_anomaly = values[chosen], is_anomaly[chosen]
    train, test, _, truth = train_test_split(values, is_anomaly, test_size=0.3, stratify=is_anomaly, random_state=seed)
    began = time.perf_counter()
    fitted = rx.fit(train, trim=0.1, seed=seed)
    seconds = time.perf_counter() - began
    work = NUM_SAMPLES + NUM_PRIOR_DRAWS
    found = map_with_samples(_Surprises(), fitted, read_as(test, fitted.schema), work, 0)
    t, a, m = (np.maximum(values.astype(np.float64), 0) for values in found)
    scores = [score(t, a, m) for score in SCORES.values()]
    scores.append(-IsolationForest(random_state=seed).fit(train).score_samples(test))
    return np.array([(roc_auc_score(truth, one), average_precision_score(truth, one)) for one in scores]), seconds


def _summary(results: dict[str, np.ndarray]) -> None:
    """Means of every score over the tables, and those of the score that is best on the other tables.

    Args:
        results: For each table the figures, shape (seeds, scores, 2).
    """
    names = list(results)
    figures = np.stack([results[name] for name in names])  # (tables, seeds, scores, 2)
    first = np.array([name in FIRST_TABLES for name in names])
    print(f"\n| mean over {len(names)} tables | ROC AUC | average precision | first tables | others | most below |")
    print("|---|--:|--:|--:|--:|--:|")
    behind = figures[:, :, :, 0].mean(axis=1) - figures[:, :, [_place(FOREST)], 0].mean(axis=1)
    for place, score in enumerate([*SCORES, FOREST]):
        label = f"**{score}**" if score == DEFAULT else score
        print(f"| {label} | {_words(figures[:, :, place], behind[:, place], names, first)}")
    mean = figures[:, :, :-1].mean(axis=(1, 3))  # of both figures and all seeds, of each table and score
    best = [int(np.argmax(mean[np.arange(len(names)) != table].mean(axis=0))) for table in range(len(names))]
    left_out = np.stack([figures[table, :, place] for table, place in enumerate(best)])
    of_best = np.array([behind[table, place] for table, place in enumerate(best)])
    print(f"| chosen on all tables but the one it is judged on | {_words(left_out, of_best, names, first)}")
    chosen = sorted({list(SCORES)[place] for place in best}, key=lambda score: -best.count(_place(score)))
    print("\nchosen: " + "; ".join(f"{score} ({best.count(_place(score))} times)" for score in chosen))


def _words(figures: np.ndarray, behind: np.ndarray, names: list[str], first: np.ndarray) -> str:
    """Means over tables with the standard deviation over seeds; of some tables; the table furthest below the forest.

    Args:
        figures: Shape (tables, seeds, 2).
        behind: The difference of the ROC AUC to that of the forest, for each table.
        names: The tables.
        first: Which of them are among `FIRST_TABLES`.
    """
    by_seed = figures.mean(axis=0)
    spread = by_seed.std(axis=0, ddof=1) if len(by_seed) > 1 else np.zeros(2)
    cells = [f"{mean:.3f} ± {of_seeds:.3f}" for mean, of_seeds in zip(by_seed.mean(axis=0), spread, strict=True)]
    cells += [" / ".join(f"{mean:.3f}" for mean in figures[some].mean(axis=(0, 1))) if some.any() else ""
              for some in (first, ~first)]  # fmt: skip
    worst = int(np.argmin(behind))
    return " | ".join([*cells, f"{names[worst]} {behind[worst]:+.2f}"]) + " |"
