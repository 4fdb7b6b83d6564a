"""What a report is about: the model, the data, and everything that is computed from them, once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import rankdata

from reparax import applications
from reparax.applications import Evaluation, Scores
from reparax.data import Dataset, read
from reparax.distributions import has_analytic_kl, kl_per_dimension
from reparax.errors import DataError, NoClosedForm, RecipeError
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel
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


MOST_SCORED = 20_000
MOST_EVALUATED = 5000
MOST_COMPARED = 5000
MOST_MAPPED = 2000


@dataclass(frozen=True)
class Origin:
    """Where a model and its data come from, for the commands that make them again.

    Attributes:
        model: The model's folder.
        data: The data's name.
        libraries: Versions of the libraries that fitted the model, by name.
        date: When the model was made.
    """

    model: str = "model"
    data: str = "DATA"
    libraries: Mapping[str, str] = field(default_factory=dict)
    date: str = ""


@dataclass(frozen=True)
class Study:
    """A fitted model and the data that it is looked at with; numbers are computed when they are first asked for.

    Attributes:
        fitted: The model.
        dataset: The rows.
        held_out: Those of them that were held out of the fit; None where these are not the data of the fit.
        label: What was asked to color the map first.
        origin: Where all this comes from.
        num_samples: K, the importance samples for each row.
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
        """What the labels of the rows are called."""
        asked = None if self.label in {column.name for column in self.columns} else self.label
        return asked or self.fitted.schema.label or "label"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a table; none of images and arrays."""
        return self.fitted.schema.columns or ()

    @property
    def has_density(self) -> bool:
        """Whether the model gives x a density."""
        return self.fitted.model.posterior.has_density

    @property
    def is_images(self) -> bool:
        """Whether there are pictures to show."""
        return self.fitted.schema.kind == "images" and self.fitted.schema.event_shape[-1] in {1, 3, 4}

    @property
    def is_table(self) -> bool:
        """Whether there are columns to show, in the units of the user."""
        return bool(self.columns) and self.fitted.binarize == "none"

    @cached_property
    def evaluated(self) -> Dataset:
        """The rows that likelihoods and reconstructions are measured on: held out of the fit where they can be."""
        return thinned(self.dataset if self.held_out is None else self.held_out, MOST_EVALUATED)

    @property
    def evaluated_words(self) -> str:
        """Which rows these are."""
        count = f"{len(self.evaluated):,} {self.rows_word(len(self.evaluated))}"
        if self.held_out is not None:
            return f"{count} that were held out of the fit"
        if len(self.evaluated) < len(self.dataset):
            return f"{count}, evenly taken from the {len(self.dataset):,} that were given"
        return f"the {count} that were given"

    def rows_word(self, count: int = 2) -> str:
        """What one example is called."""
        word = {"table": "row", "images": "image"}.get(self.fitted.schema.kind, "example")
        return word if count == 1 else f"{word}s"

    @cached_property
    def evaluation(self) -> Evaluation:
        """Bounds and their parts."""
        return applications.evaluate(self.fitted, self.evaluated, num_samples=self.num_samples, seed=self.seed)

    @cached_property
    def reconstructed(self) -> np.ndarray:
        """The reconstructions of the evaluated rows."""
        return applications.reconstruct(self.fitted, self.evaluated)

    @cached_property
    def scored(self) -> tuple[np.ndarray, Scores]:
        """The rows that are scored, by number, and their scores."""
        rows = evenly(len(self.dataset), MOST_SCORED)
        part = self.dataset.take(rows)
        return rows, applications.score(self.fitted, part, num_samples=self.num_samples, seed=self.seed)

    @cached_property
    def mapped(self) -> Dataset:
        """The rows of the latent map."""
        return thinned(self.dataset, MOST_MAPPED)

    @cached_property
    def codes(self) -> Float[np.ndarray, "n latent"]:
        """The posterior means of the mapped rows."""
        return applications.encode(self.fitted, self.mapped)

    @cached_property
    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """Real rows, and as many synthetic ones as give steady numbers."""
        real = thinned(self.dataset, MOST_COMPARED).values.astype(np.float64)
        key = jax.random.key(self.seed)
        return real, applications.sample_values(self.fitted, MOST_COMPARED, key=key).astype(np.float64)

    @cached_property
    def information(self) -> tuple[Float[np.ndarray, " k"], bool]:
        """Nats in each latent dimension, and whether they are the KL to the prior.

        Where the KL to the prior is no sum over dimensions (a flow, a mixture), 0.5 (log Var z_j - E log Var(z_j | x))
        instead: the information on x in z_j, were it normally distributed.
        """
        exact = _kl_of(self.fitted, self.mapped)
        if exact is not None and exact.ndim == 2:
            return exact.mean(axis=0), True
        means = self.codes.astype(np.float64)
        if not self.has_density:
            return means.var(axis=0), False
        within = np.maximum(self._spread().astype(np.float64) ** 2, 1e-30)
        total = means.var(axis=0) + within.mean(axis=0)
        return 0.5 * (np.log(total) - np.log(within).mean(axis=0)), False

    def _spread(self) -> Float[np.ndarray, "n k"]:
        try:
            return applications.encode_std(self.fitted, self.mapped)
        except NoClosedForm:
            return applications.drawn_std(self.fitted, self.mapped)


def study_of(
    fitted: FittedModel, data: Any, *, label: str | Path | None, origin: Origin | None, num_samples: int, seed: int
) -> Study:
    """A study of a model with data that are held against its schema; the arguments are those of `report`.

    Raises:
        DataError: Data that cannot be read, of another shape or kind than at fitting, or without the label.
        RecipeError: A conditional model, of which there is no report.
    """
    if context_size(fitted.model):
        raise RecipeError(
            expected="a model without a context for a report",
            got="a conditional model",
            cure="use score, evaluate and sample with context=...",
        )
    by_name = {column.name for column in fitted.schema.columns or ()}
    colored = isinstance(label, str) and label in by_name
    source = data if label is None or colored or isinstance(data, Dataset) else read(data, label=label)
    dataset = applications.dataset_of(fitted, source)
    if label is not None and not colored and dataset.labels is None:
        raise DataError(
            expected="a label that is a column of the data, or comes with them",
            got=f"{str(label)!r}",
            cure="name a column of the table, or read the data with reparax.read(data, label=...)",
        )
    if origin is None:
        origin = Origin(data=str(data)) if isinstance(data, str | Path) else Origin()
    asked = None if label is None else str(label)
    return Study(fitted, dataset, applications.held_out_of(fitted, dataset), asked, origin, num_samples, seed)


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many places among ``count``, evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def thinned(dataset: Dataset, most: int) -> Dataset:
    """At most so many rows, evenly spaced."""
    return dataset if len(dataset) <= most else dataset.take(evenly(len(dataset), most))


def _kl_of(fitted: FittedModel, dataset: Dataset) -> np.ndarray | None:
    """The KL of each row and dimension; None where no closed form is known."""
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
