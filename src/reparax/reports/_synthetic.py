"""Synthetic rows beside real ones: each column alone, and what columns have to do with each other."""

import numpy as np
from markupsafe import Markup

from reparax.data import cell_text
from reparax.reports._charts import category_bars, heatmap, histograms
from reparax.reports._measures import associations, distance, distance_by_chance, present, shares
from reparax.reports._page import Block, Figure, Figures, Section, Text
from reparax.reports._study import Study
from reparax.reports._svg import percent, shortened
from reparax.summary import Column

MOST_SHOWN = 24
MOST_RELATED = 30
SHOWN_CATEGORIES = 6
BINS = 24
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
    note = f"distance {found:.3f}"
    if max(gaps) > 0:
        note += f", missing {percent(gaps[0])} and {percent(gaps[1])}"
    title = shortened(column.name, 60)
    words = f"{title}: real and synthetic values, {note}"
    draw = _categories if column.is_category else _numbers
    return Figure(draw(column, present(real), present(made), words), title, note)


def _categories(column: Column, real: np.ndarray, made: np.ndarray, words: str) -> Markup:
    count = len(column.categories)
    here, there = shares(real, count + 1), shares(made, count + 1)
    order = np.argsort(-here[:count], kind="stable")
    first = order if count <= SHOWN_CATEGORIES + 1 else order[:SHOWN_CATEGORIES]
    rest = np.setdiff1d(np.arange(count + 1), first)
    names = [str(column.categories[code]).strip() or "(blank)" for code in first.tolist()]
    of_real, of_made = here[first].tolist(), there[first].tolist()
    if here[rest].sum() + there[rest].sum() > 0 or len(rest) > 1:
        names.append(f"{len(rest) - 1} others" if len(rest) > 1 else "unseen")
        of_real.append(float(here[rest].sum()))
        of_made.append(float(there[rest].sum()))
    return category_bars(names, of_real, of_made, words)


def _numbers(column: Column, real: np.ndarray, made: np.ndarray, words: str) -> Markup:
    edges = _edges(column, real)
    bins = [np.histogram(np.clip(cells, edges[0], edges[-1]), edges)[0] / len(cells) for cells in (real, made)]
    ends = cell_text(column, float(edges[0])), cell_text(column, float(edges[-1]))
    return histograms(bins[0], bins[1], edges, ends, words)


def _edges(column: Column, real: np.ndarray) -> np.ndarray:
    """Bins between the far quantiles of the real cells; of few whole steps, one for each."""
    low, high = np.quantile(real, [0.005, 0.995])
    if high <= low:
        low, high = float(real.min()), float(real.max())
    if high <= low:
        low, high = low - 0.5, low + 0.5
    step = column.step
    if step > 0:
        levels = round((high - low) / step) + 1
        wide = step * max(1, -(-levels // BINS))
        start = np.floor(low / step) * step - step / 2
        return start + wide * np.arange(int(np.ceil((high - start) / wide - 1e-9)) + 1)
    return np.linspace(low, high, BINS + 1)


def relations(study: Study) -> Section:
    """The associations of columns among real rows beside those among synthetic ones."""
    columns = study.columns
    real, made = study.compared
    kept = np.arange(len(columns))
    if len(columns) > MOST_RELATED:
        rough = associations(real[:500], columns)
        np.fill_diagonal(rough, 0.0)
        kept = np.sort(np.argsort(-np.nan_to_num(rough).max(axis=0), kind="stable")[:MOST_RELATED])
    chosen = tuple(columns[j] for j in kept.tolist())
    names = [column.name for column in chosen]
    pair = [associations(values[:, kept], chosen) for values in (real, made)]
    gaps = np.abs(pair[0] - pair[1])[np.tril_indices(len(chosen), -1)]
    words = (
        "How much two columns have to do with each other, from 0 (pale) to 1 (full): the rank correlation of "
        "two numbers, the correlation ratio of a number among categories, Cram\u00e9r's V of two categories."
    )
    if len(columns) > len(chosen):
        words += f" Of {len(columns)} columns, the {len(chosen)} with the strongest association are shown."
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
