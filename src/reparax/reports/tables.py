"""Sections on tables: synthetic and real rows, reconstructions by column, the most anomalous rows."""

import numpy as np
from markupsafe import Markup

from reparax.data import joint_values
from reparax.reports.charts import (
    category_bars,
    differences,
    element,
    heatmap,
    histogram,
    histograms,
    in_words,
    joined,
    nats,
    number,
    percent,
    shortened,
)
from reparax.reports.page import Beside, Block, Cell, Figure, Figures, Row, Rows, Section, Table, Text
from reparax.reports.study import (
    Study,
    associations,
    frequencies,
    observed,
    quality,
)
from reparax.summary import Column

MAX_SHOWN = 24
SHOWN_CATEGORIES = 6
BINS = 24
LONGEST_RATIO = 50.0
KEY = Text(
    "Filled areas and blue bars show real rows, lines and orange bars synthetic rows. The outermost bins of numbers "
    "also hold what lies beyond them.",
    "small",
)


def mean_distance(study: Study) -> float:
    """The distance between real and synthetic cells, averaged over the columns."""
    return float(np.nanmean(study.column_distances[0]))


def marginals(study: Study) -> Section:
    """The distribution of each column in the real rows and in the synthetic rows."""
    real, synthetic = study.compared
    distances, chances = study.column_distances
    expected = np.nanmean(chances)
    shown = np.arange(len(distances))
    words = (
        f"{len(synthetic):,} synthetic rows drawn from the model, compared with {len(real):,} real rows. The distance "
        "is the total variation distance for categories and the Kolmogorov-Smirnov distance for numbers, missing cells "
        "counted as a value of their own: 0 if the distributions are the same, 1 if they do not overlap. "
        f"Its mean over the columns is "
        f"{np.nanmean(distances):.3f}; two samples of these sizes from one distribution would differ by about "
        f"{expected:.3f}."
    )
    if len(distances) > MAX_SHOWN:
        shown = np.sort(np.argsort(-np.nan_to_num(distances), kind="stable")[:MAX_SHOWN])
        words += f" Of {len(distances)} columns, the {MAX_SHOWN} that differ most are shown."
    empty = np.isnan(real).all(axis=0) | np.isnan(synthetic).all(axis=0)
    shown = np.setdiff1d(shown, np.flatnonzero(empty))
    figures = tuple(
        _marginal(study.columns[j], real[:, j], synthetic[:, j], float(distances[j])) for j in shown.tolist()
    )
    return Section("marginals", "Real and synthetic columns", (Text(words), KEY, Figures(figures, "small")))


def _marginal(column: Column, real: np.ndarray, synthetic: np.ndarray, distance: float) -> Figure:
    missing = float(np.isnan(real).mean()), float(np.isnan(synthetic).mean())
    notes = [f"distance {distance:.3f}"]
    if max(missing) > 0:
        notes.append(f"missing {percent(missing[0])} / {percent(missing[1])}")
    real, synthetic = observed(real), observed(synthetic)
    title = shortened(column.name, 60)
    if column.is_category:
        chart = _categories(column, real, synthetic, f"{title}: real and synthetic frequencies of categories")
        return Figure(chart, title, ", ".join(notes))
    if column.kind == "zero-inflated" and (real != 0).any() and (synthetic != 0).any():
        zeros = percent(float((real == 0).mean())), percent(float((synthetic == 0).mean()))
        notes.append(f"0 in {zeros[0]} / {zeros[1]}, other values shown")
        real, synthetic = real[real != 0], synthetic[synthetic != 0]
    chart, logarithmic = _numbers(column, real, synthetic, f"{title}: real and synthetic numbers")
    return Figure(chart, title, ", ".join([*notes, "logarithmic"] if logarithmic else notes))


def _categories(column: Column, real: np.ndarray, synthetic: np.ndarray, alt: str) -> Markup:
    count = len(column.categories)
    of_real, of_synthetic = frequencies(real, count + 1), frequencies(synthetic, count + 1)
    order = np.argsort(-of_real[:count], kind="stable")
    first = order if count <= SHOWN_CATEGORIES + 1 else order[:SHOWN_CATEGORIES]
    others = np.setdiff1d(np.arange(count), first)
    names = [str(column.categories[code]).strip() or "(blank)" for code in first.tolist()]
    heights = [of_real[first].tolist(), of_synthetic[first].tolist()]
    rest = ""
    if len(others):
        rest = f"{len(others)} others"
        names.append(rest)
        heights[0].append(float(of_real[others].sum()))
        heights[1].append(float(of_synthetic[others].sum()))
    return category_bars(names, *heights, alt, rest=rest)


