"""The section on missing cells: how many, whether they depend on the row, and whether synthetic rows keep that."""

from functools import partial

import numpy as np
from jaxtyping import Bool, Float
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from reparax.reports.charts import percent, shortened
from reparax.reports.page import Block, Section, Table, Text
from reparax.reports.study import Study
from reparax.summary import Column
from reparax.tables import Gaps

MAX_GAPS = 12
"""Variables whose dependence on the row is measured: a classifier for each takes about a second."""
FEWEST = 20
"""Rows with a gap, and without one, that a classifier needs to learn from."""
DEPENDENT = 0.6
"""Of two samples of one distribution with a few dozen gaps, the area is rarely above this."""
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


def gaps(study: Study) -> Section | None:
    """How many cells are missing in real and synthetic rows, and how well the rest of the row predicts it.

    None for tables without missing cells.
    """
    columns = study.columns
    groups = gap_groups(columns)
    if not groups:
        return None
    real, synthetic = study.compared
    chosen = sorted(groups, key=lambda group: abs(columns[group[0]].missing - 0.5))[:MAX_GAPS]
    lines = [_line(columns, real, synthetic, group) for group in sorted(chosen)]
    header = ("missing cells of", "real rows", "synthetic rows", "predictable, real", "predictable, synthetic")
    words = (
        "Whether a cell is missing is part of the model. How well the other columns of a row predict it is measured "
        "by a random forest, as the area under the ROC curve: 0.5 if gaps do not depend on the row, 1 if they "
        "follow from it. Columns that were missing in the same rows of the fit share a line, and are missing together "
        "in every synthetic row."
    )
    if len(groups) > len(chosen):
        words += f" Of {len(groups)} lines, the {len(chosen)} closest to half missing are shown."
    table = Table(header, tuple(line for line, _ in lines), frozenset({1, 2, 3, 4}))
    blocks: list[Block] = [Text(words), table, Text(_verdict([found for _, found in lines]))]
    told = separability_by_gaps(real, synthetic, columns)
    if np.isfinite(told):
        blocks.append(
            Text(
                "From which cells are missing alone, a classifier tells synthetic rows from real ones with an area of "
                f"{told:.2f}; 0.5 is chance."
            )
        )
    return Section("gaps", "Missing cells", tuple(blocks))


def _line(
    columns: tuple[Column, ...], real: np.ndarray, synthetic: np.ndarray, group: tuple[int, ...]
) -> tuple[tuple[str, ...], float]:
    names = ", ".join(shortened(columns[place].name, 30) for place in group[:4])
    names += f" and {len(group) - 4} more" if len(group) > 4 else ""
    fractions = (percent(float(np.isnan(rows[:, group[0]]).mean())) for rows in (real, synthetic))
    found = tuple(map(partial(dependence, columns=columns, group=group), (real, synthetic)))
    areas = (f"{one:.2f}" if np.isfinite(one) else "too few" for one in found)
    return (names, *fractions, *areas), found[0]


def _verdict(found: list[float]) -> str:
    known = [one for one in found if np.isfinite(one)]
    if not known:
        return "Too few cells are missing, or too few are not, to say whether gaps depend on the row."
    dependent = sum(one > DEPENDENT for one in known)
    if not dependent:
        return "The gaps hardly depend on the other columns of the row."
    return (
        f"Gaps depend on the other columns of the row in {dependent} of {len(known)} lines. Whether they also "
        "depend on the missing values themselves cannot be seen from the data; if they do, impute with --missing "
        "not-at-random."
    )
