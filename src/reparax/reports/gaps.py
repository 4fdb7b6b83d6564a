"""The section on missing cells: how many, whether they depend on the row, and whether synthetic rows keep that."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from reparax.reports.charts import percent, shortened
from reparax.reports.missing import dependence, gap_groups
from reparax.reports.page import Block, Section, Table, Text
from reparax.reports.study import Study
from reparax.summary import Column

MAX_GAPS = 12
"""Variables whose dependence on the row is measured: a classifier for each takes about a second."""
DEPENDENT = 0.6
"""Of two samples of one distribution with a few dozen gaps, the area is rarely above this."""


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
    blocks: list[Block] = [Text(words), table, Text(_verdict(*zip(*(found for _, found in lines), strict=True)))]
    told = study.told_apart_by_gaps
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
) -> tuple[tuple[str, ...], tuple[float, float]]:
    names = ", ".join(shortened(columns[place].name, 30) for place in group[:4])
    names += f" and {len(group) - 4} more" if len(group) > 4 else ""
    fractions = (percent(float(np.isnan(rows[:, group[0]]).mean())) for rows in (real, synthetic))
    of_real, of_synthetic = map(partial(dependence, columns=columns, group=group), (real, synthetic))
    found = of_real, of_synthetic
    areas = (f"{one:.2f}" if np.isfinite(one) else "too few" for one in found)
    return (names, *fractions, *areas), found


def _verdict(real: Sequence[float], synthetic: Sequence[float]) -> str:
    """What the areas of the lines say, in real rows and in synthetic ones."""
    pairs = zip(real, synthetic, strict=True)
    made_up = sum(bool(there > DEPENDENT and not here > DEPENDENT) for here, there in pairs)
    more = (
        f" In synthetic rows they do in {made_up} of {len(real)} lines where they do not in real rows."
        if made_up
        else ""
    )
    return _verdict_of_real(real) + more


def _verdict_of_real(found: Sequence[float]) -> str:
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
