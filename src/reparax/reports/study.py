"""What a report is about: the model, the data, and all the numbers computed from them, each once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

from reparax import applications
from reparax.applications import Evaluation, Scores
from reparax.data import Dataset, read
from reparax.distributions import has_analytic_kl, kl_per_dimension
from reparax.errors import DataError, NoClosedForm, RecipeError
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel
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


MAX_SCORED = 20_000
MAX_EVALUATED = 5000
MAX_COMPARED = 5000
MAX_MAPPED = 2000


@dataclass(frozen=True)
class Origin:
    """Where a model and its data come from, for the commands that reproduce the report.

    Attributes:
        model: The folder of the model.
        data: The name of the data.
        libraries: Versions of the libraries that fitted the model, by name.
        date: The date of the fit.
    """

    model: str = "model"
    data: str = "DATA"
    libraries: Mapping[str, str] = field(default_factory=dict)
    date: str = ""


@dataclass(frozen=True)
class Study:
    """A fitted model and the data that a report shows it on; numbers are computed when they are first needed.

    Attributes:
        fitted: The model.
        dataset: The rows.
        held_out: The rows that were held out of the fit; None if these are not the data of the fit.
        label: The label that the user wants to color the map by.
        origin: Where the model and the data come from.
        num_samples: K, the importance samples of each row.
        seed: The seed of everything random.
    """

    fitted: FittedModel
    dataset: Dataset
    held_out: Dataset | None
    label: str | None
    origin: Origin
    num_samples: int
    seed: int

    @property
    def label_name(self) -> str:
        """The name of the labels of the rows."""
        asked = None if self.label in {column.name for column in self.columns} else self.label
        return asked or self.fitted.schema.label or "label"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a table; none for images and arrays."""
        return self.fitted.schema.columns or ()

    @property
    def has_density(self) -> bool:
        """Whether the model has a density of x."""
        return self.fitted.model.posterior.has_density

    @property
    def is_images(self) -> bool:
        """Whether the examples can be shown as images."""
        return self.fitted.schema.kind == "images" and self.fitted.schema.event_shape[-1] in {1, 3, 4}

    @property
    def is_table(self) -> bool:
        """Whether the examples are rows of columns in the units of the user."""
        return bool(self.columns) and self.fitted.binarize == "none"

    @cached_property
    def evaluated(self) -> Dataset:
        """The rows on which likelihoods and reconstructions are measured: if possible, those held out of the fit."""
        return thinned(self.dataset if self.held_out is None else self.held_out, MAX_EVALUATED)

    @property
    def evaluated_words(self) -> str:
        """A description of the evaluated rows."""
        count = f"{len(self.evaluated):,} {self.rows_word(len(self.evaluated))}"
        if self.held_out is not None:
            return f"{count} that were held out of the fit"
        if len(self.evaluated) < len(self.dataset):
            return f"{count}, evenly spaced among the {len(self.dataset):,} given"
        return f"the {count} given"

    def rows_word(self, count: int = 2) -> str:
        """The word for one or several examples."""
        word = {"table": "row", "images": "image"}.get(self.fitted.schema.kind, "example")
        return word if count == 1 else f"{word}s"

    @cached_property
    def evaluation(self) -> Evaluation:
        """The bounds and their terms."""
        return applications.evaluate(self.fitted, self.evaluated, num_samples=self.num_samples, seed=self.seed)

    @cached_property
    def reconstructed(self) -> np.ndarray:
        """The reconstructions of the evaluated rows."""
        return applications.reconstruct(self.fitted, self.evaluated)

    @cached_property
    def scored(self) -> tuple[np.ndarray, Scores]:
        """The indices of the scored rows, and their scores."""
        rows = evenly(len(self.dataset), MAX_SCORED)
        return rows, applications.score(
            self.fitted, self.dataset.take(rows), num_samples=self.num_samples, seed=self.seed
        )

    @cached_property
    def mapped(self) -> Dataset:
        """The rows of the latent map."""
        return thinned(self.dataset, MAX_MAPPED)

    @cached_property
    def codes(self) -> Float[np.ndarray, "n latent"]:
        """The posterior means of the mapped rows."""
        return applications.encode(self.fitted, self.mapped)

    @cached_property
    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """Real rows, and enough synthetic rows for stable comparisons."""
        real = thinned(self.dataset, MAX_COMPARED).values.astype(np.float64)
        key = jax.random.key(self.seed)
        return real, applications.sample_values(self.fitted, MAX_COMPARED, key=key).astype(np.float64)

    @cached_property
    def information(self) -> tuple[Float[np.ndarray, " k"], bool]:
        """The information in each latent dimension, in nats, and whether it is the KL to the prior.

        If the KL to the prior is not a sum over dimensions (a flow, a mixture), it is instead
        0.5 (log Var z_j - E log Var(z_j | x)), the mutual information of x and z_j if z_j were normal. A deterministic
        model has the variances of the codes.
        """
        kl = _kl_of(self.fitted, self.mapped)
        if kl is not None and kl.ndim == 2:
            return kl.mean(axis=0), True
        means = self.codes.astype(np.float64)
        if not self.has_density:
            return means.var(axis=0), False
        within = np.maximum(self._posterior_std().astype(np.float64) ** 2, 1e-30)
        total = means.var(axis=0) + within.mean(axis=0)
        return 0.5 * (np.log(total) - np.log(within).mean(axis=0)), False

    def _posterior_std(self) -> Float[np.ndarray, "n k"]:
        try:
            return applications.encode_std(self.fitted, self.mapped)
        except NoClosedForm:
            return applications.drawn_std(self.fitted, self.mapped)


