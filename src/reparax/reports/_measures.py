"""Numbers of a report: distances of distributions, associations of columns, main directions. NumPy alone."""

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from reparax.summary import Column

MEAN_OF_KOLMOGOROV = 0.8687


def present(cells: np.ndarray) -> np.ndarray:
    """The cells that are there."""
    return cells[~np.isnan(cells)]


def shares(codes: np.ndarray, count: int) -> Float[np.ndarray, " count"]:
    """The share of each category among the cells that are there, unseen ones left out."""
    kept = present(codes)
    counts = np.bincount(kept[kept < count].astype(np.int64), minlength=count)
    return counts / max(1, len(kept))


def distance(real: np.ndarray, made: np.ndarray, column: Column) -> float:
    """How far two columns are from each other: total variation of categories, Kolmogorov-Smirnov of numbers; 0 to 1."""
    real, made = present(real), present(made)
    if not len(real) or not len(made):
        return float("nan")
    if column.is_category:
        count = len(column.categories) + 1
        return 0.5 * float(np.abs(shares(real, count) - shares(made, count)).sum())
    real, made = np.sort(real), np.sort(made)
    places = np.concatenate([real, made])
    below = np.searchsorted(real, places, "right") / len(real) - np.searchsorted(made, places, "right") / len(made)
    return float(np.abs(below).max())


def distance_by_chance(real: np.ndarray, made: np.ndarray, column: Column) -> float:
    """About what `distance` is between two samples of these sizes from one distribution, on average."""
    sizes = len(present(real)), len(present(made))
    if 0 in sizes:
        return float("nan")
    noise = np.sqrt(1 / sizes[0] + 1 / sizes[1])
    if not column.is_category:
        return float(MEAN_OF_KOLMOGOROV * noise)
    p = shares(real, len(column.categories))
    return float(0.5 * np.sum(np.sqrt(2 / np.pi * p * (1 - p))) * noise)


def associations(values: Float[np.ndarray, "n d"], columns: tuple[Column, ...]) -> Float[np.ndarray, "d d"]:
    """How much each pair of columns has to do with each other, 0 to 1; NaN where one is constant.

    The size of the rank correlation of two numbers, the correlation ratio of a number's ranks among categories,
    Cramér's V of two categories; over the rows where both are there.
    """
    count = len(columns)
    found = np.full((count, count), np.nan)
    for i in range(count):
        for j in range(i + 1):
            found[i, j] = found[j, i] = association(values[:, i], columns[i], values[:, j], columns[j])
    return found


def largest_correlations(values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    """Of each column the size of its largest rank correlation with another, codes taken as numbers; cheap for many."""
    ranks = rankdata(values, axis=0, nan_policy="omit")
    centered = np.nan_to_num(ranks - np.nanmean(ranks, axis=0))
    lengths = np.sqrt((centered**2).sum(axis=0))
    scaled = centered / np.where(lengths > 0, lengths, 1.0)
    found = np.abs(scaled.T @ scaled)
    np.fill_diagonal(found, 0.0)
    return found.max(axis=0)


def association(a: np.ndarray, column_a: Column | None, b: np.ndarray, column_b: Column | None) -> float:
    """One pair of `associations`; a column of None holds numbers."""
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    if len(a) < 2 or (a == a[0]).all() or (b == b[0]).all():
        return float("nan")
    codes = [column is not None and column.is_category for column in (column_a, column_b)]
    if all(codes):
        return _cramers_v(a, b)
    if not any(codes):
        return abs(float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]))
    return _correlation_ratio(a, b) if codes[0] else _correlation_ratio(b, a)


def _correlation_ratio(codes: np.ndarray, numbers: np.ndarray) -> float:
    """The root of the share of the ranks' variance that lies between categories."""
    ranks = rankdata(numbers)
    place = np.unique(codes, return_inverse=True)[1]
    sizes = np.bincount(place)
    means = np.bincount(place, ranks) / sizes
    between = float((sizes * (means - ranks.mean()) ** 2).sum())
    return float(np.sqrt(min(1.0, between / float(((ranks - ranks.mean()) ** 2).sum()))))


def _cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    rows, columns = np.unique(a, return_inverse=True)[1], np.unique(b, return_inverse=True)[1]
    shape = int(rows.max()) + 1, int(columns.max()) + 1
    if shape[0] * shape[1] > 4_000_000:
        return float("nan")
    table = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / len(a)
    squared = float(((table - expected) ** 2 / expected).sum()) / len(a)
    return float(np.sqrt(min(1.0, squared / (min(shape) - 1))))


def main_directions(codes: Float[np.ndarray, "n k"]) -> tuple[Float[np.ndarray, "n 2"], tuple[float, ...]]:
    """The two principal components of codes, and their shares of the variance; their signs are fixed."""
    centered = codes.astype(np.float64) - codes.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centered.T @ centered)
    order = np.argsort(variances)[::-1][:2]
    chosen = directions[:, order]
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(len(order))])
    total = float(variances.sum())
    found = centered @ chosen
    if found.shape[1] == 1:
        # One dimension: spread over the other axis, so that points do not hide each other.
        spread = np.modf(np.arange(len(codes)) * 0.6180339887)[0]
        found = np.column_stack([found, spread * np.ptp(found) * 0.3])
    return found, tuple(float(variances[i]) / total if total else 0.0 for i in order)


def explained(real: np.ndarray, found: np.ndarray, column: Column) -> tuple[float, float]:
    """How well a column comes back, and how well the best constant would: of numbers R squared and 0, else accuracies.

    Args:
        real: The cells.
        found: The reconstructions.
        column: What they are.
    """
    there = ~np.isnan(real)
    real, found = real[there], found[there]
    if not len(real):
        return float("nan"), float("nan")
    if column.is_category:
        most = float(shares(real, len(column.categories) + 1).max())
        return float((real == found).mean()), most
    spread = float(((real - real.mean()) ** 2).sum())
    return (1.0 - float(((real - found) ** 2).sum()) / spread if spread else float("nan")), 0.0
