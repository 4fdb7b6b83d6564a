"""Synthetic rows beside real ones: each column alone, and what columns have to do with each other."""

import numpy as np
from markupsafe import Markup

from reparax.reports._charts import category_bars, heatmap, histograms
from reparax.reports._measures import associations, distance, distance_by_chance, largest_correlations, present, shares
from reparax.reports._page import Block, Figure, Figures, Section, Text
from reparax.reports._study import Study
from reparax.reports._svg import percent, shortened
from reparax.reports._words import in_words
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
