"""Sections on tables: synthetic rows beside real ones, reconstructions by column, the most anomalous rows."""

import numpy as np
from markupsafe import Markup

from reparax.reports.charts import (
    category_bars,
    element,
    heatmap,
    histogram,
    histograms,
    in_words,
    nats,
    number,
    percent,
    shortened,
)
from reparax.reports.page import Beside, Block, Cell, Figure, Figures, Row, Rows, Section, Table, Text
from reparax.reports.study import (
    Study,
    associations,
    distance,
    distance_by_chance,
    explained,
    largest_correlations,
    present,
    shares,
)
from reparax.summary import Column

MOST_SHOWN = 24
MOST_RELATED = 30
SHOWN_CATEGORIES = 6
BINS = 24
LONGEST_RATIO = 50.0
KEYS = Text("The filled shapes and blue bars are real, the lines and orange bars synthetic.", "small")


def mean_distance(study: Study) -> float:
    """The mean over columns of the distance of synthetic from real cells."""
    return float(np.nanmean(_distances(study)))


def _distances(study: Study) -> list[float]:
    real, made = study.compared
    return [distance(real[:, j], made[:, j], column) for j, column in enumerate(study.columns)]


def marginals(study: Study) -> Section:
    """Each column of the real rows beside that of the synthetic ones."""
    real, made = study.compared
    found = np.asarray(_distances(study))
    chance = np.nanmean([distance_by_chance(real[:, j], made[:, j], c) for j, c in enumerate(study.columns)])
    shown = np.arange(len(found))
    words = (
        f"{len(made):,} synthetic rows, drawn from the model, beside {len(real):,} real ones. The distance of a "
        "column is the total variation of categories, the Kolmogorov-Smirnov distance of numbers: 0 where both are "
        f"alike, 1 where they have nothing in common. Its mean is {np.nanmean(found):.3f}; samples of these "
        f"sizes from one and the same source would differ by about {chance:.3f}."
    )
    if len(found) > MOST_SHOWN:
        shown = np.sort(np.argsort(-np.nan_to_num(found), kind="stable")[:MOST_SHOWN])
        words += f" Of {len(found)} columns, the {MOST_SHOWN} that differ most are shown."
    shown = shown[np.isfinite(found[shown])]
    figures = tuple(_marginal(study.columns[j], real[:, j], made[:, j], float(found[j])) for j in shown.tolist())
    return Section("marginals", "Real and synthetic columns", (Text(words), KEYS, Figures(figures, "small")))


def _marginal(column: Column, real: np.ndarray, made: np.ndarray, found: float) -> Figure:
    gaps = float(np.isnan(real).mean()), float(np.isnan(made).mean())
    notes = [f"distance {found:.3f}"]
    if max(gaps) > 0:
        notes.append(f"missing {percent(gaps[0])} / {percent(gaps[1])}")
    real, made = present(real), present(made)
    title = shortened(column.name, 60)
    if column.is_category:
        drawn = _categories(column, real, made, f"{title}: real and synthetic shares of categories")
        return Figure(drawn, title, ", ".join(notes))
    if column.kind == "zero-inflated" and (real != 0).any() and (made != 0).any():
        notes.append(
            f"0 in {percent(float((real == 0).mean()))} / {percent(float((made == 0).mean()))}, the others above"
        )
        real, made = real[real != 0], made[made != 0]
    drawn, logarithmic = _numbers(column, real, made, f"{title}: real and synthetic numbers")
    return Figure(drawn, title, ", ".join([*notes, "logarithmic"] if logarithmic else notes))


def _categories(column: Column, real: np.ndarray, made: np.ndarray, words: str) -> Markup:
    count = len(column.categories)
    here, there = shares(real, count + 1), shares(made, count + 1)
    order = np.argsort(-here[:count], kind="stable")
    first = order if count <= SHOWN_CATEGORIES + 1 else order[:SHOWN_CATEGORIES]
    others = np.setdiff1d(np.arange(count), first)
    names = [str(column.categories[code]).strip() or "(blank)" for code in first.tolist()]
    of_real, of_made, rest = here[first].tolist(), there[first].tolist(), ""
    if len(others):
        rest = f"{len(others)} others"
        names.append(rest)
        of_real.append(float(here[others].sum()))
        of_made.append(float(there[others].sum()))
    return category_bars(names, of_real, of_made, words, rest=rest)


