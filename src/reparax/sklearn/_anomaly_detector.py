"""The anomaly detector as a scikit-learn estimator."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, Unpack

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags

from reparax import applications
from reparax.applications import Scores
from reparax.errors import RecipeError
from reparax.sklearn._door import admitted, fitted_model
from reparax.sklearn._settings import EstimatorSettings, with_settings

AUTO_CONTAMINATION = 0.1
"""The fraction of the training rows that ``contamination="auto"`` calls anomalous."""


@with_settings(trim=0.1)
class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Finds anomalous rows of a table without labels, in the training data or in new data.

    The anomaly score of a row is that of `reparax.score`: how surprising its cells are, both given the rest of the row
    and one by one. The rows with the most anomalous single columns are left out of training, so that the model does
    not learn them.

    Args:
        contamination: The fraction of anomalous rows in the data given to `fit`, in (0, 0.5]; it sets the threshold,
            not the scores. ``"auto"`` is a tenth: without labels, the right fraction cannot be inferred.
        schema: The kinds of columns where those inferred from their values are wrong, as for `reparax.read`.
        exclude: Columns to ignore.
        given: Columns that are known and not modeled: the model is one of p(the others | given).
        importance_samples: K, the importance samples of each row.
        random_state: The seed of training: an integer, a ``numpy.random.RandomState``, or None for a different seed
            in each call.
        **settings: Fields of `reparax.Recipe`, such as ``latent_dim``, and options of its parts, such as ``beta``;
            ``gradient_estimator`` is the option ``estimator`` of the objective. ``trim`` is 0.1 by default.

    Attributes:
        model_: The fitted model, for `reparax.save` and the other functions of `reparax`.
        offset_: The value of `score_samples` below which a row is called anomalous.
        columns_: The names of the modeled columns, in the order of `column_shares`.
        n_features_in_: The number of columns of the data given to `fit`.
        feature_names_in_: Their names, if they are strings.
    """

    def __init__(
        self,
        *,
        contamination: str | float = "auto",
        schema: Mapping[str, Any] | None = None,
        exclude: Sequence[str] | None = None,
        given: Sequence[str] | None = None,
        importance_samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
        **settings: Unpack[EstimatorSettings],
    ) -> None:
        self.contamination = contamination
        self.schema = schema
        self.exclude = exclude
        self.given = given
        self.importance_samples = importance_samples
        self.random_state = random_state
        vars(self).update(settings)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fits the model to rows that may include anomalies, and sets the threshold.

        Args:
            X: The rows.
            y: Ignored.

        Raises:
            ValueError: Data that cannot be read, or a parameter out of its range.
        """
        fraction = _fraction(self.contamination)
        self.model_, dataset = fitted_model(self, X)
        self.columns_ = tuple(column.name for column in self.model_.schema.columns or ())
        scores = -applications.score(self.model_, dataset, num_samples=self.importance_samples).anomaly_score
        self.offset_ = float(np.percentile(scores.astype(np.float64), 100 * fraction))
        return self

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:
        """Minus the anomaly score of each row: lower is more anomalous.

        Raises:
            ValueError: Data with other columns than in the fit.
        """
        return -self._scores(X).anomaly_score.astype(np.float64)

    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """`score_samples` minus ``offset_``: negative for anomalous rows.

        Raises:
            ValueError: Data with other columns than in the fit.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """-1 for anomalous rows, 1 for the others.

        Raises:
            ValueError: Data with other columns than in the fit.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def column_shares(self, X: Any) -> Float[np.ndarray, "n d"]:
        """How much each column contributes to the anomaly score of a row; the columns are those of ``columns_``.

        Raises:
            ValueError: Data with other columns than in the fit, or a model without the columns likelihood.
        """
        shares = self._scores(X).shares
        if shares is None:
            raise RecipeError(
                expected="a model with the columns likelihood, which scores each column",
                got="a model with another likelihood",
                cure="leave likelihood out",
            )
        return shares.astype(np.float64)

    def _scores(self, X: Any) -> Scores:
        rows = admitted(self, X, fitting=False)
        return applications.score(self.model_, rows, num_samples=self.importance_samples)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _fraction(contamination: str | float) -> float:
    if isinstance(contamination, str) and contamination == "auto":
        return AUTO_CONTAMINATION
    if isinstance(contamination, float | np.floating) and 0 < contamination <= 0.5:
        return float(contamination)
    raise RecipeError(
        expected="contamination above 0 and up to 0.5, or 'auto'",
        got=repr(contamination),
        cure="choose a number in that range, or leave it out",
    )
