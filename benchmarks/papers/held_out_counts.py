"""Counts of genes in single cells, held out: negative binomial against zero-inflated negative binomial.

Lopez, Regier, Cole, Jordan & Yosef (2018), "Deep generative modeling for single-cell transcriptomics" (scVI), model
counts by a zero-inflated negative binomial distribution. Its tables are of other data, so the published column is
empty, and rows are compared with one another.

Protocol: a fifth of the cells is held out, the same for all likelihoods, others for each seed; ours is the
importance-weighted bound with 50 samples on them, in nats a cell, of `rx.fit` with the recipe's own settings otherwise.
"Size" is how the number of molecules of a cell enters: not at all, as a Gamma variable that is integrated out, or as
the total of the cell (a bound on the former, which understates it by a few nats).

The cells are not part of this repository: `mpfc-starmap.loom` (mouse cortex, STARmap) and `smfish.h5ad` (mouse cortex,
osmFISH) are in github.com/YosefLab/scVI-data. Any other file of counts that `reparax` reads can be given.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from record import Record, Row, by_seed, finish, parser

import reparax as rx
from reparax.data import Dataset, split

LIKELIHOODS = (
    ("poisson", "none"),
    ("poisson", "latent"),
    ("negative-binomial", "none"),
    ("negative-binomial", "observed"),
    ("zero-inflated-negative-binomial", "none"),
    ("zero-inflated-negative-binomial", "observed"),
)
TESTED = 0.2
NUM_SAMPLES = 50


def bound(whole: Dataset, likelihood: str, size: str, chosen: dict[str, Any], seed: int) -> float:
    """The importance-weighted bound on a fifth of the rows, in nats."""
    part, rest = split(whole, TESTED, seed)
    fitted = rx.fit(part, likelihood={"name": likelihood, "library_size": size}, seed=seed, **chosen)
    found = rx.evaluate(fitted, rest, num_samples=NUM_SAMPLES).iwae
    assert found is not None
    return found


def measure(seeds: Sequence[int], sources: dict[str, Any], **chosen: Any) -> Record:
    """The bounds of every likelihood on every source.

    Args:
        seeds: Seeds of the split and the fit.
        sources: Names, and what `rx.read` reads.
        **chosen: Settings of the fits.
    """
    rows, notes = [], []
    for name, source in sources.items():
        whole = rx.read(source)
        notes.append(f"{name}: {len(whole):,} cells, {whole.schema.event_shape[0]} genes.")
        for likelihood, size in LIKELIHOODS:
            found = by_seed(partial(bound, whole, likelihood, size, chosen), seeds)
            rows.append(Row(f"{name}, {likelihood}, size: {size}", "", tuple(found), tuple(seeds), 2))
    return Record(tuple(rows), tuple(notes))


def options() -> argparse.ArgumentParser:
    made = parser(__doc__, 3)
    made.add_argument("files", nargs="+", type=Path, help="files of counts (.h5ad, .loom, ...)")
    return made


def main() -> None:
    given = options().parse_args()
    sources = {path.stem: path for path in given.files}
    finish("held_out_counts", lambda: measure(given.seeds, sources), keep=given.keep)


if __name__ == "__main__":
    main()
