"""How good models of tables are, and how fast, on real data without any options; `docs/tables.md` quotes the results.

python benchmarks/tables.py anomalies    the tables of shared/data/adbench beside IsolationForest, with three seeds
python benchmarks/tables.py synthetic    adult: rows drawn from a fit to 80 %, compared with the other 20 %
python benchmarks/tables.py imputation   20 % of the cells hidden at random (50 % of breast cancer)
python benchmarks/tables.py speed        rows scored and drawn per second
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import polars as pl
from anomaly_scores import anomalies
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

import reparax as rx
from reparax.reports.study import associations, distance

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
HIDDEN = 0.2


def synthetic(seed: int) -> None:
    """Train on synthetic rows and test on real ones; and whether a classifier can separate them."""
    table = pl.read_csv(DATA / "tables" / "adult.csv")
    order = np.random.default_rng(seed).permutation(len(table))
    cut = int(0.8 * len(table))
    train, test = table[order[:cut]], table[order[cut:]]
    began = time.perf_counter()
    fitted = rx.fit(train, seed=seed)
    seconds = time.perf_counter() - began
    drawn = rx.sample(fitted, len(train), key=jax.random.key(seed))
    began = time.perf_counter()
    rx.sample(fitted, 10_000, key=jax.random.key(seed + 1))
    drawing = time.perf_counter() - began
    schema = rx.read(train).schema
    encoded = [rx.data.read_as(frame, schema).values.astype(np.float64) for frame in (drawn, train, test)]
    target = [column.name for column in schema.columns].index(table.columns[-1])
    categories = [index for index, column in enumerate(schema.columns) if column.is_category and index != target]
    synthetic_rows, train_rows, test_rows = encoded
    useful, possible = (_area(rows, test_rows, target, categories) for rows in (synthetic_rows, train_rows))
    columns = schema.columns
    distances = [
        distance(test_rows[:, index], synthetic_rows[:, index], column) for index, column in enumerate(columns)
    ]
    pairs = np.tril_indices(len(columns), -1)
    of_real, of_synthetic, of_train = (
        associations(rows, columns)[pairs] for rows in (test_rows, synthetic_rows, train_rows)
    )
    separability = _separability(synthetic_rows, test_rows, [*categories, target])
    print(f"fit {seconds:.0f} s; 10,000 rows drawn in {drawing:.2f} s")
    print(f"train on synthetic, test on real: ROC AUC {useful:.3f} (real {possible:.3f})")
    print(f"mean distance of columns {np.mean(distances):.4f}")
    print(f"a classifier separates synthetic from real: ROC AUC {separability:.3f}")
    difference, by_chance = np.abs(of_real - of_synthetic).mean(), np.abs(of_real - of_train).mean()
    print(f"mean difference of associations {difference:.4f} (of the training rows {by_chance:.4f})")
    copies = len(drawn.join(train.unique(), on=train.columns, how="semi")) / len(drawn)
    real = len(test.join(train.unique(), on=train.columns, how="semi")) / len(test)
    print(f"exact copies of training rows {100 * copies:.2f} % (of the hold-out {100 * real:.2f} %)")


def _area(train: np.ndarray, test: np.ndarray, target: int, categories: list[int]) -> float:
    names = [index for index in range(train.shape[1]) if index != target]
    places = [names.index(index) for index in categories]
    model = HistGradientBoostingClassifier(categorical_features=places, random_state=0)
    model.fit(train[:, names], train[:, target])
    return float(roc_auc_score(test[:, target], model.predict_proba(test[:, names])[:, 1]))


def _separability(synthetic: np.ndarray, real: np.ndarray, categories: list[int]) -> float:
    count = min(len(synthetic), len(real))
    rows = np.concatenate([synthetic[:count], real[:count]])
    which = np.repeat([0, 1], count)
    model = HistGradientBoostingClassifier(categorical_features=sorted(categories), random_state=0)
    return float(roc_auc_score(which, cross_val_predict(model, rows, which, cv=3, method="predict_proba")[:, 1]))


def imputation(seed: int) -> None:
    """RMSE over the standard deviation of each numeric column, and the accuracy of categories."""
    tables = {
        "winequality-white": (pl.read_csv(DATA / "tables" / "winequality-white.csv", has_header=False), HIDDEN),
        "adult, 10,000 rows": (pl.read_csv(DATA / "tables" / "adult.csv").sample(10_000, seed=seed), HIDDEN),
        "mpg": (pl.read_csv(DATA / "tables" / "mpg.csv").drop("name").drop_nulls(), HIDDEN),
        "breast cancer": (pl.DataFrame(load_breast_cancer().data), 0.5),
    }
    print("| table | hidden | RMSE of numbers | accuracy of categories | fit, s |\n|---|--:|--:|--:|--:|")
    for name, (table, fraction) in tables.items():
        hidden = np.random.default_rng(seed).random(table.shape) < fraction
        cut = table.with_columns(
            pl.when(pl.Series(hidden[:, index])).then(None).otherwise(pl.col(column)).alias(column)
            for index, column in enumerate(table.columns)
        )
        began = time.perf_counter()
        fitted = rx.fit(cut, seed=seed)
        seconds = time.perf_counter() - began
        filled = rx.impute(fitted, cut, seed=seed)
        squares, right = [], []
        for index, column in enumerate(table.columns):
            truth, guess = table[column].to_numpy(), filled[column].to_numpy()
            where = hidden[:, index]
            if table[column].dtype.is_numeric():
                squares.append((((truth - guess.astype(float)) / truth.std())[where]) ** 2)
            else:
                right.append(truth[where] == guess[where])
        error = np.sqrt(np.concatenate(squares).mean())
        accuracy = f"{np.mean([some.mean() for some in right]):.3f}" if right else ""
        print(f"| {name} | {fraction:.0%} | {error:.3f} | {accuracy} | {seconds:.0f} |", flush=True)


def speed(seed: int) -> None:
    """A million rows of 20 columns, one importance sample each."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((1_000_000, 20), np.float32)
    rows += rng.standard_normal((1_000_000, 5), np.float32) @ rng.standard_normal((5, 20), np.float32)
    fitted = rx.fit(rows[:50_000], epochs=2, seed=seed)
    rx.score(fitted, rows[:5000], num_samples=1)
    began = time.perf_counter()
    rx.score(fitted, rows, num_samples=1)
    seconds = time.perf_counter() - began
    rx.sample(fitted, 10, key=jax.random.key(0))
    began_drawing = time.perf_counter()
    rx.sample(fitted, 10_000, key=jax.random.key(0))
    drawing = time.perf_counter() - began_drawing
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(rows) / seconds:,.0f} rows scored per second (K = 1), {most:.2f} GiB at most")
    print(f"10,000 rows drawn in {drawing:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = {job.__name__: job for job in (anomalies, synthetic, imputation, speed)}
    parser.add_argument("jobs", nargs="*", help=f"what to measure, of {', '.join(jobs)} (default: all)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from --seed on (anomalies only)")
    options = parser.parse_args()
    if unknown := [name for name in options.jobs if name not in jobs]:  # argparse choices refuse an empty list
        parser.error(f"no such job: {', '.join(unknown)}; there are {', '.join(jobs)}")
    chosen = options.jobs or [*jobs]
    for name in chosen:
        if len(chosen) > 1:  # separate processes, to measure the memory of each
            given = ["--seed", str(options.seed), "--seeds", str(options.seeds)]
            subprocess.run([sys.executable, __file__, name, *given], check=True)
        else:
            print(f"\n{name}\n", flush=True)
            if name == "anomalies":
                anomalies(range(options.seed, options.seed + options.seeds), DATA / "adbench")
            else:
                jobs[name](options.seed)


if __name__ == "__main__":
    main()
