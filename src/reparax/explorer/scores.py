"""Anomaly scores of the rows of the data, computed in the background, a few rows at a time."""

import math
import threading
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from reparax import applications
from reparax.data import Dataset
from reparax.explorer.subject import Subject

SAMPLES = 100
"""Importance samples of each row, as of ``reparax score``."""
FIRST = 500
"""Rows that are scored first, with which single rows are compared."""
AT_ONCE = 500
SEED = 0


class Scoring:
    """The scores of the rows, the numbers that ``reparax score`` gives.

    Rows are scored in an order that visits all parts of the data early, so that the scores so far are those of a
    sample.

    Args:
        subject: The model and its data.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        count = 0 if subject.dataset is None else len(subject.dataset)
        self._scores = np.full(count, np.nan)
        self._densities = np.full(count, np.nan)
        self._order = _scattered(count)
        self._done = 0
        self._lock = threading.Lock()
        self.is_wanted = threading.Event()

    @property
    def progress(self) -> float:
        """The fraction of the rows that are scored."""
        return self._done / max(1, len(self._order))

    def some(self) -> None:
        """Scores some more rows."""
        count = FIRST if self._done == 0 else AT_ONCE
        with self._lock:
            dataset = self.subject.dataset
            places = self._order[self._done : self._done + count]
            if dataset is None or not len(places):
                return
            found = score(self.subject, dataset.take(places))
            self._scores[places] = found.anomaly_score
            if found.log_density is not None:
                self._densities[places] = found.log_density
            self._done += len(places)

    def so_far(self, what: str) -> tuple[Float[np.ndarray, " n"], float]:
        """The scores or densities that are known, NaN elsewhere, and the fraction of the rows that have one."""
        self.is_wanted.set()
        return (self._scores if what == "score" else self._densities), self.progress

    def of_row(self, index: int) -> dict[str, Any]:
        """The score of a row and its rank among all rows, as far as they are known."""
        value = float(self._scores[index])
        if math.isnan(value):
            return {"score": None, "rank": None}
        rank = None if self.progress < 1 else int((self._scores > value).sum()) + 1
        return {"score": value, "rank": rank, "percentile": self.percentile(value)}

    def percentile(self, value: float) -> float | None:
        """The percentage of the scored rows whose score is lower; None before any is scored."""
        if not self._done:
            return None
        known = self._scores[self._order[: self._done]]
        return 100 * float(((known < value).sum() + 0.5 * (known == value).sum()) / len(known))


def score(subject: Subject, data: Dataset) -> applications.Scores:
    """The scores of rows, as ``reparax score`` gives them."""
    return applications.score(subject.fitted, data, num_samples=SAMPLES, seed=SEED)


def _scattered(count: int) -> Int[np.ndarray, " n"]:
    """All indices, such that the first ones are spread over the data."""
    return np.random.default_rng(0).permutation(count)
