"""What synthetic rows of real tables are worth; the job ``synthetic`` of `tables.py` prints it.

Each table is split 80/20; a model is fitted to the first part without any options, and as many rows are drawn.

* Utility: gradient boosting trained on them and tested on the other part, for one column of the table; ROC AUC of a
  category, R squared of a number. Beside it, the same trained on the real rows.
* Told apart: ROC AUC of gradient boosting that separates them from the other part, cross-validated; 0.5 is perfect.
* Column error and pair error: one minus the scores *Column Shapes* and *Column Pair Trends* of SDMetrics, by which
  Zhang et al. (2024), "Mixed-type tabular data synthesis with score-based diffusion in latent space" (TabSyn), tables 1
  and 2, and its successors compare: against the rows of the fit. A missing category is a category.
* Worst pair: the largest of the pair errors; the same between the two parts of the real rows is what chance makes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import cross_val_predict

import reparax as rx
from reparax.reports.missing import separability_by_gaps, with_gaps
from reparax.reports.study import associations, distance
from reparax.summary import Column

NUM_BINS = 10
"""Of a number beside a category: the default of SDMetrics, bins of equal width over the range of the real numbers."""
MOST_CATEGORIES = 255
"""The most that the gradient boosting takes; columns with more are numbers to it."""


def _unnamed(path: Path) -> pl.DataFrame:
    """A table without a line of names."""
    table = pl.read_csv(path, has_header=False)
    return table.rename({name: f"x{number}" for number, name in enumerate(table.columns, start=1)})


TABLES: dict[str, tuple[str, Callable[[Path], pl.DataFrame]]] = {
    "adult": ("income", pl.read_csv),
    "german": ("x21", _unnamed),
    "taxis": ("fare", pl.read_csv),
    "winequality-white": ("x12", _unnamed),
    "penguins": ("species", lambda path: pl.read_csv(path, null_values="NA")),
}
"""The predicted column of each table, and how it is read. The defaults were chosen with adult in view."""

PRIVATE, EPSILONS = ("adult", "taxis"), (1.0, 3.0, 10.0, 0.0)


@dataclass(frozen=True)
class Measures:
    """The measures of one table and seed.

    Attributes:
        utility: Trained on synthetic rows, tested on real ones.
        possible: Trained on real rows.
        told_apart: How well synthetic rows are separated from real ones.
        columns: The mean column error.
        pairs: The mean pair error.
        worst_pair: The largest pair error.
        chance: The largest pair error between real rows.
        distance: The mean distance of columns from the rows of the other part.
        associations: The mean difference of the associations of pairs, gaps among them, from those of the other part.
        relations: The smallest fraction of synthetic rows in which a relation between columns holds that was found.
        gaps: Told apart by which cells are missing alone; NaN without gaps.
        copies: The fraction of rows that are in the rows of the fit, in every cell.
        seconds: The time of the fit.
    """

    utility: float
    possible: float
    told_apart: float
    columns: float
    pairs: float
    worst_pair: float
    chance: float
    distance: float
    associations: float
    relations: float
    gaps: float
    copies: float
    seconds: float


def measured(name: str, folder: Path, seed: int, **chosen: Any) -> Measures:
    """The measures of one of `TABLES`, with choices for the fit."""
    target, reader = TABLES[name]
    table = reader(folder / f"{name}.csv")
    order = np.random.default_rng(seed).permutation(len(table))
    cut = int(0.8 * len(table))
    train, test = table[order[:cut]], table[order[cut:]]
    began = time.perf_counter()
    fitted = rx.fit(train, seed=seed, **chosen)
    seconds = time.perf_counter() - began
    drawn = _whole(rx.sample(fitted, len(train), key=jax.random.key(seed)), train)
    # The columns as in the fit, but with the shares of all rows of the first part.
    schema = rx.read(train).schema
    columns = schema.columns or ()
    synthetic, real, other = (
        rx.data.read_as(rows, schema, allow_missing=True).values.astype(np.float64) for rows in (drawn, train, test)
    )
    place = [column.name for column in columns].index(target)
    pairs = pair_errors(real, synthetic, columns)
    # Whether cells are missing is a column too.
    of_other, of_synthetic = (associations(*with_gaps(rows, columns)) for rows in (other, synthetic))
    difference = np.abs(of_other - of_synthetic)[np.tril_indices(len(of_other), -1)]
    return Measures(
        utility=utility(synthetic, other, columns, place),
        possible=utility(real, other, columns, place),
        told_apart=told_apart(synthetic, other, columns),
        columns=float(np.mean([column_error(real[:, i], synthetic[:, i], c) for i, c in enumerate(columns)])),
        pairs=float(np.mean(pairs)),
        worst_pair=float(np.max(pairs)),
        chance=float(np.max(pair_errors(real, other, columns))),
        distance=float(np.mean([distance(other[:, i], synthetic[:, i], c) for i, c in enumerate(columns)])),
        associations=float(np.nanmean(difference)),
        relations=min(rx.data.fractions_held(fitted.schema, synthetic), default=1.0),
        gaps=separability_by_gaps(other, synthetic, columns),
        copies=len(drawn.join(train.unique(), on=train.columns, how="semi", nulls_equal=True)) / len(drawn),
        seconds=seconds,
    )


def _whole(drawn: pl.DataFrame, train: pl.DataFrame) -> pl.DataFrame:
    """Drawn rows with all columns: one that a private fit leaves out is missing."""
    lacking = [pl.lit(None, train[name].dtype).alias(name) for name in train.columns if name not in drawn.columns]
    return drawn.with_columns(lacking).select(train.columns)


def print_private(folder: Path, seed: int) -> None:
    """The price of differential privacy: a line for each table and epsilon."""
    print("| table | epsilon | trained on them | told apart | columns | pairs | fit, s |\n|---|" + "--:|" * 6)
    for name in PRIVATE:
        for epsilon in EPSILONS:
            m = measured(name, folder, seed, dp=epsilon)
            price = f"{m.utility:.3f} ({m.possible:.3f}) | {m.told_apart:.3f} | {m.columns:.3f} | {m.pairs:.3f}"
            print(f"| {name} | {epsilon or 'none'} | {price} | {m.seconds:.0f} |", flush=True)


def print_all(folder: Path, seeds: Sequence[int]) -> None:
    """A line of each table: the mean over seeds, and the largest difference from it where seeds differ."""
    print("| table | " + " | ".join(field.name.replace("_", " ") for field in fields(Measures)) + " |")
    print("|---|" + "--:|" * len(fields(Measures)))
    for name in TABLES:
        results = [measured(name, folder, seed) for seed in seeds]
        cells = [_cell([getattr(result, field.name) for result in results]) for field in fields(Measures)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def utility(train: np.ndarray, test: np.ndarray, columns: Sequence[Column], target: int) -> float:
    """How well a column is predicted on other rows: ROC AUC, of one class against the others, or R squared."""
    names = [index for index in range(len(columns)) if index != target]
    places = [place for place, index in enumerate(names) if _is_category(columns[index])]
    known, asked = ~np.isnan(train[:, target]), ~np.isnan(test[:, target])
    train, test = train[known], test[asked]
    if not columns[target].is_category:
        regressor = HistGradientBoostingRegressor(categorical_features=places, random_state=0)
        regressor.fit(train[:, names], train[:, target])
        return float(r2_score(test[:, target], regressor.predict(test[:, names])))
    model = HistGradientBoostingClassifier(categorical_features=places, random_state=0)
    model.fit(train[:, names], train[:, target])
    predicted = model.predict_proba(test[:, names])
    scores = predicted[:, 1] if predicted.shape[1] == 2 else predicted
    return float(roc_auc_score(test[:, target], scores, multi_class="ovr"))


def told_apart(synthetic: np.ndarray, real: np.ndarray, columns: Sequence[Column]) -> float:
    """ROC AUC of the separation of as many rows of both kinds."""
    count = min(len(synthetic), len(real))
    rows, which = np.concatenate([synthetic[:count], real[:count]]), np.repeat([0, 1], count)
    places = [index for index, column in enumerate(columns) if _is_category(column)]
    model = HistGradientBoostingClassifier(categorical_features=places, random_state=0)
    return float(roc_auc_score(which, cross_val_predict(model, rows, which, cv=3, method="predict_proba")[:, 1]))


def column_error(real: np.ndarray, synthetic: np.ndarray, column: Column) -> float:
    """1 - KSComplement of numbers, 1 - TVComplement of categories."""
    if column.is_category:
        return _total_variation(np.nan_to_num(real, nan=-1), np.nan_to_num(synthetic, nan=-1))
    return distance(real, synthetic, column)


def pair_errors(real: np.ndarray, synthetic: np.ndarray, columns: Sequence[Column]) -> list[float]:
    """1 - CorrelationSimilarity of two numbers, else 1 - ContingencySimilarity, numbers in bins of equal width."""
    codes = [_codes(real[:, index], synthetic[:, index], column) for index, column in enumerate(columns)]
    errors = []
    for i, j in combinations(range(len(columns)), 2):
        if columns[i].is_category or columns[j].is_category:
            base = 1 + max(int(part.max()) for part in codes[j])
            errors.append(_total_variation(*(a * base + b for a, b in zip(codes[i], codes[j], strict=True))))
        else:
            of_real, of_synthetic = (_correlation(rows[:, i], rows[:, j]) for rows in (real, synthetic))
            errors.append(abs(of_real - of_synthetic) / 2)
    return [error for error in errors if not np.isnan(error)]


def _codes(real: np.ndarray, synthetic: np.ndarray, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Categories, or the bins of numbers, as whole numbers from 0 on; 0 for missing cells."""
    if column.is_category:
        return tuple(np.nan_to_num(part, nan=-1).astype(np.int64) + 1 for part in (real, synthetic))
    edges = np.histogram_bin_edges(real[~np.isnan(real)], NUM_BINS)
    return tuple(np.where(np.isnan(part), 0, 1 + np.digitize(part, edges)) for part in (real, synthetic))


def _total_variation(a: np.ndarray, b: np.ndarray) -> float:
    values, places = np.unique(np.concatenate([a, b]), return_inverse=True)
    shares = [np.bincount(part, minlength=len(values)) / len(part) for part in np.split(places, [len(a)])]
    return 0.5 * float(np.abs(shares[0] - shares[1]).sum())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation over the rows where both are observed; NaN if one is constant."""
    both = ~(np.isnan(a) | np.isnan(b))
    with np.errstate(all="ignore"):
        return float(np.corrcoef(a[both], b[both])[0, 1])


def _is_category(column: Column) -> bool:
    return column.is_category and len(column.categories) <= MOST_CATEGORIES


def _cell(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    form = ".0f" if mean >= 10 else ".3f"
    spread = max(abs(value - mean) for value in values)
    return f"{mean:{form}}" if len(values) == 1 else f"{mean:{form}} ± {spread:{form}}"
