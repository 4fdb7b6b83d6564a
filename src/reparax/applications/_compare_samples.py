"""Whether synthetic examples are like real ones: precision, recall, density, coverage, and a classifier's test."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from reparax.applications._classifier import RowClassifier
from reparax.applications._distances import TIE, Space, comparable
from reparax.applications._measured import Measured, fraction, separation
from reparax.data import Dataset, read, read_as
from reparax.errors import DataError
from reparax.extras import extras
from reparax.parts import as_number

Distance = Literal["columns", "euclidean"]

MOST_ROWS = 5000
"""Rows of each kind that are compared, drawn at random from more."""


@dataclass(frozen=True)
class Likeness:
    """How like real examples synthetic ones are.

    Precision, recall, density and coverage are about 1 for samples of one distribution (coverage 1 - 1 / 2^k), and 0
    if no example of one kind is near one of the other. An example is near another if it is at most as far from it as
    the k-th nearest of its own kind.

    Attributes:
        num_examples: How many of each kind are compared.
        num_neighbors: k.
        distance: The distance: `"columns"` or `"euclidean"`.
        precision: The fraction of the synthetic examples near a real one, Kynkäänniemi et al. (2019), "Improved
            precision and recall metric for assessing generative models", equation 2.
        recall: The fraction of the real examples near a synthetic one, equation 2 with the two exchanged.
        density: How many real examples a synthetic one is near, over k: Naeem et al. (2020), "Reliable fidelity and
            diversity metrics for generative models", equation 4. It may exceed 1.
        coverage: The fraction of the real examples that have a synthetic one near, equation 5.
        accuracy: How often a classifier that has learned from half of the examples is right on the other half, with a
            95 % interval: the classifier two-sample test of Lopez-Paz & Oquab (2017), "Revisiting classifier two-sample
            tests", section 3. 0.5 if it cannot tell them apart.
        told_apart: The area under its ROC curve, likewise.
    """

    num_examples: int
    num_neighbors: int
    distance: Distance
    precision: float
    recall: float
    density: float
    coverage: float
    accuracy: Measured
    told_apart: Measured


@extras()
def compare_samples(
    real: Any, synthetic: Any, *, num_neighbors: int = 5, distance: Distance | None = None, seed: int = 0
) -> Likeness:
    """Compares synthetic examples with real ones, of any model: rows of tables, images, or features of yours.

    Args:
        real: Real examples, best those that the model has not seen: anything `reparax.data.read` reads.
        synthetic: Synthetic ones of the same columns or shape. Of both, equally many are used.
        num_neighbors: k, the nearest neighbors that say what is near.
        distance: `"columns"` sums the differences of the columns of a table, each from 0 to 1 (of numbers, the fraction
            of real rows in between); `"euclidean"` takes the numbers as they are, as is usual for features of images.
            By default `"columns"` for tables whose columns have names or are not all numbers.
        seed: Draws the rows of more than 5000, and splits them for the classifier.

    Raises:
        DataError: They cannot be read, do not go together, or are too few.
        MissingExtra: scikit-learn is not installed.
    """
    known = real if isinstance(real, Dataset) else read(real)
    if known.schema.views:
        raise DataError(
            expected="examples of one kind to compare", got="several views", cure="compare the views one by one"
        )
    other = read_as(synthetic, known.schema, allow_missing=True)
    size = min(len(known), len(other), MOST_ROWS)
    k = as_number(num_neighbors, int)
    if k is None or not 1 <= k < size or size < 4:
        raise DataError(
            expected=f"a whole number of neighbors from 1 to {max(1, size - 1)} for {size} examples of each kind",
            got=repr(num_neighbors),
            cure="choose fewer neighbors (--neighbors), or give more examples: at least 4 of each kind",
        )
    columns, chosen = _columns(known, distance)
    rng = np.random.default_rng(seed)
    x, y = (comparable(_drawn(part.values, size, rng), columns) for part in (known, other))
    space = Space(x, columns)
    to_real, to_synthetic = _radii(space, x, int(k)), _radii(space, y, int(k))
    near_real = np.concatenate([block <= to_real + TIE for block in space.nearest(y, x)])
    near_synthetic = np.concatenate([block <= to_synthetic + TIE for block in space.nearest(x, y)])
    return Likeness(
        size, int(k), chosen,
        precision=float(near_real.any(axis=1).mean()),
        recall=float(near_synthetic.any(axis=1).mean()),
        density=float(near_real.sum(axis=1).mean() / k),
        coverage=float(near_real.any(axis=0).mean()),
        **_test(x, y, columns, seed),
    )  # fmt: skip


def _columns(known: Dataset, distance: Distance | None) -> tuple[Any, Distance]:
    """The columns for the distance, None for the Euclidean one; and which distance that is.

    Raises:
        DataError: There is no such distance for these examples.
    """
    schema = known.schema
    mixed = schema.value_kind == "mixed"
    chosen = distance or ("columns" if schema.columns is not None and (mixed or schema.names) else "euclidean")
    possible = [*(["columns"] if schema.columns is not None else []), *([] if mixed else ["euclidean"])]
    if chosen not in possible:
        raise DataError(
            expected=f"a distance for these examples: {' or '.join(possible)}", got=repr(chosen),
            cure="leave --distance out",
        )  # fmt: skip
    return (schema.columns if chosen == "columns" else None), chosen


def _drawn(values: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return values if len(values) == size else values[np.sort(rng.permutation(len(values))[:size])]


def _radii(space: Space, rows: Float[np.ndarray, "n d"], k: int) -> Float[np.ndarray, " n"]:
    """The distance of each row to the k-th nearest of the others."""
    return np.concatenate([np.partition(block, k, axis=1)[:, k] for block in space.nearest(rows, rows)])


def _test(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d"], columns: Any, seed: int) -> dict[str, Measured]:
    """The accuracy and the area under the ROC curve of a classifier, on the half that it has not seen."""
    half = len(x) // 2
    order = np.random.default_rng(seed).permutation(len(x))
    seen, unseen = order[:half], order[half:]
    rows = np.concatenate([y[seen], x[seen]])
    classifier = RowClassifier(rows, np.arange(len(rows)) < half, columns, seed)
    of_synthetic, of_real = classifier.score(y[unseen]), classifier.score(x[unseen])
    right = 0.5 * float((of_synthetic > 0).mean() + (of_real <= 0).mean())
    return {"accuracy": fraction(right, 2 * len(unseen)), "told_apart": separation(of_synthetic, of_real)}
