"""Whether synthetic rows are right as whole rows: told apart by a classifier, trained on, compared pair by pair."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reparax.applications import Measured, RowClassifier, separation
from reparax.reports.statistics import associations, observed
from reparax.summary import Column

MOST_ASKED = 6
FEWEST_OF_A_KIND = 8
"""A column is asked for only if both answers occur so often."""


@dataclass(frozen=True)
class Sides:
    """Real and synthetic rows to learn from and to be judged on; none of the judged rows is learned from.

    Attributes:
        real: Real rows to learn from, shape (n, d).
        synthetic: As many synthetic ones.
        judged: Real rows to be judged on, shape (m, d).
        invented: Other synthetic rows.
        words: What the judged rows are.
        are_unseen: Whether the model has not seen the judged rows.
    """

    real: Float[np.ndarray, "n d"]
    synthetic: Float[np.ndarray, "n d"]
    judged: Float[np.ndarray, "m d"]
    invented: Float[np.ndarray, "m d"]
    words: str
    are_unseen: bool

    def of_columns(self, places: list[int]) -> "Sides":
        """The same rows with some of their columns."""
        parts = (part[:, places] for part in (self.real, self.synthetic, self.judged, self.invented))
        return Sides(*parts, self.words, self.are_unseen)


@dataclass(frozen=True)
class Trained:
    """What classifiers that were trained on synthetic rows lose to those trained on real ones.

    Attributes:
        names: The columns that were asked for.
        real: The areas under the ROC curve of classifiers trained on real rows, one for each column.
        synthetic: The same of those trained on synthetic rows.
        noise: The half-width of a 95 % interval of the mean difference, as if the areas were independent of each other
            (they are of the same rows, so that it is narrower).
    """

    names: tuple[str, ...]
    real: tuple[float, ...]
    synthetic: tuple[float, ...]
    noise: float

    @property
    def loss(self) -> float:
        """The mean area that is lost."""
        return float(np.mean(self.real) - np.mean(self.synthetic))

    @property
    def share(self) -> float:
        """The fraction lost of what classifiers trained on real rows know beyond guessing, whose area is 0.5.

        0 for a loss within the noise; NaN if what they know is.
        """
        known = float(np.mean(self.real)) - 0.5
        if known <= self.noise:
            return float("nan")
        return self.loss / known if self.loss > self.noise else 0.0

    @property
    def worst(self) -> int:
        """The place of the column whose classifier loses most."""
        return int(np.argmax(np.asarray(self.real) - np.asarray(self.synthetic)))


@dataclass(frozen=True)
class Pair:
    """The two columns whose association differs most between real and synthetic rows.

    Attributes:
        names: The columns.
        real: Their association in the real rows, 0 to 1.
        synthetic: The same in the synthetic rows.
        chance: The largest difference between any two columns of two random halves of the real rows.
    """

    names: tuple[str, str]
    real: float
    synthetic: float
    chance: float

    @property
    def difference(self) -> float:
        """How much the two differ."""
        return abs(self.real - self.synthetic)


def told_apart(sides: Sides, columns: tuple[Column, ...], seed: int) -> Measured:
    """The area under the ROC curve of a classifier that tells synthetic rows from real ones; 0.5 if it cannot."""
    rows = np.concatenate([sides.synthetic, sides.real])
    is_synthetic = np.arange(len(rows)) < len(sides.synthetic)
    classifier = RowClassifier(rows, is_synthetic, columns, seed)
    return separation(classifier.score(sides.invented), classifier.score(sides.judged))


def trained_on_synthetic(sides: Sides, columns: tuple[Column, ...], first: str | None, seed: int) -> Trained | None:
    """Classifiers trained on synthetic rows beside those trained on real ones, both judged on real rows.

    Each is asked of one column whether its cell is above the median (for categories, whether it is the most frequent
    one), given the other cells of the row. None if no column can be asked for.

    Args:
        sides: The rows.
        columns: What they are.
        first: The name of a column to ask for in any case.
        seed: The seed of the classifiers.
    """
    asked = [index for index in range(len(columns)) if _can_be_asked(sides, index, columns[index])]
    chosen = [index for index in asked if columns[index].name == first]
    rest = [index for index in asked if index not in chosen]
    places = np.unique(np.linspace(0, len(rest) - 1, min(len(rest), MOST_ASKED - len(chosen))).astype(int))
    chosen += [rest[place] for place in places.tolist()]
    if not chosen or len(columns) < 2:
        return None
    areas = [
        [_area(rows, sides.judged, index, columns, _middle(sides.real[:, index]), seed) for index in chosen]
        for rows in (sides.real, sides.synthetic)
    ]
    noise = float(np.sqrt(sum(area.half_width**2 for part in areas for area in part))) / len(chosen)
    real, synthetic = (tuple(area.value for area in part) for part in areas)
    return Trained(tuple(columns[index].name for index in chosen), real, synthetic, noise)


def worst_pair(
    real: Float[np.ndarray, "n d"], synthetic: Float[np.ndarray, "m d"], columns: tuple[Column, ...], seed: int
) -> Pair | None:
    """The pair of columns whose association differs most; None if no two columns vary."""
    of_real, of_synthetic = associations(real, columns), associations(synthetic, columns)
    gaps = np.tril(np.nan_to_num(np.abs(of_real - of_synthetic)), -1)
    if not np.isfinite(np.tril(of_real - of_synthetic, -1)[np.tril_indices(len(columns), -1)]).any():
        return None
    i, j = np.unravel_index(int(gaps.argmax()), gaps.shape)
    is_first = np.random.default_rng(seed).permutation(len(real)) % 2 == 0
    halves = np.abs(associations(real[is_first], columns) - associations(real[~is_first], columns))
    chance = float(np.nan_to_num(np.tril(halves, -1)).max())
    return Pair((columns[j].name, columns[i].name), float(of_real[i, j]), float(of_synthetic[i, j]), chance)


def _middle(cells: np.ndarray) -> float:
    return float(np.median(observed(cells))) if len(observed(cells)) else 0.0


def _answers(cells: np.ndarray, column: Column, middle: float) -> np.ndarray:
    """Whether cells are above the median, or the most frequent category; at or above it, if no value is higher."""
    if column.is_category:
        return cells == 0  # the categories are in the order of their frequency
    return cells > middle if (cells[~np.isnan(cells)] > middle).any() else cells >= middle


def _can_be_asked(sides: Sides, index: int, column: Column) -> bool:
    middle = _middle(sides.real[:, index])
    for rows in (sides.real, sides.synthetic, sides.judged):
        cells = observed(rows[:, index])
        yes = int(_answers(cells, column, middle).sum())
        if min(yes, len(cells) - yes) < FEWEST_OF_A_KIND:
            return False
    return True


def _area(
    rows: np.ndarray, judged: np.ndarray, index: int, columns: tuple[Column, ...], middle: float, seed: int
) -> Measured:
    others = [place for place in range(len(columns)) if place != index]
    rows, judged = rows[~np.isnan(rows[:, index])], judged[~np.isnan(judged[:, index])]
    answers, truth = (_answers(part[:, index], columns[index], middle) for part in (rows, judged))
    classifier = RowClassifier(rows[:, others], answers, tuple(columns[place] for place in others), seed)
    marks = classifier.score(judged[:, others])
    return separation(marks[truth], marks[~truth])
