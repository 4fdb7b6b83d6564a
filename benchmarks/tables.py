"""How good models of tables are, and how fast, on real data without any options; `docs/tables.md` quotes the results.

python benchmarks/tables.py anomalies    the tables of shared/data/adbench beside IsolationForest, with three seeds
python benchmarks/tables.py synthetic    rows drawn from fits to 80 % of five tables, compared with the other 20 %
python benchmarks/tables.py private      the price of differential privacy, for two tables (half an hour and more)
python benchmarks/tables.py imputation   hidden cells of eleven tables beside three other methods, three seeds each
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
from imputation import print_imputation
from synthetic_rows import print_all, print_private

import reparax as rx

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NUM_SEEDS = 3


def synthetic(seed: int) -> None:
    """Eleven tables with three seeds each, by `synthetic_rows.Measures`; and how fast rows are drawn."""
    print_all(DATA / "tables", range(seed, seed + NUM_SEEDS))
    fitted = rx.fit(pl.read_csv(DATA / "tables" / "adult.csv"), epochs=2, seed=seed)
    rx.sample(fitted, 10_000, key=jax.random.key(seed))
    began = time.perf_counter()
    rx.sample(fitted, 10_000, key=jax.random.key(seed + 1))
    print(f"10,000 rows of adult drawn in {time.perf_counter() - began:.2f} s")


def private(seed: int) -> None:
    """Private fits of two tables, by measures of synthetic rows; that of the real rows in brackets."""
    print_private(DATA / "tables", seed)


def imputation(seed: int) -> None:
    """Eleven tables with three seeds each, by `imputation.METHODS`."""
    print_imputation(DATA / "tables", range(seed, seed + NUM_SEEDS))


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
    jobs = {job.__name__: job for job in (anomalies, synthetic, private, imputation, speed)}
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
