"""Statistics of columns and of pairs of columns: distances, associations, how well a column is reconstructed."""

import numpy as np
from jaxtyping import Float
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

from reparax.summary import Column

MEAN_OF_KOLMOGOROV = float(np.sqrt(np.pi / 2) * np.log(2))
"""The mean of Kolmogorov's distribution, the limit of the scaled distance of two samples of one distribution."""

LARGEST_TABLE = 4_000_000
"""The largest number of cells of a contingency table that is worth its memory."""

GOLDEN_RATIO = 0.6180339887


def observed(cells: np.ndarray) -> np.ndarray:
    """The cells that are not missing."""
    return cells[~np.isnan(cells)]


def frequencies(codes: np.ndarray, count: int) -> Float[np.ndarray, " count"]:
    """The relative frequency of each category among the observed cells; other codes count only in the total."""
    kept = observed(codes)
    counts = np.bincount(kept[kept < count].astype(np.int64), minlength=count)
    return counts / max(1, len(kept))


def distance(real: np.ndarray, synthetic: np.ndarray, column: Column) -> float:
    """The distance between two samples of a column: total variation of categories, Kolmogorov-Smirnov of numbers.

    A missing cell is a category of its own; among numbers it is taken for less than all others, or for greater,
    whichever gives the larger distance.
    """
    if not len(real) or not len(synthetic):
        return float("nan")
    if column.is_category:
        count = len(column.categories) + 1
        return 0.5 * float(np.abs(_with_missing(real, count) - _with_missing(synthetic, count)).sum())
    ends = (-np.inf, np.inf) if np.isnan(real).any() or np.isnan(synthetic).any() else (0.0,)
    return max(_kolmogorov_smirnov(real, synthetic, end) for end in ends)


def expected_distance(real: np.ndarray, synthetic: np.ndarray, column: Column) -> float:
    """About the mean of `distance` between two samples of these sizes from one distribution."""
    if not len(real) or not len(synthetic):
        return float("nan")
    noise = np.sqrt(1 / len(real) + 1 / len(synthetic))
    if not column.is_category:
        return float(MEAN_OF_KOLMOGOROV * noise)
    p = _with_missing(real, len(column.categories))
    return float(0.5 * np.sum(np.sqrt(2 / np.pi * p * (1 - p))) * noise)


def _with_missing(codes: np.ndarray, count: int) -> Float[np.ndarray, " count+1"]:
    """The relative frequency of each category and of missing cells."""
    missing = float(np.isnan(codes).mean())
    return np.append(frequencies(codes, count) * (1 - missing), missing)


def _kolmogorov_smirnov(real: np.ndarray, synthetic: np.ndarray, for_missing: float) -> float:
    cells = (np.where(np.isnan(sample), for_missing, sample) for sample in (real, synthetic))
    return float(stats.ks_2samp(*cells, method="asymp").statistic)


def associations(values: Float[np.ndarray, "n d"], columns: tuple[Column, ...]) -> Float[np.ndarray, "d d"]:
    """How strongly each pair of columns is associated, 0 to 1; NaN where one of them is constant.

    The absolute rank correlation of two numbers, the correlation ratio of the ranks of a number over categories,
    Cramér's V of two categories; over the rows where both are observed.
    """
    count = len(columns)
    matrix = np.full((count, count), np.nan)
    for i in range(count):
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = association(values[:, i], columns[i], values[:, j], columns[j])
    return matrix


def largest_correlations(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    """The largest absolute rank correlation of each column with another; codes count as numbers, gaps as means.

    One matrix product: SciPy's rank correlation leaves out missing cells pair by pair, which is slow for many columns.
    """
    ranks = stats.rankdata(values, axis=0, nan_policy="omit")
    centered = np.nan_to_num(ranks - np.nanmean(ranks, axis=0))
    lengths = np.sqrt((centered**2).sum(axis=0))
    scaled = centered / np.where(lengths > 0, lengths, 1.0)
    correlations = np.abs(scaled.T @ scaled)
    np.fill_diagonal(correlations, 0.0)
    return correlations.max(axis=0)


def association(a: np.ndarray, column_a: Column | None, b: np.ndarray, column_b: Column | None) -> float:
    """One pair of `associations`; a column of None holds numbers."""
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if len(a) < 2 or (a == a[0]).all() or (b == b[0]).all():
        return float("nan")
    are_categories = [column is not None and column.is_category for column in (column_a, column_b)]
    if all(are_categories):
        return _cramers_v(a, b)
    if not any(are_categories):
        return abs(float(stats.spearmanr(a, b).statistic))
    return _correlation_ratio(a, b) if are_categories[0] else _correlation_ratio(b, a)


def _correlation_ratio(codes: np.ndarray, numbers: np.ndarray) -> float:
    """The square root of the fraction of the variance of the ranks that lies between categories."""
    ranks = stats.rankdata(numbers)
    place = np.unique(codes, return_inverse=True)[1]
    means = (np.bincount(place, ranks) / np.bincount(place))[place]
    return float(np.sqrt(min(1.0, means.var() / ranks.var())))


def _cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    if len(np.unique(a)) * len(np.unique(b)) > LARGEST_TABLE:
        return float("nan")
    return min(1.0, float(stats.contingency.association(stats.contingency.crosstab(a, b).count, method="cramer")))


def principal_components(codes: Float[np.ndarray, "n k"]) -> tuple[Float[np.ndarray, "n 2"], tuple[float, ...]]:
    """The first two principal components of codes, and the fractions of the variance that they explain.

    Codes of one dimension are spread along the second axis, so that the points do not hide each other.
    """
    pca = PCA(min(2, *codes.shape), svd_solver="full")
    with np.errstate(all="ignore"):  # codes without any variance explain 0 of 0
        components = pca.fit_transform(codes.astype(np.float64))
    if components.shape[1] == 1:
        spread = np.modf(np.arange(len(codes)) * GOLDEN_RATIO)[0]
        components = np.column_stack([components, spread * np.ptp(components) * 0.3])
    return components, tuple(np.nan_to_num(pca.explained_variance_ratio_).tolist())


def quality(real: np.ndarray, reconstructed: np.ndarray, column: Column) -> tuple[float, float]:
    """How well a column is reconstructed, and how well the best constant would do.

    R squared and 0 for numbers, accuracies for categories.

    Args:
        real: The cells; missing ones are ignored.
        reconstructed: Their reconstructions.
        column: What they are.
    """
    is_observed = ~np.isnan(real)
    real, reconstructed = real[is_observed], reconstructed[is_observed]
    if not len(real):
        return float("nan"), float("nan")
    if column.is_category:
        most_frequent = float(frequencies(real, len(column.categories) + 1).max())
        return float((real == reconstructed).mean()), most_frequent
    if np.ptp(real) == 0:
        return float("nan"), 0.0
    return float(r2_score(real, reconstructed)), 0.0
