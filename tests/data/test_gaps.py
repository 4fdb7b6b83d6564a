"""Whether gaps depend on the row: found where they do, hardly ever where they do not."""

import numpy as np
import polars as pl
import pytest

from reparax.data import read

ROWS = 300


def cells(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Numbers of several kinds, and frequent and rare categories."""
    return {
        "x": rng.normal(size=ROWS),
        "y": rng.lognormal(size=ROWS),
        "die": rng.integers(0, 6, ROWS).astype(float),
        "spiked": np.where(rng.random(ROWS) < 0.6, 0.0, rng.normal(size=ROWS)),
        "group": rng.choice(["a", "b", "c"], ROWS, p=[0.5, 0.3, 0.2]),
        "town": rng.choice([f"t{i}" for i in range(40)], ROWS, p=np.arange(1, 41) / 820),
    }


def table(columns: dict[str, np.ndarray], gone: dict[str, np.ndarray]) -> pl.DataFrame:
    series = (pl.Series(name, values.tolist()) for name, values in columns.items())
    return pl.DataFrame([one.set(pl.Series(gone[one.name]), None) if one.name in gone else one for one in series])


def found(frame: pl.DataFrame) -> dict[str, bool]:
    return {column.name: column.missing_depends for column in read(frame).schema.columns}


def test_gaps_anywhere_are_hardly_ever_called_dependent():
    """In 150 tables with gaps from one in three hundred rows to nearly all, at a level of 1 % for each table."""
    wrong = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        columns = cells(rng)
        shares = rng.choice([0.004, 0.02, 0.2, 0.5, 0.9, 0.985], len(columns))
        gone = {name: rng.random(ROWS) < share for name, share in zip(columns, shares, strict=True)}
        wrong += sum(found(table(columns, gone)).values())
    assert wrong <= 6


@pytest.mark.parametrize(
    ("depends", "share"),
    [
        (lambda c: c["group"] == "c", 0.5),
        (lambda c: c["town"] == "t20", 1.0),
        (lambda c: c["x"] > 0.5, 0.3),
        (lambda c: np.abs(c["x"]) > 1, 0.5),
        (lambda c: c["die"] != 3, 0.7),
    ],
    ids=["category", "rare category", "large numbers", "numbers at both ends", "a level"],
)
def test_gaps_that_follow_from_another_column_are_found(depends, share):
    rng = np.random.default_rng(7)
    columns = cells(rng)
    gone = {"y": depends(columns) & (rng.random(ROWS) < share), "spiked": rng.random(ROWS) < 0.2}
    assert found(table(columns, gone)) == dict.fromkeys(columns, False) | {"y": True}


def test_gaps_that_follow_from_other_gaps_are_found():
    rng = np.random.default_rng(7)
    columns, first = cells(rng), rng.random(ROWS) < 0.2
    gone = {"x": first, "group": first & (rng.random(ROWS) < 0.8)}
    assert found(table(columns, gone)) == dict.fromkeys(columns, False) | {"x": True, "group": True}
