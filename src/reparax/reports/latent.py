"""The latent space: a map of the posterior means, and the information in each dimension."""

from collections.abc import Callable

import numpy as np

from reparax.applications import ACTIVE_VARIANCE
from reparax.data import joint_values, label_text
from reparax.reports.charts import bars, in_words, number, percent, points
from reparax.reports.page import Beside, Block, Coloring, Figure, Figures, Map, Section, Text
from reparax.reports.study import Study, association, observed, principal_components
from reparax.summary import Column

MAX_COLORINGS = 24
MAX_TRIED = 200
MAX_CATEGORIES = 10
FEW_LEVELS = 10
MAX_BARS = 128
CATEGORY_CODES = "abcdefghij"


def latent_map(study: Study) -> Section:
    """The posterior means in two dimensions."""
    codes, what = study.codes, "posterior means" if study.code_use is None else "embeddings of the codes"
    if codes.shape[1] == 2:
        places, names = codes.astype(np.float64), ("z1", "z2")
        words = f"The {what}; the latent space has two dimensions."
    else:
        places, explained = principal_components(codes)
        axes = [f"component {index + 1} ({percent(part)})" for index, part in enumerate(explained)]
        names = (axes[0], axes[1] if len(axes) > 1 else "spread out for visibility")
        words = (
            f"The first two principal components of the {what}, which have {codes.shape[1]} dimensions; they "
            f"explain {percent(sum(explained))} of the variance."
            if len(axes) > 1
            else f"The {what}, which have one dimension; the other axis has no meaning."
        )
    words += f" {len(codes):,} {study.rows_word(len(codes))}"
    words += f", evenly spaced among {len(study.dataset):,}" if len(codes) < len(study.dataset) else ""
    words += ". Close points are examples that the model finds similar."
    if study.fitted.others:
        words += f" Of the ensemble of {len(study.fitted.members)}, this is the first member."
    colorings = _colorings(study, places)
    colored = f", colored by {colorings[0].name}" if colorings[0].name else ""
    chart = points(places, colorings[0].codes, f"latent map{colored}", names=names)
    return Section("map", "Latent map", (Text(words), Map(chart, colorings)))


def _colorings(study: Study, places: np.ndarray) -> tuple[Coloring, ...]:
    """The column that the user chose, then the labels, then the columns by how strongly they are associated."""
    columns = study.columns if study.is_table else ()
    values, labels = joint_values(study.mapped), study.mapped.labels
    asked = [j for j, column in enumerate(columns) if column.name == study.label]
    strength = [_strength(values[:, j].astype(np.float64), columns[j], places) for j in range(len(columns[:MAX_TRIED]))]
    order = np.argsort(-np.asarray(strength), kind="stable")[:MAX_COLORINGS].tolist()
    colorings = [_of_column(columns[j], values[:, j].astype(np.float64)) for j in asked]
    if labels is not None:
        colorings.append(_of_labels(study.label_name, labels))
    rest = [j for j in order if strength[j] > 0 and j not in asked]
    colorings += [_of_column(columns[j], values[:, j].astype(np.float64)) for j in rest]
    return tuple(colorings) or (Coloring("", "a" * len(places), ()),)


def _strength(cells: np.ndarray, column: Column, places: np.ndarray) -> float:
    """How strongly a column is associated with the map, adjusted for the number of its categories."""
    strongest = float(np.nan_to_num([association(cells, column, places[:, k], None) for k in range(2)]).max())
    if not column.is_category:
        return strongest
    rows, levels = len(observed(cells)), len(np.unique(observed(cells)))
    return float(np.sqrt(max(0.0, 1 - (1 - strongest**2) * (rows - 1) / max(rows - levels, 1))))


def _of_labels(name: str, labels: np.ndarray) -> Coloring:
    missing = np.asarray([label_text(label) is None for label in labels.tolist()])
    kept = labels[~missing]
    numeric = labels.dtype.kind in "iuf"
    levels, counts = np.unique(kept.astype(np.float64) if numeric else kept.astype(str), return_counts=True)
    if numeric and len(levels) > FEW_LEVELS:
        return _graded(name, np.where(missing, np.nan, labels.astype(np.float64)), number)
    # Numbers keep their order; the most frequent names come first.
    ranked = np.arange(len(levels)) if numeric else np.argsort(-counts, kind="stable")
    names = [f"{level:g}" if numeric else str(level) for level in levels.tolist()]
    rank_of = dict(zip(names, np.argsort(ranked).tolist(), strict=True))
    given = [f"{float(v):g}" if numeric else str(v) for v in np.where(missing, kept[:1], labels).tolist()]
    ranks = np.asarray([-1 if gap else rank_of[word] for word, gap in zip(given, missing, strict=True)])
    return _categorical(name, ranks, [names[index] for index in ranked.tolist()])