def _numbers(column: Column, real: np.ndarray, synthetic: np.ndarray, alt: str) -> tuple[Markup, bool]:
    """The histograms, and whether their axis is logarithmic."""
    low, high = _ends(real)
    logarithmic = low > 0 and high / low > LONGEST_RATIO and column.kind in {"positive", "zero-inflated", "count"}
    ends = in_words(column, low), in_words(column, high)
    if logarithmic:
        real, synthetic = np.log(real), np.log(np.maximum(synthetic, low))
        edges = np.linspace(np.log(low), np.log(high), BINS + 1)
    else:
        edges = _edges(column.step, low, high)
    bins = [np.histogram(np.clip(cells, edges[0], edges[-1]), edges)[0] / len(cells) for cells in (real, synthetic)]
    return histograms(bins[0], bins[1], edges, ends, alt), logarithmic


def _ends(real: np.ndarray) -> tuple[float, float]:
    """Extreme quantiles, or the range if the values are nearly constant."""
    low, high = np.quantile(real, [0.005, 0.995], method="nearest").tolist()
    return (low, high) if high > low else (float(real.min()), float(real.max()))


def _edges(step: float, low: float, high: float) -> np.ndarray:
    """Equal bins from low to high; each covers the same number of steps, if the values come in steps."""
    if step > 0:
        levels = round((high - low) / step) + 1
        width = step * -(-levels // BINS)
        start = low - step / 2
        return start + width * np.arange(-(-levels * step // width) + 1)
    return np.linspace(low, high, BINS + 1) if high > low else np.asarray([low - 0.5, low + 0.5])


def relations(study: Study) -> Section:
    """The associations between columns in the real rows and in the synthetic rows."""
    columns = study.columns
    real, synthetic = study.compared
    kept = study.related
    chosen = tuple(columns[j] for j in kept.tolist())
    names = [column.name for column in chosen]
    pair = [associations(values[:, kept], chosen) for values in (real, synthetic)]
    gaps = np.abs(pair[0] - pair[1])[np.tril_indices(len(chosen), -1)]
    words = (
        "How strongly two columns are associated, from 0 (pale) to 1 (saturated): the absolute rank correlation of two "
        "numbers, the correlation ratio of a number and categories, Cram\u00e9r's V of two categories."
    )
    if len(columns) > len(chosen):
        words += f" Of {len(columns)} columns, the {len(chosen)} with the largest rank correlations are shown."
    blocks: list[Block] = [Text(words)]
    if np.isfinite(gaps).any():
        blocks.append(Text(_largest(pair[0], pair[1], names, float(np.nanmean(gaps)))))
    pictures = tuple(
        Figure(heatmap(matrix, names, f"associations between columns in {title.lower()}"), title)
        for matrix, title in zip(pair, ("Real rows", "Synthetic rows"), strict=True)
    )
    difference = Figure(
        differences(pair[0] - pair[1], names, "differences of the associations, real minus synthetic"),
        "Difference: real minus synthetic",
        "Blue: weaker in the synthetic rows; orange: stronger. Full color: 0.3 or more.",
    )
    return Section("associations", "Associations", (*blocks, Figures((*pictures, difference), "large")))


def _largest(real: np.ndarray, synthetic: np.ndarray, names: list[str], mean: float) -> str:
    gaps = np.tril(np.nan_to_num(np.abs(real - synthetic)), -1)
    i, j = np.unravel_index(int(gaps.argmax()), gaps.shape)
    return (
        f"The mean absolute difference over the pairs is {mean:.3f}. The largest is between "
        f"{shortened(names[i], 40)} and {shortened(names[j], 40)}: {real[i, j]:.2f} in the real rows, "
        f"{synthetic[i, j]:.2f} in the synthetic rows."
    )


TOP = 10
REASONS = 3
MAX_COLUMNS = 200
MAX_CELLS = 60


def reconstruction(study: Study) -> Section:
    """How well each column is reconstructed."""
    real, reconstructed = study.evaluated.values.astype(np.float64), study.reconstructed.astype(np.float64)
    densities = study.evaluation.columns or {}
    words = (
        f"How well each column of {study.evaluated_words} is reconstructed from the latent variables of its row. For "
        "numbers, R\u00b2 is the fraction of the variance that is reconstructed (0: no better than the mean); for "
        "categories, the accuracy is compared with always guessing the most frequent one."
    )
    rows = []
    for index, column in enumerate(study.modeled[:MAX_COLUMNS]):
        value, baseline = quality(real[:, index], reconstructed[:, index], column)
        density = densities.get(column.name)
        rows.append(
            (
                shortened(column.name, 60), _gauge(column, value),
                f"{percent(baseline)} by guessing" if column.is_category and np.isfinite(baseline) else "",
                "" if density is None else nats(density),
            )
        )  # fmt: skip
    header = ("column", "reconstruction", "", "log density, nats")[: 4 if densities else 3]
    blocks: list[Block] = [Text(words), Table(header, tuple(row[: len(header)] for row in rows), frozenset({3}))]
    if densities:
        blocks.append(
            Text(
                "The log density of a column is E log p(cell | z) under the posterior, averaged over its observed "
                "cells; for numbers, it depends on their units.",
                "small",
            )
        )
    if len(study.modeled) > MAX_COLUMNS:
        blocks.append(Text(f"The first {MAX_COLUMNS} of {len(study.modeled)} columns are shown.", "small"))
    return Section("reconstruction", "Reconstruction", tuple(blocks))


def _gauge(column: Column, value: float) -> Cell:
    if not np.isfinite(value):
        return "constant" if not column.is_category else "none observed"
    text = f"accuracy {percent(value)}" if column.is_category else f"R\u00b2 {nats(value)}"
    fill = element("i", style=f"width:{100 * min(max(value, 0.0), 1.0):.1f}%")
    return joined([element("span", fill, class_="gauge"), element("span", text)])


def anomalies(study: Study) -> Section:
    """The anomaly scores of the rows, and the rows with the highest scores."""
    numbers, results = study.scored
    scores = results.anomaly_score
    order = np.argsort(-scores, kind="stable")[:TOP]
    count = f"{len(scores):,}" + (
        f" of {len(study.dataset):,} rows, evenly spaced" if len(scores) < len(study.dataset) else " rows"
    )
    meaning = (
        "The score of a row says how improbable its cells are, to within a tolerance, both given the row's latent "
        "variables and within their columns alone. It is scaled so that no single column decides unless its cell is "
        "grossly wrong, and is divided among the columns in proportion to how surprising their cells are."
        if results.shares is not None
        else "The score is minus the log density."
    )
    mark = float(scores[order[-1]]) if len(scores) > 3 * TOP else None
    chart = histogram(
        scores.astype(np.float64), None if mark is None else float(np.nextafter(mark, -np.inf)),
        f"anomaly scores of {len(scores)} rows, from {number(float(scores.min()))} to {number(float(scores.max()))}",
        unit="anomaly score", mark_label=f"the {TOP} highest",
    )  # fmt: skip
    explanation = Text(f"{count}. {meaning} A high score marks a row to look at; it is not a verdict.")
    figures = Figures((Figure(chart, "All scores"),), "large")
    rows = Rows(tuple(_row(study, int(place), int(numbers[place])) for place in order.tolist()))
    blocks = (Beside(figures, (explanation,)), rows)
    return Section("anomalies", "Most anomalous rows", blocks)


def _row(study: Study, place: int, row: int) -> Row:
    results = study.scored[1]
    cells = joint_values(study.dataset.take(np.asarray([row])))[0].astype(np.float64).tolist()
    texts = [in_words(column, value) or "missing" for column, value in zip(study.columns, cells, strict=True)]
    names, parts = [column.name for column in study.columns], []
    if results.shares is not None:
        of_columns = results.shares[place]
        for index in np.argsort(-of_columns, kind="stable")[:REASONS].tolist():
            relative = float(of_columns[index]) / max(float(of_columns.max()), 1e-9)
            name = study.modeled[index].name
            text = shortened(texts[names.index(name)], 40)
            parts.append((shortened(name, 40), text, nats(float(of_columns[index])), min(max(relative, 0.0), 1.0)))
    ids = study.dataset.ids
    title = f"Row {row + 1:,}" if ids is None else str(ids[row])
    if study.dataset.labels is not None:
        title += f" \u00b7 {shortened(str(study.dataset.labels[row]), 24)}"
    named = zip(names, texts, strict=True)
    row_cells = tuple((shortened(name, 40), shortened(text, 60)) for name, text in list(named)[:MAX_CELLS])
    return Row(title, nats(float(results.anomaly_score[place])), tuple(parts), row_cells)
