"""Imputation of tables of mixed kinds, with the data and the masks of HI-VAE.

Nazábal, Olmos, Ghahramani & Valera (2020), "Handling incomplete heterogeneous data using VAEs", section 6.1. The
paper's numbers were not at hand, so the published column is empty; means and modes of the observed cells stand beside.

Protocol: Wine (6,497 rows, 13 columns, red and white with the colour) and Adult (32,561 rows, 12 columns) of the
authors' repository with the first of their ten masks for 20 and 50 % of missing cells. The error is the paper's, of the
hidden cells, averaged over the columns: for numbers and counts the root mean square over the range of the column, for
categories the fraction that is wrong, for ordinal columns the mean absolute difference over the number of categories.
Ours is `rx.fit(table)` and `rx.impute(fitted, table)` with the recipe's own settings; the columns' kinds are inferred.

The data are not part of this repository: clone github.com/probabilistic-learning/HI-VAE and give its folder.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from record import Record, Row, by_seed, finish, parser

import reparax as rx

TABLES = ("Wine", "Adult")
PERCENT = (20, 50)


def read(folder: Path, name: str) -> tuple[pl.DataFrame, list[str]]:
    """A table, its categories as text, and the kinds of its columns."""
    kinds = pl.read_csv(folder / name / "data_types.csv")["type"].to_list()
    table = pl.read_csv(folder / name / "data.csv", has_header=False, new_columns=[f"x{j}" for j in range(len(kinds))])
    names = [column for column, kind in zip(table.columns, kinds, strict=True) if kind == "cat"]
    return table.with_columns(pl.format("c{}", pl.col(column)).alias(column) for column in names), kinds


def hidden(folder: Path, name: str, percent: int, shape: tuple[int, int]) -> np.ndarray:
    """The first mask of the authors: pairs of row and column, counted from 1."""
    places = np.loadtxt(folder / name / f"Missing{percent}_1.csv", delimiter=",", dtype=int) - 1
    mask = np.zeros(shape, bool)
    mask[places[:, 0], places[:, 1]] = True
    return mask


def error(filled: pl.DataFrame, table: pl.DataFrame, kinds: list[str], mask: np.ndarray) -> float:
    """The mean over the columns of the error of their hidden cells."""
    return float(np.mean([
        error_of(filled[name].to_numpy()[mask[:, j]], table[name].to_numpy()[mask[:, j]], kind, table[name])
        for j, (name, kind) in enumerate(zip(table.columns, kinds, strict=True)) if mask[:, j].any()
    ]))  # fmt: skip


def error_of(guess: np.ndarray, truth: np.ndarray, kind: str, column: pl.Series) -> float:
    if kind == "cat":
        return float(np.mean(guess != truth))
    differences = guess.astype(float) - truth.astype(float)
    values = column.to_numpy().astype(float)
    if kind.startswith("ord"):
        return float(np.mean(np.abs(differences)) / len(np.unique(values)))
    return float(np.sqrt(np.mean(differences**2)) / np.ptp(values))


def with_gaps(table: pl.DataFrame, mask: np.ndarray) -> pl.DataFrame:
    return table.select(
        pl.when(pl.Series(mask[:, j])).then(None).otherwise(pl.col(name)).alias(name)
        for j, name in enumerate(table.columns)
    )


def imputed(table: pl.DataFrame, kinds: list[str], mask: np.ndarray, seed: int) -> float:
    """The error of one fit."""
    gaps = with_gaps(table, mask)
    return error(rx.impute(rx.fit(gaps, seed=seed), gaps, seed=seed), table, kinds, mask)


def plain(table: pl.DataFrame, kinds: list[str], mask: np.ndarray) -> float:
    """The error of the mean of each column, and the mode of categories."""
    gaps = with_gaps(table, mask)
    filled = gaps.select(
        gaps[name].fill_null(gaps[name].drop_nulls().mode().sort()[0])
        if kind == "cat"
        else gaps[name].cast(pl.Float64).fill_null(gaps[name].mean())
        for name, kind in zip(table.columns, kinds, strict=True)
    )
    return error(filled, table, kinds, mask)


def measure(seeds: Sequence[int], folder: Path, names: tuple[str, ...] = TABLES) -> Record:
    rows = []
    for name in names:
        table, kinds = read(folder, name)
        for percent in PERCENT:
            mask = hidden(folder, name, percent, table.shape)
            found = by_seed(partial(imputed, table, kinds, mask), seeds)
            rows.append(Row(f"{name}, {percent} %", "", tuple(found), tuple(seeds), 4))
            rows.append(Row(f"{name}, {percent} %: means and modes", "", (plain(table, kinds, mask),), (0,), 4))
    return Record(tuple(rows))


def options() -> argparse.ArgumentParser:
    made = parser(__doc__, 1)
    made.add_argument("folder", type=Path, help="a clone of github.com/probabilistic-learning/HI-VAE")
    made.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    return made


def main() -> None:
    given = options().parse_args()
    finish("hi_vae", lambda: measure(given.seeds, given.folder, tuple(given.tables)), keep=given.keep)


if __name__ == "__main__":
    main()
