"""What a report is about: the model, the data, and all the numbers computed from them, each once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from reparax import applications
from reparax.applications import CodeUse, Evaluation, Measured, Privacy, Scores
from reparax.data import Dataset, joint_values, read
from reparax.errors import DataError, RecipeError
from reparax.networks import context_size
from reparax.posteriors.codes import CodePosterior
from reparax.recipe import FittedModel
from reparax.reports.joint import Pair, Sides, Trained, told_apart, trained_on_synthetic, worst_pair
from reparax.reports.missing import separability_by_gaps
from reparax.reports.statistics import association as association
from reparax.reports.statistics import associations as associations
from reparax.reports.statistics import distance as distance
from reparax.reports.statistics import expected_distance as expected_distance
from reparax.reports.statistics import frequencies as frequencies
from reparax.reports.statistics import largest_correlations as largest_correlations
from reparax.reports.statistics import observed as observed
from reparax.reports.statistics import principal_components as principal_components
from reparax.reports.statistics import quality as quality
from reparax.summary import Column

MAX_SCORED = 20_000
MAX_EVALUATED = 5000
MAX_COMPARED = 5000
MAX_MAPPED = 2000
MAX_RELATED = 30
MAX_LEARNED = 3000
MAX_JUDGED = 1500


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
    def first(self) -> FittedModel:
        """The model whose latent variables are shown: of an ensemble, its first member."""
        return self.fitted.members[0]

    @property
    def label_name(self) -> str:
        """The name of the labels of the rows."""
        asked = None if self.label in {column.name for column in self.columns} else self.label
        return asked or self.fitted.schema.label or "label"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a table, given ones among them; none for images and arrays."""
        return self.fitted.schema.joint.columns or ()

    @property
    def modeled(self) -> tuple[Column, ...]:
        """The columns of a table that are modeled."""
        return self.fitted.schema.columns or ()

    @property
    def given(self) -> tuple[Column, ...]:
        """What is given of each example and not modeled."""
        return self.fitted.schema.given_columns

    @property
    def most_common_given(self) -> Dataset | None:
        """What is given of most examples of the fit; None where nothing is."""
        given = self.fitted.schema.given
        if given is None:
            return None
        place = int(np.argmax(given.row_counts))
        return Dataset(np.asarray([given.rows[place]], given.dtype), given)

    @property
    def has_density(self) -> bool:
        """Whether the model has a density of x."""
        return self.fitted.model.posterior.has_density

    @property
    def is_images(self) -> bool:
        """Whether the examples can be shown as images."""
        return self.fitted.schema.kind == "images" and self.fitted.schema.event_shape[-1] in {1, 3, 4}

    @property
    def is_binarized(self) -> bool:
        """Whether the model is one of bits, which were made of intensities."""
        return self.fitted.binarize != "none"

    @property
    def is_table(self) -> bool:
        """Whether the examples are rows of columns in the units of the user."""
        return bool(self.columns) and not self.is_binarized

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
        """The posterior means (of codes, the embeddings) of the mapped rows; of an ensemble, of its first member."""
        codes = applications.encode(self.first, self.mapped)
        posterior = self.first.model.posterior
        return codes[:, posterior.num_indices :] if isinstance(posterior, CodePosterior) else codes

    @cached_property
    def code_use(self) -> CodeUse | None:
        """Which codes the mapped rows use, of the first member; None for other latent variables."""
        is_of_codes = isinstance(self.first.model.posterior, CodePosterior)
        return applications.code_use(self.first, self.mapped) if is_of_codes else None

    @cached_property
    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """Real rows, and enough synthetic rows for stable comparisons."""
        real, key = thinned(self.dataset, MAX_COMPARED), jax.random.key(self.seed)
        synthetic = applications.sample_dataset(self.fitted, MAX_COMPARED, key=key)
        return joint_values(real).astype(np.float64), joint_values(synthetic).astype(np.float64)

    @cached_property
    def fit_rows(self) -> Dataset | None:
        """The rows of the fit; None if these are not its data, or none were held out."""
        parts = applications.parts_of(self.fitted, self.dataset)
        return None if parts is None else parts[0]

    @cached_property
    def is_data_of_fit(self) -> bool:
        """Whether these are the rows of a fit that held out none."""
        return self.held_out is None and applications.is_data_of_fit(self.fitted, self.dataset)

    @cached_property
    def sides(self) -> Sides:
        """Real and synthetic rows for classifiers, which are judged on held-out rows where there are some."""
        real, judged = self.fit_rows, self.held_out
        if real is None or judged is None:
            order = np.random.default_rng(self.seed).permutation(len(self.dataset))
            real, judged = self.dataset.take(order[::2]), self.dataset.take(order[1::2])
        real, judged = thinned(real, MAX_LEARNED), thinned(judged, MAX_JUDGED)
        count = len(judged)
        words = f"{count:,} {self.rows_word(count)}"
        if self.held_out is not None:
            words += " that were held out of the fit"
        elif self.is_data_of_fit:
            words += " of the fit, which held out none: this flatters a model that has learned rows by heart"
        else:
            words += " of those given, some of which the fit may have seen"
        made = self._canonical(self.compared[1])
        return Sides(
            self._canonical(joint_values(real)), made[: len(real)], self._canonical(joint_values(judged)),
            made[-count:], words, self.held_out is not None,
        )  # fmt: skip

    def _canonical(self, values: np.ndarray) -> Float[np.ndarray, "n d"]:
        return applications.comparable(values, self.columns)

    @cached_property
    def told_apart(self) -> Measured:
        """The area under the ROC curve of a classifier that tells synthetic rows from real ones; 0.5 is perfect.

        Real rows in place of the synthetic ones would have 0.5 up to the interval: which rows are held out is drawn
        at random, so that nothing tells them from those of the fit.
        """
        return told_apart(self.sides, self.columns, self.seed)

    @cached_property
    def told_apart_without_given(self) -> Measured | None:
        """The same of a classifier that does not see what is given; None where nothing is."""
        kept = [place for place, column in enumerate(self.columns) if column in self.modeled]
        if len(kept) == len(self.columns):
            return None
        return told_apart(self.sides.of_columns(kept), self.modeled_in_order, self.seed)

    @property
    def modeled_in_order(self) -> tuple[Column, ...]:
        """The modeled columns in the order of the table."""
        return tuple(column for column in self.columns if column in self.modeled)

    @cached_property
    def told_apart_by_gaps(self) -> float:
        """The same of one that sees which cells are missing, and nothing else; NaN without missing cells."""
        return separability_by_gaps(*self.compared, self.columns)

    @cached_property
    def trained(self) -> Trained | None:
        """What classifiers trained on synthetic rows lose; the label of the user is among the columns asked for."""
        return trained_on_synthetic(self.sides, self.columns, self.label, self.seed)

    @cached_property
    def column_distances(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
        """The distance of real and synthetic cells of each column, and about its mean if only chance made one."""
        real, synthetic = self.compared
        pairs = [(real[:, j], synthetic[:, j], column) for j, column in enumerate(self.columns)]
        return np.asarray([distance(*pair) for pair in pairs]), np.asarray([expected_distance(*pair) for pair in pairs])

    @cached_property
    def unexplained(self) -> float:
        """The fraction of the variance of the evaluated examples, around their mean, that reconstructions leave."""
        real = self.evaluated.values.astype(np.float64)
        left = ((real - self.reconstructed) ** 2).sum()
        total = ((real - real.mean(axis=0)) ** 2).sum()
        return float(left / total) if total > 0 else float("nan")

    @cached_property
    def worst_pair(self) -> Pair | None:
        """The two columns whose association differs most between real and synthetic rows."""
        chosen = self.related
        if len(chosen) < 2:
            return None
        real, synthetic = (values[:, chosen] for values in self.compared)
        return worst_pair(real, synthetic, tuple(self.columns[j] for j in chosen.tolist()), self.seed)

    @cached_property
    def related(self) -> np.ndarray:
        """The indices of the columns whose associations are shown: those with the largest rank correlations."""
        count = len(self.columns)
        if count <= MAX_RELATED:
            return np.arange(count)
        return np.sort(np.argsort(-largest_correlations(self.compared[0]), kind="stable")[:MAX_RELATED])

    @property
    def without_privacy(self) -> tuple[str, str]:
        """Why the privacy is not measured, and what to do."""
        rows = self.rows_word()
        if self.held_out is not None:
            why = f"this report has the {rows} that were held out, and not those of the fit"
            return why, "Run reparax evaluate MODEL DATA --privacy on the data of the fit."
        why = f"it shows only beside {rows} that were held out of the fit"
        return why, "Fit with --valid 0.1, and make the report on the data of the fit."

    @cached_property
    def privacy(self) -> Privacy | None:
        """What the model gives away of the rows of the fit; None without these and held-out rows to compare with."""
        if self.fit_rows is None:
            return None
        return applications.privacy(self.fitted, self.dataset, num_samples=self.num_samples, seed=self.seed)

    @cached_property
    def information(self) -> tuple[Float[np.ndarray, " k"], bool]:
        """The information in each latent dimension, in nats, and whether it is the KL to the prior."""
        return applications.information(self.first, self.mapped, self.codes)


def study_of(
    fitted: FittedModel, data: Any, *, label: str | Path | None, origin: Origin | None, num_samples: int, seed: int
) -> Study:
    """A study of a model on data that match its schema; the arguments are those of `report`.

    Raises:
        DataError: Data that cannot be read, have another shape or kind than in the fit, or lack the label.
        RecipeError: The model has a context without names; reports do not support that.
    """
    fitted.refuse_views("to report on", "use evaluate and sample, or report on a model of one of the views")
    if context_size(fitted.model) and fitted.schema.given is None:
        raise RecipeError(
            expected="a model without a context, or one to which columns are given by name",
            got="a conditional model with a context of numbers, of which no report can be made",
            cure="fit with given=[...], or use score, evaluate and sample with context=...",
        )
    names = {column.name for column in (*(fitted.schema.joint.columns or ()), *fitted.schema.given_columns)}
    is_column = isinstance(label, str) and label in names
    source = data if label is None or is_column or isinstance(data, Dataset) else read(data, label=label)
    dataset = applications.dataset_of(fitted, source)
    if label is not None and not is_column and dataset.labels is None:
        raise DataError(
            expected="a label that is a column of the data or comes with them",
            got=f"{str(label)!r}",
            cure="name a column of the table, or read the data with reparax.read(data, label=...)",
        )
    if dataset.is_sparse:
        raise DataError(
            expected="data that are not sparse, as a report looks at all values at once", got="a sparse matrix",
            cure="use evaluate, encode, score and sample, or give some rows as an array: matrix[:1000].toarray()",
        )  # fmt: skip
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