def study_of(
    fitted: FittedModel, data: Any, *, label: str | Path | None, origin: Origin | None, num_samples: int, seed: int
) -> Study:
    """A study of a model on data that match its schema; the arguments are those of `report`.

    Raises:
        DataError: Data that cannot be read, have another shape or kind than in the fit, or lack the label.
        RecipeError: The model is conditional; reports do not support that.
    """
    if context_size(fitted.model):
        raise RecipeError(
            expected="a model without a context",
            got="a conditional model, of which no report can be made",
            cure="use score, evaluate and sample with context=...",
        )
    names = {column.name for column in fitted.schema.columns or ()}
    is_column = isinstance(label, str) and label in names
    source = data if label is None or is_column or isinstance(data, Dataset) else read(data, label=label)
    dataset = applications.dataset_of(fitted, source)
    if label is not None and not is_column and dataset.labels is None:
        raise DataError(
            expected="a label that is a column of the data or comes with them",
            got=f"{str(label)!r}",
            cure="name a column of the table, or read the data with reparax.read(data, label=...)",
        )
    if origin is None:
        origin = Origin(data=str(data)) if isinstance(data, str | Path) else Origin()
    asked = None if label is None else str(label)
    return Study(fitted, dataset, applications.held_out_of(fitted, dataset), asked, origin, num_samples, seed)


def evenly(count: int, most: int) -> np.ndarray:
    """Indices below ``count``, at most ``most`` of them and evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def thinned(dataset: Dataset, most: int) -> Dataset:
    """At most ``most`` rows, evenly spaced."""
    return dataset if len(dataset) <= most else dataset.take(evenly(len(dataset), most))


def _kl_of(fitted: FittedModel, dataset: Dataset) -> np.ndarray | None:
    """The KL of each row and dimension; None if it has no known closed form."""
    if not fitted.model.posterior.has_density:
        return None
    stored = fitted.units.stored(dataset.values)
    rows = jax.numpy.asarray(stored)
    posterior = eqx.filter_eval_shape(lambda x: fitted.model.posterior(fitted.units.expected(x, _key())), rows[0])
    prior = eqx.filter_eval_shape(lambda: fitted.model.prior(fitted.model.posterior))
    if not has_analytic_kl(posterior, prior):
        return None
    return np.asarray(_kl_of_rows(fitted.model, rows, fitted.units.expected))


def _key() -> Array:
    return jax.random.key(0)


@eqx.filter_jit
def _kl_of_rows(model: Model, rows: Array, expected: Any) -> Array:
    def one(x: Array) -> Array:
        return kl_per_dimension(model.posterior(expected(x, _key())), model.prior(model.posterior))

    return jax.lax.map(one, rows, batch_size=256)