def _of_column(column: Column, cells: np.ndarray) -> Coloring:
    if not column.is_category:
        return _graded(column.name, cells, lambda value: in_words(column, value))
    codes = np.where(np.isnan(cells), -1, np.nan_to_num(cells)).astype(np.int64)
    names = [str(category).strip() or "(blank)" for category in column.categories]
    return _categorical(column.name, codes, names)


def _categorical(name: str, ranks: np.ndarray, names: list[str]) -> Coloring:
    """Categories, most frequent first; those for which no color is left share one."""
    separate = len(names) if len(names) <= MAX_CATEGORIES else MAX_CATEGORIES - 1
    codes = "".join(CATEGORY_CODES[rank] if 0 <= rank < separate else "x" for rank in ranks.tolist())
    legend = list(zip(CATEGORY_CODES, names[:separate], strict=False))
    if "x" in codes:
        rest = len(names) - separate
        beyond = "new ones" if (ranks >= len(names)).any() else ""
        words = (f"{rest} others" if rest > 0 else "", beyond, "missing" if (ranks < 0).any() else "")
        legend.append(("x", ", ".join(filter(None, words))))
    return Coloring(name, codes, tuple(legend))


def _graded(name: str, cells: np.ndarray, text_of: Callable[[float], str]) -> Coloring:
    """Numbers by their deciles, from low to high."""
    present = observed(cells)
    deciles = np.quantile(present, np.arange(1, 10) / 10) if len(present) else np.zeros(9)
    # Equal quantiles give one color: a value that many rows share is not split.
    codes = "".join(
        "x" if gap else str(step)
        for gap, step in zip(np.isnan(cells).tolist(), np.searchsorted(deciles, cells, "left").tolist(), strict=True)
    )
    low, high = (text_of(float(value)) for value in (present.min(), present.max())) if len(present) else ("", "")
    legend = [*((str(step), "") for step in range(10)), ("", f"{low} to {high}, by rank")]
    return Coloring(name, codes, (*legend, ("x", "missing")) if "x" in codes else tuple(legend))


def dimensions(study: Study) -> Section:
    """The information in each latent dimension."""
    values, exact = study.information
    order = np.argsort(-values, kind="stable")[:MAX_BARS]
    limited = f" The {MAX_BARS} largest of {len(values)} are shown." if len(values) > MAX_BARS else ""
    if not study.has_density:
        title, unit = "Variance of each code", "variance"
        words = "How much each code varies over the data. A deterministic autoencoder has no KL."
    elif exact:
        title, unit = "KL of each latent dimension", "nats"
        words = (
            "The KL divergence of the posterior from the prior in each dimension, averaged over the data. It measures "
            "how much information the dimension carries."
        )
    else:
        title, unit = "Information in each latent dimension", "nats"
        words = (
            "The KL to this prior is not a sum over dimensions. Shown instead is the mutual information of each "
            "dimension and the data if it were normally distributed, 0.5 (log Var z - mean log Var(z | x))."
        )
    active = _active(study, len(values))
    evaluation = study.evaluation
    activity = (
        f"{evaluation.active_units} of {evaluation.latent_dim} dimensions are active: the variance of their posterior "
        f"mean over the data is above {ACTIVE_VARIANCE:g} (Burda et al. 2016)."
    )
    if evaluation.active_units < evaluation.latent_dim:
        activity += " The others are gray." if evaluation.active_units else " All are gray."
    chart = bars(
        values[order].tolist(), [str(index + 1) for index in order.tolist()], (~active[order]).tolist(),
        f"{title}: {', '.join(number(value) for value in values[order][:8].tolist())}", unit=unit,
    )  # fmt: skip
    beside: list[Block] = [Text(words + limited), Text(activity)]
    if study.has_density and evaluation.kl is not None:
        total = f"The total KL of {study.evaluated_words} is {number(evaluation.kl)} nats per {study.rows_word(1)}."
        beside.append(Text(total, "small"))
    layers = _layers(study, values) if exact else ()
    figures = Figures((Figure(chart, title, "Largest first."), *layers), "large")
    return Section("dimensions", "Latent dimensions", (Beside(figures, tuple(beside)),))


def _layers(study: Study, values: np.ndarray) -> tuple[Figure, ...]:
    """The KL of each layer of a hierarchical model; nothing for others."""
    layers = study.fitted.model.posterior.layer_slices
    if len(layers) == 1:
        return ()
    sums = [float(values[start:end].sum()) for start, end in layers]
    names = [f"z{len(layers) - index}" for index in range(len(layers))]
    words = ", ".join(f"{name} {number(value)}" for name, value in zip(names, sums, strict=True))
    chart = bars(sums, names, [False] * len(sums), f"KL of each layer: {words}", unit="nats")
    return (Figure(chart, "KL of each layer", "The deepest layer first; the sum over its dimensions."),)


def _active(study: Study, count: int) -> np.ndarray:
    variances = study.codes.var(axis=0)
    # One KL term may belong to several numbers of a code, such as a one-hot vector.
    width = max(1, len(variances) // count)
    grouped = variances[: width * count].reshape(count, width)
    return grouped.max(axis=1) > ACTIVE_VARIANCE
