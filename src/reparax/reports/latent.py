"""The latent space: a map of the posterior means, and how much each dimension carries."""

from collections.abc import Callable

import numpy as np

from reparax.applications import ACTIVE_VARIANCE
from reparax.reports.charts import bars, in_words, number, percent, points
from reparax.reports.page import Beside, Block, Coloring, Figure, Figures, Map, Section, Text
from reparax.reports.study import Study, association, main_directions
from reparax.summary import Column

MOST_COLORINGS = 24
MOST_TRIED = 200
MOST_CATEGORIES = 10
FEW_LEVELS = 10
MOST_BARS = 128
CATEGORY_CODES = "abcdefghij"


def latent_map(study: Study) -> Section:
    """The posterior means in a plane."""
    codes = study.codes
    if codes.shape[1] == 2:
        places, names = codes.astype(np.float64), ("z1", "z2")
        words = "The posterior means, as they are: the latent space has two dimensions."
    else:
        places, parts = main_directions(codes)
        named = [f"component {index + 1} ({percent(part)})" for index, part in enumerate(parts)]
        names = (named[0], named[1] if len(named) > 1 else "spread for sight only")
        words = f"The posterior means of {codes.shape[1]} dimensions, their two principal components, which have "
        words += f"{percent(sum(parts))} of the variance."
    words += f" {len(codes):,} {study.rows_word(len(codes))}"
    words += f", evenly taken from {len(study.dataset):,}" if len(codes) < len(study.dataset) else ""
    words += ". Neighbors are alike to the model."
    colorings = _colorings(study, places)
    drawn = points(places, colorings[0].codes, f"latent map, colored by {colorings[0].name}", names=names)
    return Section("map", "Latent map", (Text(words), Map(drawn, colorings)))


def _colorings(study: Study, places: np.ndarray) -> tuple[Coloring, ...]:
    """What was asked first, then the labels, then the columns by how much they have to do with the map."""
    columns = study.columns if study.is_table else ()
    values, labels = study.mapped.values, study.mapped.labels
    asked = [j for j, column in enumerate(columns) if column.name == study.label]
    strength = [
        _strength(values[:, j].astype(np.float64), columns[j], places) for j in range(len(columns[:MOST_TRIED]))
    ]
    order = np.argsort(-np.asarray(strength), kind="stable")[:MOST_COLORINGS].tolist()
    found = [_of_column(columns[j], values[:, j].astype(np.float64)) for j in asked]
    if labels is not None:
        found.append(_of_labels(study.label_name, labels))
    rest = [j for j in order if strength[j] > 0 and j not in asked]
    found += [_of_column(columns[j], values[:, j].astype(np.float64)) for j in rest]
    return tuple(found) or (Coloring("one color", "a" * len(places), ()),)


def _strength(cells: np.ndarray, column: Column, places: np.ndarray) -> float:
    """How much a column has to do with the map, less what many categories have by chance."""
    found = float(np.nan_to_num([association(cells, column, places[:, k], None) for k in range(2)]).max())
    if not column.is_category:
        return found
    rows, levels = int((~np.isnan(cells)).sum()), len(np.unique(cells[~np.isnan(cells)]))
    return float(np.sqrt(max(0.0, 1 - (1 - found**2) * (rows - 1) / max(rows - levels, 1))))


def _of_labels(name: str, labels: np.ndarray) -> Coloring:
    missing = np.asarray([label is None or label != label for label in labels.tolist()])
    kept = labels[~missing]
    numeric = labels.dtype.kind in "iuf"
    levels, counts = np.unique(kept.astype(np.float64) if numeric else kept.astype(str), return_counts=True)
    if numeric and len(levels) > FEW_LEVELS:
        return _graded(name, np.where(missing, np.nan, labels.astype(np.float64)), number)
    # Numbers keep their order; of names the most frequent come first.
    most = np.arange(len(levels)) if numeric else np.argsort(-counts, kind="stable")
    words = [f"{level:g}" if numeric else str(level) for level in levels.tolist()]
    order = np.argsort(most)  # the place of each level, the most frequent first
    texts = {word: int(order[index]) for index, word in enumerate(words)}
    given = [f"{float(v):g}" if numeric else str(v) for v in np.where(missing, kept[:1], labels).tolist()]
    places = np.asarray([-1 if gone else texts[word] for word, gone in zip(given, missing, strict=True)])
    return _sorted_apart(name, places, [words[index] for index in most.tolist()])


