"""Fits to files that are read in blocks, beside fits to the same files in memory: seconds and peak memory.

python benchmarks/streams.py

Each fit is a process of its own, of a small network, so that reading counts. "Cold" is after the pages of the file were
dropped from the cache of the system, as far as it lets a user do that. Training is the time from the second look at the
held-out data to the last one, so that it has no compilation; ratios are within one run.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

ROWS, COLUMNS, EPOCHS, REPEATS = 1_000_000, 20, 1, 3
JOB = """
import json, resource, sys, time
began = time.perf_counter()
import reparax as rx
path, memory, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
fitted = rx.fit(path, memory=memory, epochs=epochs, likelihood="normal", relations="none", prior="standard-normal",
                width=64, depth=1)
first, last = fitted.history[1], fitted.history[-1]
print(json.dumps({
    "wall": time.perf_counter() - began,
    "training": (last.seconds - first.seconds) / (last.step - first.step) * 1e3,
    "outside": last.outside,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    "bound": last.valid["bound"],
}))
"""


def written(folder: Path) -> list[Path]:
    """The same rows as an array and as a table."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(ROWS, 4))
    x = (np.tanh(z @ rng.normal(size=(4, COLUMNS))) + 0.3 * rng.normal(size=(ROWS, COLUMNS))).astype(np.float32)
    np.save(folder / "rows.npy", x)
    pl.DataFrame(x, schema=[f"c{place}" for place in range(COLUMNS)]).write_parquet(
        folder / "rows.parquet", row_group_size=20_000
    )
    return [folder / "rows.npy", folder / "rows.parquet"]


def forgotten(path: Path) -> None:
    """Asks the system to drop the pages of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fitted(path: Path, memory: str) -> dict[str, float]:
    """What a fit in a process of its own took."""
    command = [sys.executable, "-W", "ignore", "-c", JOB, str(path), memory, str(EPOCHS)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(path: Path, *, is_cold: bool) -> None:
    """Prints the figures of a file in blocks and in memory, each several times in turn."""
    found: dict[str, list[dict[str, float]]] = {"1MB": [], "100GB": []}
    for _ in range(REPEATS):
        for memory, each in found.items():
            if is_cold:
                forgotten(path)
            each.append(fitted(path, memory))
    blocks, whole = found.values()
    for name in ("wall", "training", "peak"):
        ratios = sorted(one[name] / other[name] for one, other in zip(blocks, whole, strict=True))
        middle = [median(each[name] for each in side) for side in (blocks, whole)]
        unit = {"wall": "s", "training": "ms a step", "peak": "GB"}[name]
        print(
            f"{path.suffix[1:]:8} {'cold' if is_cold else 'warm'}  {name:8} blocks {middle[0]:.3g} {unit}, memory "
            f"{middle[1]:.3g} {unit}; ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    print(f"         held-out bounds {blocks[0]['bound']:.2f} and {whole[0]['bound']:.2f} nats (other rows held out)")


def main() -> None:
    """Compares arrays and tables, warm and cold."""
    with tempfile.TemporaryDirectory() as folder:
        for path in written(Path(folder)):
            for is_cold in (False, True):
                compare(path, is_cold=is_cold)


if __name__ == "__main__":
    main()
