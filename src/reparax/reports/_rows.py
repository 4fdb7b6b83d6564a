"""Single rows: how well they come back column by column, and the oddest of them."""

import numpy as np
from markupsafe import Markup

from reparax.reports._charts import histogram
from reparax.reports._measures import explained
from reparax.reports._page import Beside, Block, Cell, Figure, Figures, Row, Rows, Section, Table, Text
from reparax.reports._study import Study
from reparax.reports._svg import element, nats, number, percent, shortened
from reparax.reports._words import in_words
from reparax.summary import Column

TOP = 10
REASONS = 3
MOST_COLUMNS = 200
MOST_CELLS = 60


def reconstruction(study: Study) -> Section:
    """How well each column comes back from its latent variables."""
    real, found = study.evaluated.values.astype(np.float64), study.reconstructed.astype(np.float64)
    densities = study.evaluation.columns or {}
    words = (
        f"What the model makes of {study.evaluated_words}: the latent variables of a row, and from them each "
        "column. Of numbers, R\u00b2 is the share of the variance that comes back (0: no better than the mean); of "
        "categories, the accuracy is beside the share of the most frequent one."
    )
    rows = []
    for index, column in enumerate(study.columns[:MOST_COLUMNS]):
        quality, base = explained(real[:, index], found[:, index], column)
        density = densities.get(column.name)
        rows.append(
            (
                shortened(column.name, 60), _gauge(column, quality),
                f"{percent(base)} by guessing" if column.is_category and np.isfinite(base) else "",
                "" if density is None else nats(density),
            )
        )  # fmt: skip
    header = ("column", "comes back", "", "log density, nats")
    blocks: list[Block] = [Text(words), Table(header, tuple(rows), frozenset({3}))]
    if densities:
        blocks.append(
            Text(
                "The log density of a column is the mean over its observed cells given the rest of the latent "
                "posterior; "
                "of numbers it depends on their units.",
                "small",
            )
        )
    if len(study.columns) > MOST_COLUMNS:
        blocks.append(Text(f"The first {MOST_COLUMNS} of {len(study.columns)} columns are shown.", "small"))
    return Section("reconstruction", "Reconstruction", tuple(blocks))


def _gauge(column: Column, quality: float) -> Cell:
    if not np.isfinite(quality):
        return "constant" if not column.is_category else "none observed"
    share = min(max(quality, 0.0), 1.0)
    words = f"accuracy {percent(quality)}" if column.is_category else f"R\u00b2 {nats(round(quality, 2) + 0.0)}"
    fill = element("i", style=f"width:{100 * share:.1f}%")
    return Markup("").join([element("span", fill, class_="gauge"), element("span", words)])


def anomalies(study: Study) -> Section:
    """How odd the rows are, and the oddest ones."""
    numbers, found = study.scored
    scores = found.anomaly_score
    order = np.argsort(-scores, kind="stable")[:TOP]
    count = f"{len(scores):,}" + (
        f" of {len(study.dataset):,} rows, evenly taken" if len(scores) < len(study.dataset) else " rows"
    )
    meaning = (
        "The score of a row says how improbable what is near each cell is, given the row's latent variables and by "
        "the column alone, on a scale where no single column decides unless it is grossly wrong. Columns share it in "
        "proportion to how much their cells surprise."
        if found.shares is not None
        else "The score is minus the log density."
    )
    mark = float(scores[order[-1]]) if len(scores) > 3 * TOP else None
    drawn = histogram(
        scores.astype(np.float64), None if mark is None else float(np.nextafter(mark, -np.inf)),
        f"anomaly scores of {len(scores)} rows, from {number(float(scores.min()))} to {number(float(scores.max()))}",
        unit="anomaly score", mark_words=f"the {TOP} highest",
    )  # fmt: skip
    said = Text(f"{count}. {meaning} A high score is a row to look at, not a verdict.")
    figures = Figures((Figure(drawn, "All scores"),), "large")
    rows = Rows(tuple(_row(study, int(place), int(numbers[place])) for place in order.tolist()))
    blocks = (Beside(figures, (said,)), rows)
    return Section("anomalies", "The oddest rows", blocks)


def _row(study: Study, place: int, row: int) -> Row:
    found = study.scored[1]
    cells = study.dataset.values[row].astype(np.float64).tolist()
    texts = [in_words(column, value) or "missing" for column, value in zip(study.columns, cells, strict=True)]
    parts = []
    if found.shares is not None:
        shares = found.shares[place]
        for index in np.argsort(-shares, kind="stable")[:REASONS].tolist():
            part = float(shares[index]) / max(float(shares.max()), 1e-9)
            name = shortened(study.columns[index].name, 40)
            parts.append((name, shortened(texts[index], 40), nats(float(shares[index])), min(max(part, 0.0), 1.0)))
    ids = study.dataset.ids
    title = f"Row {row + 1:,}" if ids is None else str(ids[row])
    if study.dataset.labels is not None:
        title += f" \u00b7 {shortened(str(study.dataset.labels[row]), 24)}"
    named = zip((column.name for column in study.columns), texts, strict=True)
    everything = tuple((shortened(name, 40), shortened(text, 60)) for name, text in list(named)[:MOST_CELLS])
    return Row(title, nats(float(found.anomaly_score[place])), tuple(parts), everything)
