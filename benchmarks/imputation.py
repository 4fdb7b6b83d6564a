"""Hidden cells imputed by reparax, ensembles, chained regressions, chained forests and nearest neighbors, in one run.

All methods get the same cells. Whole numbers are read as real numbers, as the other methods give expected numbers; in a
column of whole numbers reparax rounds them, which costs much where there are few different ones. The job ``imputation``
of `tables.py` prints it.
"""

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer

import reparax as rx

HIDDEN = 0.2
ADBENCH = ("annthyroid", "cardio", "Cardiotocography", "pendigits", "thyroid", "Waveform")
"""Tables in which nothing of the imputation was chosen; those of the other names were in view."""
ROWS_OF_ADBENCH = 2000
MEMBERS = 4
MOST_ROWS_OF_ENSEMBLES = 5000
ROUNDS, TREES = 3, 100


def tables(folder: Path, seed: int) -> dict[str, tuple[pl.DataFrame, float]]:
    """The tables by name, and the fraction of their cells to hide."""
    german = pl.read_csv(folder / "german.csv", has_header=False)
    german = german.with_columns(pl.col(german.columns[-1]).replace_strict({1: "good", 2: "bad"}))
    known = {
        "german credit": (german, HIDDEN),
        "white wine": (pl.read_csv(folder / "winequality-white.csv", has_header=False), HIDDEN),
        "mpg": (pl.read_csv(folder / "mpg.csv").drop("name").drop_nulls(), HIDDEN),
        "breast cancer": (pl.DataFrame(load_breast_cancer().data), 0.5),
        "adult, 10,000 rows": (pl.read_csv(folder / "adult.csv").sample(10_000, seed=seed), HIDDEN),
    }
    known |= {name: (_of_adbench(folder.parent / "adbench", name), HIDDEN) for name in ADBENCH}
    numbers = pl.selectors.integer().cast(pl.Float64)
    return {name: (table.with_columns(numbers), fraction) for name, (table, fraction) in known.items()}


def _of_adbench(folder: Path, name: str) -> pl.DataFrame:
    """Up to 2,000 rows of a table for finding anomalies, without their labels and constant columns."""
    with np.load(next(folder.glob(f"*_{name}.npz"))) as arrays:
        rows = arrays["X"].astype(float)
    if len(rows) > ROWS_OF_ADBENCH:
        rows = rows[np.random.default_rng(0).choice(len(rows), ROWS_OF_ADBENCH, replace=False)]
    rows = rows[:, rows.std(axis=0) > 0]
    return pl.DataFrame({f"c{place}": column for place, column in enumerate(rows.T)})


@dataclass(frozen=True)
class Matrix:
    """A table as numbers: a column for each number, standardized, and one for each category.

    Attributes:
        values: The numbers, NaN where missing.
        places: For each column of the table its first column here.
        categories: For each column of the table its categories; none of numbers.
        scales: For each column of the table its mean and standard deviation.
    """

    values: np.ndarray
    places: list[int]
    categories: list[list[str]]
    scales: list[tuple[float, float]]

    @classmethod
    def of(cls, table: pl.DataFrame) -> "Matrix":
        """That of a table."""
        parts, places, categories, scales = [], [], [], []
        for column in table.get_columns():
            places.append(sum(part.shape[1] for part in parts))
            missing = column.is_null().to_numpy()
            if column.dtype.is_numeric():
                numbers = column.to_numpy().astype(float)
                mean, std = np.nanmean(numbers), np.nanstd(numbers)
                parts.append(((numbers - mean) / std)[:, None])
                categories.append([])
                scales.append((mean, std))
                continue
            known = sorted(column.drop_nulls().unique().to_list())
            of_each = np.stack([(column == one).fill_null(value=False).to_numpy() for one in known], axis=1).astype(
                float
            )
            of_each[missing] = np.nan
            parts.append(of_each)
            categories.append(known)
            scales.append((0.0, 1.0))
        return cls(np.concatenate(parts, axis=1), places, categories, scales)

    def column(self, values: np.ndarray, index: int) -> np.ndarray:
        """A column of the table, from a matrix without gaps."""
        first, known = self.places[index], self.categories[index]
        if not known:
            mean, std = self.scales[index]
            return values[:, first] * std + mean
        return np.asarray(known)[values[:, first : first + len(known)].argmax(axis=1)]


def by_sklearn(imputer: IterativeImputer | KNNImputer) -> Callable[[pl.DataFrame, int], list[np.ndarray]]:
    """The columns as an imputer of scikit-learn fills them."""

    def filled(table: pl.DataFrame, seed: int) -> list[np.ndarray]:
        matrix = Matrix.of(table)
        if isinstance(imputer, IterativeImputer):
            imputer.set_params(random_state=seed)
        values = imputer.fit_transform(matrix.values)
        return [matrix.column(values, index) for index in range(table.width)]

    return filled


