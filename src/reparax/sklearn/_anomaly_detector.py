"""The detector of odd rows as an estimator of scikit-learn."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags

from reparax import applications
from reparax.applications import Scores
from reparax.errors import RecipeError
from reparax.sklearn._door import admitted, fitted_model

AUTO_SHARE = 0.1
"""The share of the training rows that ``contamination="auto"`` calls odd."""


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Finds odd rows of a table, in the data that it was fitted on or in later ones; without labels.

    The anomaly score of a row is that of `reparax.score`: how surprising its cells are, given what the whole row says
    of it, and one by one.
    The rows that are oddest by single columns are left out of training, so that the model does not learn them.

    Args:
        contamination: The share of odd rows among those of `fit`, in (0, 0.5]: it sets the threshold, not the scores.
            ``"auto"`` calls a tenth odd; no rule could tell the share without labels.
        trim: The share of a table's rows, the oddest by each column alone, that training leaves out: for scores of
            anomalies that are among the data. What is left out is not modeled, so that samples lack it.
        latent_dim: The number of latent dimensions.
        epochs: How many times the data are seen, at most.
        batch_size: Examples per training step.
        learning_rate: Adam's highest rate.
        weight_decay: The share of each weight matrix that a step takes off, times the rate.
        patience: Epochs without a better held-out bound after which training stops.
        valid: The fraction of the rows that is held out; none where rows are trimmed.
        network: The architecture of encoder and decoder.
        width: Units of a hidden layer, or channels of the first convolution.
        depth: The number of hidden layers or convolutions.
        posterior: The distribution of the latent variable given an example.
        prior: The distribution of the latent variable.
        likelihood: The distribution of an example given the latent variable.
        objective: What training maximizes.
        schema: What columns are, where that is not as told from their cells, as of `reparax.read`.
        exclude: Columns to leave out.
        importance_samples: Samples of z from which each row's score is computed.
        random_state: The seed of training: an integer, a ``numpy.random.RandomState``, or None for another one at
            each call.

    Attributes:
        model_: The fitted model, for `reparax.save` and the other functions of `reparax`.
        offset_: The score of `score_samples` below which a row is odd.
        columns_: The names of the columns that are modeled, in the order of `column_shares`.
        n_features_in_: The number of columns that `fit` saw.
        feature_names_in_: Their names, where they are strings.
    """

    def __init__(
        self,
        *,
        contamination: str | float = "auto",
        trim: float = 0.1,
        latent_dim: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        patience: int | None = None,
        valid: float | None = None,
        network: str | None = None,
        width: int | None = None,
        depth: int | None = None,
        posterior: str | None = None,
        prior: str | None = None,
        likelihood: str | None = None,
        objective: Any = None,
        schema: Mapping[str, Any] | None = None,
        exclude: Sequence[str] | None = None,
        importance_samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.contamination = contamination
        self.trim = trim
        self.latent_dim = latent_dim
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.valid = valid
        self.network = network
        self.width = width
        self.depth = depth
        self.posterior = posterior
        self.prior = prior
        self.likelihood = likelihood
        self.objective = objective
        self.schema = schema
        self.exclude = exclude
        self.importance_samples = importance_samples
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fits the model to rows, odd ones among them, and sets the threshold.

        Args:
            X: The rows.
            y: Ignored.

        Raises:
            ValueError: Data that cannot be read, or a parameter out of its range.
        """
        share = _share(self.contamination)
        self.model_, dataset = fitted_model(self, X)
        self.columns_ = tuple(column.name for column in self.model_.schema.columns or ())
        scores = -applications.score(self.model_, dataset, num_samples=self.importance_samples).anomaly_score
        self.offset_ = float(np.percentile(scores.astype(np.float64), 100 * share))
        return self

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:
        """Minus the anomaly score of each row: the lower, the odder.

        Raises:
            ValueError: Data of other columns than at fitting.
        """
        return -self._scores(X).anomaly_score.astype(np.float64)

    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """`score_samples` minus ``offset_``: negative for odd rows.

        Raises:
            ValueError: Data of other columns than at fitting.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """-1 for odd rows, 1 for the others.

        Raises:
            ValueError: Data of other columns than at fitting.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def column_shares(self, X: Any) -> Float[np.ndarray, "n d"]:
        """How much each column has in a row's anomaly score; the columns are those of ``columns_``.

        Raises:
            ValueError: Data of other columns than at fitting, or a model without the columns likelihood.
        """
        shares = self._scores(X).shares
        if shares is None:
            raise RecipeError(
                expected="a model with the columns likelihood, which tells columns apart",
                got="one without it",
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


def _share(contamination: str | float) -> float:
    if isinstance(contamination, str) and contamination == "auto":
        return AUTO_SHARE
    if isinstance(contamination, float | np.floating) and 0 < contamination <= 0.5:
        return float(contamination)
    raise RecipeError(
        expected="contamination above 0 and up to 0.5, or 'auto'", got=repr(contamination), cure="choose another"
    )