def _of_column(column: Column, cells: np.ndarray) -> Coloring:
    if not column.is_category:
        return _graded(column.name, cells, lambda value: in_words(column, value))
    places = np.where(np.isnan(cells), -1, np.nan_to_num(cells)).astype(np.int64)
    names = [str(category).strip() or "(blank)" for category in column.categories]
    return _sorted_apart(column.name, places, names)


def _sorted_apart(name: str, places: np.ndarray, names: list[str]) -> Coloring:
    """Categories, most frequent first; those beyond the colors are one."""
    alone = len(names) if len(names) <= MOST_CATEGORIES else MOST_CATEGORIES - 1
    codes = "".join(CATEGORY_CODES[place] if 0 <= place < alone else "x" for place in places.tolist())
    legend = list(zip(CATEGORY_CODES, names[:alone], strict=False))
    if "x" in codes:
        rest = len(names) - alone
        legend.append(("x", f"{rest} others" if rest > 0 else "missing"))
    return Coloring(name, codes, tuple(legend))


def _graded(name: str, cells: np.ndarray, words: Callable[[float], str]) -> Coloring:
    """Numbers by their ranks, from low to high."""
    there = cells[~np.isnan(cells)]
    inner = np.quantile(there, np.arange(1, 10) / 10) if len(there) else np.zeros(9)
    # Right of equal quantiles: a value that many rows share has one color.
    codes = "".join(
        "x" if gone else str(step)
        for gone, step in zip(np.isnan(cells).tolist(), np.searchsorted(inner, cells, "left").tolist(), strict=True)
    )
    low, high = (words(float(value)) for value in (there.min(), there.max())) if len(there) else ("", "")
    legend = [*((str(step), "") for step in range(10)), ("", f"{low} to {high}, by rank")]
    return Coloring(name, codes, (*legend, ("x", "missing")) if "x" in codes else tuple(legend))


def dimensions(study: Study) -> Section:
    """What each latent dimension carries."""
    values, exact = study.information
    order = np.argsort(-values, kind="stable")[:MOST_BARS]
    limited = f" The {MOST_BARS} largest of {len(values)} are shown." if len(values) > MOST_BARS else ""
    if not study.has_density:
        title, unit = "Variance of each code", "variance"
        words = "How much each code varies over the data: a deterministic autoencoder has no KL."
    elif exact:
        title, unit = "KL of each latent dimension", "nats"
        words = (
            "How far the posterior of each dimension is from the prior, mean over the data: what the dimension carries."
        )
    else:
        title, unit = "Information in each latent dimension", "nats"
        words = (
            "The KL to this prior is no sum over dimensions. Shown is what each dimension carries on the data, "
            "0.5 (log Var z - mean log Var(z | x)): its mutual information, were it normally distributed."
        )
    active = _active(study, len(values))
    found = study.evaluation
    said = (
        f"{found.active_units} of {found.latent_dim} dimensions are active: their posterior mean varies over the data "
    )
    said += f"(variance above {ACTIVE_VARIANCE:g}; Burda et al. 2016). Gray ones are not."
    drawn = bars(
        values[order].tolist(), [str(index + 1) for index in order.tolist()], (~active[order]).tolist(),
        f"{title}: {', '.join(number(value) for value in values[order][:8].tolist())}", unit=unit,
    )  # fmt: skip
    beside: list[Block] = [Text(words + limited), Text(said)]
    if study.has_density and found.kl is not None:
        beside.append(Text(f"The whole KL is {number(found.kl)} nats per {study.rows_word(1)}.", "small"))
    figures = Figures((Figure(drawn, title, "Largest first."),), "large")
    return Section("dimensions", "Latent dimensions", (Beside(figures, tuple(beside)),))


def _active(study: Study, count: int) -> np.ndarray:
    variances = study.codes.var(axis=0)
    # One term may stand for several numbers of a code (a category's one-hot vector).
    width = max(1, len(variances) // count)
    grouped = variances[: width * count].reshape(count, width)
    return grouped.max(axis=1) > ACTIVE_VARIANCE