def by_forests(table: pl.DataFrame, seed: int) -> list[np.ndarray]:
    """The columns as chained random forests fill them: Stekhoven & Buehlmann (2012), with a fixed number of rounds."""
    codes, texts = [], []
    for column in table.get_columns():
        known = [] if column.dtype.is_numeric() else sorted(column.drop_nulls().unique().to_list())
        texts.append(np.asarray(known))
        numbers = (
            column if not known else column.replace_strict(known, list(range(len(known))), return_dtype=pl.Float64)
        )
        codes.append(numbers.to_numpy().astype(float))
    values, missing = np.stack(codes, axis=1), np.isnan(np.stack(codes, axis=1))
    for index in range(values.shape[1]):
        seen = values[~missing[:, index], index]
        first = float(np.bincount(seen.astype(int)).argmax()) if len(texts[index]) else seen.mean()
        values[missing[:, index], index] = first
    for _ in range(ROUNDS):
        for index in np.argsort(missing.sum(axis=0)):
            if not (gaps := missing[:, index]).any():
                continue
            kind = RandomForestClassifier if len(texts[index]) else RandomForestRegressor
            others = np.delete(values, index, axis=1)
            forest = kind(TREES, random_state=seed, n_jobs=-1).fit(others[~gaps], values[~gaps, index])
            values[gaps, index] = forest.predict(others[gaps])
    return [texts[i][values[:, i].astype(int)] if len(texts[i]) else values[:, i] for i in range(values.shape[1])]


def by_reparax(**chosen: int) -> Callable[[pl.DataFrame, int], list[np.ndarray]]:
    """The columns as a fit without options fills them."""

    def filled(table: pl.DataFrame, seed: int) -> list[np.ndarray]:
        found = rx.impute(rx.fit(table, seed=seed, **chosen), table, seed=seed)
        return [column.to_numpy() for column in found.get_columns()]

    return filled


METHODS: dict[str, Callable[[pl.DataFrame, int], list[np.ndarray]]] = {
    "reparax": by_reparax(),
    f"ensemble of {MEMBERS}": by_reparax(ensemble=MEMBERS),
    "chained regressions": by_sklearn(IterativeImputer(max_iter=10)),
    "chained forests": by_forests,
    "nearest neighbors": by_sklearn(KNNImputer(n_neighbors=5)),
}


def errors(table: pl.DataFrame, hidden: np.ndarray, filled: list[np.ndarray]) -> tuple[float, float]:
    """The root mean squared error over the standard deviation of numbers, and the mean accuracy of categories."""
    squares, right = [], []
    for index, column in enumerate(table.get_columns()):
        where, truth = hidden[:, index], column.to_numpy()
        if column.dtype.is_numeric():
            squares.append((((truth - filled[index].astype(float)) / truth.std())[where]) ** 2)
        else:
            right.append((truth == filled[index])[where].mean())
    return float(np.sqrt(np.concatenate(squares).mean())), float(np.mean(right)) if right else np.nan


def without(table: pl.DataFrame, hidden: np.ndarray) -> pl.DataFrame:
    """A table without its hidden cells."""
    return table.with_columns(
        pl.when(pl.Series(hidden[:, index])).then(None).otherwise(pl.col(column)).alias(column)
        for index, column in enumerate(table.columns)
    )


def print_imputation(folder: Path, seeds: Iterable[int], only: str = "") -> None:
    """Prints the errors of all methods, with the mean and the spread over seeds of the hidden cells.

    Args:
        folder: The folder of the tables.
        seeds: The seeds of the hidden cells and of the fits.
        only: The table to take; by default all.
    """
    seeds = list(seeds)
    print("| table | method | RMSE of numbers | accuracy of categories | s |\n|---|---|--:|--:|--:|")
    for name in tables(folder, seeds[0]):
        if only not in name:
            continue
        for method, fill in METHODS.items():
            found, began = [], time.perf_counter()
            for seed in seeds:
                table, fraction = tables(folder, seed)[name]
                if method.startswith("ensemble") and len(table) > MOST_ROWS_OF_ENSEMBLES:
                    continue
                hidden = np.random.default_rng(seed).random(table.shape) < fraction
                cut = without(table, hidden)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    found.append(errors(table, hidden, fill(cut, seed)))
            if found:
                means, spread = np.mean(found, axis=0), np.std(found, axis=0)
                cells = [
                    f"{mean:.3f} ± {some:.3f}" if np.isfinite(mean) else ""
                    for mean, some in zip(means, spread, strict=True)
                ]
                seconds = (time.perf_counter() - began) / len(found)
                print(f"| {name} | {method} | {cells[0]} | {cells[1]} | {seconds:.0f} |", flush=True)
