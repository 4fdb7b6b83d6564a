"""Measures of missing cells: whether they depend on the row, and whether they tell synthetic rows from real ones."""

import numpy as np
from jaxtyping import Bool, Float
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from reparax.summary import Column
from reparax.tables import Gaps

FEWEST = 20
"""Rows with a gap, and without one, that a classifier needs to learn from."""
FOLDS = 3
TREES = 50
LEAF = 5


def gap_groups(columns: tuple[Column, ...]) -> tuple[tuple[int, ...], ...]:
    """The columns with missing cells, those together that were missing in the same rows of the fit."""
    return Gaps.of(columns, 1).groups


def with_gaps(
    values: Float[np.ndarray, "n d"], columns: tuple[Column, ...]
) -> tuple[Float[np.ndarray, "n e"], tuple[Column, ...]]:
    """Rows and columns, with a column of two categories for each group of gaps: whether the cells are missing."""
    groups = gap_groups(columns)
    added = tuple(
        Column(
            name=f"{columns[first].name} is missing", kind="binary", dtype="boolean", low=0.0, high=1.0, mean=0.0,
            std=1.0, spread=1.0, categories=(False, True),
            category_fractions=(1 - columns[first].missing, columns[first].missing),
        )
        for first, *_ in groups
    )  # fmt: skip
    return np.column_stack([values, *(np.isnan(values[:, first]) for first, *_ in groups)]), (*columns, *added)


def separability_by_gaps(
    real: Float[np.ndarray, "n d"], synthetic: Float[np.ndarray, "m d"], columns: tuple[Column, ...]
) -> float:
    """How well a classifier separates synthetic rows from real ones by what is missing alone.

    The area under the ROC curve, cross-validated: 0.5 is chance. NaN for tables without gaps.

    Args:
        real: Real rows.
        synthetic: Synthetic rows.
        columns: Their columns.
    """
    places = [place for group in gap_groups(columns) for place in group]
    count = min(len(real), len(synthetic))
    if not places or count < FEWEST:
        return float("nan")
    rows = np.isnan(np.concatenate([_some(real, count), _some(synthetic, count)])[:, places])
    return area(rows.astype(float), np.repeat([False, True], count))


def dependence(values: Float[np.ndarray, "n d"], columns: tuple[Column, ...], group: tuple[int, ...]) -> float:
    """How well a classifier predicts from the other columns whether cells are missing; 0.5 is chance.

    The area under the ROC curve, cross-validated; NaN if too few cells are missing, or too few are not.

    Args:
        values: The rows.
        columns: Their columns.
        group: The columns that are missing together.
    """
    missing = np.isnan(values[:, group[0]])
    others = [place for place in range(len(columns)) if place not in group]
    if min(missing.sum(), (~missing).sum()) < FEWEST or not others:
        return float("nan")
    return area(values[:, others], missing)


def area(rows: Float[np.ndarray, "n d"], which: Bool[np.ndarray, " n"]) -> float:
    """The area under the ROC curve of a random forest, of rows that it was not trained on."""
    order = np.random.default_rng(0).permutation(len(rows))
    model = RandomForestClassifier(TREES, min_samples_leaf=LEAF, random_state=0)
    found = cross_val_predict(model, rows[order], which[order], cv=FOLDS, method="predict_proba")
    return float(roc_auc_score(which[order], found[:, 1]))


def _some(rows: Float[np.ndarray, "n d"], count: int) -> Float[np.ndarray, "c d"]:
    return rows[np.random.default_rng(0).permutation(len(rows))[:count]]
