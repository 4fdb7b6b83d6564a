"""Many models at once: a sweep beside one fit after another, and an ensemble beside its members; on real tables.

python benchmarks/many.py sweep        16 models of width 64 on a small table, beside 16 fits in the same process
python benchmarks/many.py ensemble     an ensemble of 4 beside one fit: seconds, imputation of 20 % hidden cells
python benchmarks/many.py anomalies    the scores of an ensemble of 4 beside those of its first member

Ratios are within one run. Each job is a process of its own, so that nothing is compiled before.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from imputation import MEMBERS, errors, tables, without
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split

import reparax as rx

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MODELS, WIDTH = 16, 64
ANOMALIES = ("cardio", "Pima", "vowels")
"""Three of the tables on which the anomaly score was chosen: their figures say what an ensemble adds, not how good the
score is elsewhere."""


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds of a call, and what it gave."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def without_header(name: str) -> pl.DataFrame:
    return pl.read_csv(DATA / "tables" / f"{name}.csv", has_header=False)


def sweep(seed: int) -> None:
    """A new process compiles; the second time in it, nothing is compiled."""
    table = without_header("german")
    settings = [{"seed": seed + number} for number in range(MODELS)]
    first, _ = timed(lambda: rx.fit(table, width=WIDTH, **settings[0]))
    again, _ = timed(lambda: [rx.fit(table, width=WIDTH, **each) for each in settings[1:4]])
    many, _ = timed(lambda: rx.fit_many(table, settings, width=WIDTH))
    many_again, _ = timed(lambda: rx.fit_many(table, settings, width=WIDTH))
    compiled = again / 3
    print(f"one fit {first:.1f} s with compilation, {compiled:.1f} s without")
    print(f"{MODELS} at once: {many:.1f} s with compilation, {many_again:.1f} s without")
    print(f"of {MODELS} runs that each compile: {many / (MODELS * first):.2f}")
    print(f"of {MODELS} runs that are compiled: {many_again / (MODELS * compiled):.2f}")


def ensemble(seed: int) -> None:
    """Imputation by one fit and by an ensemble, as `imputation.errors` measures it, and the time of both."""
    print("| table | seed | model | RMSE of numbers | accuracy of categories | fit, s |\n|---|--:|---|--:|--:|--:|")
    known = tables(DATA / "tables", seed)
    for name in ("german credit", "white wine"):
        table, fraction = known[name]
        hidden = np.random.default_rng(seed).random(table.shape) < fraction
        cut = without(table, hidden)
        one_seconds, one = timed(lambda cut=cut: rx.fit(cut, seed=seed))
        seconds, together = timed(lambda cut=cut: rx.fit(cut, seed=seed, ensemble=MEMBERS))
        rows = [("one", one, one_seconds), (f"ensemble of {MEMBERS}", together, seconds)]
        for words, fitted, took in rows:
            filled = rx.impute(fitted, cut, seed=seed)
            error, accuracy = errors(table, hidden, [column.to_numpy() for column in filled.get_columns()])
            print(f"| {name} | {seed} | {words} | {error:.3f} | {accuracy:.3f} | {took:.0f} |", flush=True)
        print(f"| {name} | {seed} | ratio | | | {seconds / one_seconds:.2f} |", flush=True)


def anomalies(seed: int) -> None:
    """ROC AUC and average precision of the rows that were not fitted to."""
    print("| table | seed | one | ensemble | its average precision | of the ensemble |\n|---|--:|--:|--:|--:|--:|")
    for path in sorted((DATA / "adbench").glob("*.npz")):
        name = path.stem.partition("_")[2]
        if name not in ANOMALIES:
            continue
        with np.load(path) as arrays:
            values, labels = arrays["X"], arrays["y"]
        train, test, _, truth = train_test_split(values, labels, test_size=0.3, stratify=labels, random_state=seed)
        fitted = rx.fit(train, trim=0.1, seed=seed, ensemble=MEMBERS)
        scores = [rx.score(each, test).anomaly_score for each in (fitted.members[0], fitted)]
        areas, precisions = ([measure(truth, score) for score in scores]
                             for measure in (roc_auc_score, average_precision_score))  # fmt: skip
        print(f"| {name} | {seed} | {areas[0]:.3f} | {areas[1]:.3f} | {precisions[0]:.3f} | {precisions[1]:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = {job.__name__: job for job in (sweep, ensemble, anomalies)}
    parser.add_argument("job", nargs="?", choices=jobs, help="what to measure (default: all)")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    if options.job is not None:
        jobs[options.job](options.seed)
        return
    for name in jobs:
        print(f"\n{name}\n", flush=True)
        subprocess.run([sys.executable, __file__, name, "--seed", str(options.seed)], check=True)


if __name__ == "__main__":
    main()
