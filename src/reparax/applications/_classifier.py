"""A gradient-boosted classifier of rows, the same bits for the same seed."""

import numpy as np
from jaxtyping import Bool, Float

from reparax.summary import Column

ITERATIONS = 60
LEARNING_RATE = 0.15
MOST_CATEGORIES = 254
"""Categories that the classifier takes; rarer ones count as one."""


class RowClassifier:
    """A gradient-boosted classifier: its score is higher for rows that are more probably of the first kind.

    Args:
        rows: The rows to learn from; gaps are a value of their own.
        is_first: Which of them are of the first kind.
        columns: What they are; None for numbers alone.
        seed: The seed of the classifier.
    """

    def __init__(
        self, rows: Float[np.ndarray, "n d"], is_first: Bool[np.ndarray, " n"], columns: tuple[Column, ...] | None,
        seed: int,
    ) -> None:  # fmt: skip
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits

        # The classifier fails on a column without a single number.
        self._empty = np.all(np.isnan(rows), axis=0)
        is_empty = self._empty.tolist()
        self._codes = [
            index for index, column in enumerate(columns or ()) if column.is_category and not is_empty[index]
        ]
        self._model = HistGradientBoostingClassifier(
            max_iter=ITERATIONS, learning_rate=LEARNING_RATE, categorical_features=self._codes or None,
            early_stopping=False, random_state=seed,
        )  # fmt: skip
        with threadpool_limits(1):  # sums of several threads differ in their last bits from run to run
            self._model.fit(self._prepared(rows), is_first)

    def score(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """A number for each row: the log odds that it is of the first kind."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            return self._model.decision_function(self._prepared(rows))

    def _prepared(self, rows: np.ndarray) -> np.ndarray:
        prepared = np.where(self._empty, 0.0, rows)
        prepared[:, self._codes] = np.minimum(prepared[:, self._codes], MOST_CATEGORIES)
        return prepared