def _numbers(column: Column, real: np.ndarray, made: np.ndarray, words: str) -> tuple[Markup, bool]:
    """The histograms, and whether their axis is logarithmic."""
    low, high = _ends(real)
    logarithmic = low > 0 and high / low > LONGEST_RATIO and column.kind in {"positive", "zero-inflated", "count"}
    ends = in_words(column, low), in_words(column, high)
    if logarithmic:
        real, made = np.log(real), np.log(np.maximum(made, low))
        edges = np.linspace(np.log(low), np.log(high), BINS + 1)
    else:
        edges = _edges(column.step, low, high)
    bins = [np.histogram(np.clip(cells, edges[0], edges[-1]), edges)[0] / len(cells) for cells in (real, made)]
    return histograms(bins[0], bins[1], edges, ends, words), logarithmic


def _ends(real: np.ndarray) -> tuple[float, float]:
    """Far quantiles, or the whole range of what is nearly constant."""
    low, high = np.quantile(real, [0.005, 0.995], method="nearest").tolist()
    return (low, high) if high > low else (float(real.min()), float(real.max()))


def _edges(step: float, low: float, high: float) -> np.ndarray:
    """Equal bins from low to high; of whole steps, so many to each that no bin is empty by itself."""
    if step > 0:
        levels = round((high - low) / step) + 1
        wide = step * -(-levels // BINS)
        start = low - step / 2
        return start + wide * np.arange(-(-levels * step // wide) + 1)
    return np.linspace(low, high, BINS + 1) if high > low else np.asarray([low - 0.5, low + 0.5])


def relations(study: Study) -> Section:
    """The associations of columns among real rows beside those among synthetic ones."""
    columns = study.columns
    real, made = study.compared
    kept = np.arange(len(columns))
    if len(columns) > MOST_RELATED:
        kept = np.sort(np.argsort(-largest_correlations(real), kind="stable")[:MOST_RELATED])
    chosen = tuple(columns[j] for j in kept.tolist())
    names = [column.name for column in chosen]
    pair = [associations(values[:, kept], chosen) for values in (real, made)]
    gaps = np.abs(pair[0] - pair[1])[np.tril_indices(len(chosen), -1)]
    words = (
        "How much two columns have to do with each other, from 0 (pale) to 1 (full): the rank correlation of "
        "two numbers, the correlation ratio of a number among categories, Cram\u00e9r's V of two categories."
    )
    if len(columns) > len(chosen):
        words += f" Of {len(columns)} columns, the {len(chosen)} with the largest rank correlations are shown."
    blocks: list[Block] = [Text(words)]
    if np.isfinite(gaps).any():
        blocks.append(Text(_largest(pair[0], pair[1], names, float(np.nanmean(gaps)))))
    pictures = tuple(
        Figure(heatmap(matrix, names, f"associations of columns among {title.lower()}"), title)
        for matrix, title in zip(pair, ("Real rows", "Synthetic rows"), strict=True)
    )
    return Section("associations", "Associations", (*blocks, Figures(pictures, "large")))


def _largest(real: np.ndarray, made: np.ndarray, names: list[str], mean: float) -> str:
    gaps = np.tril(np.nan_to_num(np.abs(real - made)), -1)
    i, j = np.unravel_index(int(gaps.argmax()), gaps.shape)
    return (
        f"The mean absolute difference over pairs is {mean:.3f}. The largest is that of {shortened(names[i], 40)} with "
        f"{shortened(names[j], 40)}: {real[i, j]:.2f} among real rows, {made[i, j]:.2f} among synthetic ones."
    )


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
