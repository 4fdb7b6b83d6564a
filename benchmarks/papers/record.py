"""What the scripts of papers have in common: the data, the rows of a table, their record as JSON, and the options."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import reparax as rx
from reparax.estimators.text_table import table

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
DATA = FOLDER.parents[2] / "shared" / "data"
HEADER = ("what", "published", "ours", "seeds")


@dataclass(frozen=True)
class Row:
    """One line of a table: ours beside the published number.

    Args:
        what: What is measured.
        published: The published number, or the exact one; empty if there is none.
        values: Ours, one for each seed.
        seeds: The seeds.
        digits: How many decimals of ours are shown.
    """

    what: str
    published: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    digits: int = 3

    @property
    def ours(self) -> str:
        """The mean, and the range over the seeds."""
        mean, low, high = (f"{f(self.values):.{self.digits}f}" for f in (np.mean, min, max))
        return mean if len(self.values) == 1 else f"{mean} ({low} to {high})"

    def cells(self) -> tuple[str, str, str, str]:
        """The cells of the line."""
        return self.what, self.published, self.ours, ", ".join(map(str, self.seeds))


@dataclass(frozen=True)
class Record:
    """The result of a script.

    Args:
        rows: Its table.
        notes: Sentences below the table.
        minutes: How long it took.
        settings: What was run, if the script can run several things.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    minutes: float = 0.0
    settings: str = ""

    def __str__(self) -> str:
        return "\n".join([table(HEADER, [row.cells() for row in self.rows]), "", *self.notes])

    def save(self, script: str) -> None:
        """Keeps it as ``results/SCRIPT.json``."""
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{script}.json").write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Record":
        """A record from its file."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(
            Row(**row | {"values": tuple(row["values"]), "seeds": tuple(row["seeds"])}) for row in kept["rows"]
        )
        return cls(**kept | {"rows": rows, "notes": tuple(kept["notes"])})


def timed(measure: Callable[[], Record]) -> Record:
    """A record with the minutes that it took."""
    began = time.perf_counter()
    found = measure()
    return Record(found.rows, found.notes, round((time.perf_counter() - began) / 60, 1), found.settings)


def parser(text: str | None, seeds: int) -> argparse.ArgumentParser:
    """Options that every script has."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--seeds", type=int, nargs="+", default=list(range(seeds)), help="the seeds (default: %(default)s)"
    )
    made.add_argument("--keep", action="store_true", help="keep the result for docs/papers.md")
    return made


def finish(script: str, measure: Callable[[], Record], *, keep: bool) -> None:
    """Measures, prints, and keeps the result if asked to."""
    found = timed(measure)
    print(found)
    if keep:
        found.save(script)


def mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(n, 28, 28, 1)`` of 0 to 255, and labels; ``part`` is ``"train"`` or ``"t10k"``."""
    folder = DATA / "mnist"
    found = rx.read(
        folder / f"{part}-images-idx3-ubyte.gz", label=folder / f"{part}-labels-idx1-ubyte.gz"
    )  # fmt: skip
    assert found.labels is not None
    return np.asarray(found.values), np.asarray(found.labels).astype(int)


def by_seed(measure: Callable[[int], Any], seeds: Sequence[int]) -> list[Any]:
    """What a function of the seed gives, with progress on the way."""
    found = []
    for seed in seeds:
        found.append(measure(seed))
        print(f"seed {seed}: {found[-1]}", flush=True)
    return found
