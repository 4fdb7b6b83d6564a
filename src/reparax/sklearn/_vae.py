"""The variational autoencoder as a scikit-learn estimator."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, Unpack

import jax
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from reparax import applications
from reparax.data import joint_values
from reparax.errors import RecipeError
from reparax.sklearn._door import Shape, admitted, fitted_model, seed_of
from reparax.sklearn._settings import EstimatorSettings, with_settings


@with_settings()
class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A variational autoencoder of the rows of a table, with scikit-learn's interface.

    p(x) = integral of p(x | z) p(z) dz, with one likelihood for each column. Parameters that are None are chosen from
    the data by the rules of `reparax.recipe.suggest`. Rows are NumPy arrays, lists, or pandas, polars and arrow frames,
    with columns of any kind and missing cells.

    Args:
        schema: The kinds of columns where those inferred from their values are wrong, as for `reparax.read`.
        exclude: Columns to ignore.
        given: Columns that are known and not modeled: the model is one of p(the others | given).
        importance_samples: K, the importance samples of each row for log densities and imputations.
        random_state: The seed of training and of `sample`: an integer, a ``numpy.random.RandomState``, or None for
            a different seed in each call.
        **settings: Fields of `reparax.Recipe`, such as ``latent_dim``, and options of its parts, such as ``beta``;
            ``gradient_estimator`` is the option ``estimator`` of the objective.

    Attributes:
        model_: The fitted model, for `reparax.save`, `reparax.evaluate` and the other functions of `reparax`.
        n_features_in_: The number of columns of the data given to `fit`.
        feature_names_in_: Their names, if they are strings.

    Kingma & Welling (2014), "Auto-encoding variational Bayes".
    """

    n_features_in_: int

    def __init__(
        self,
        *,
        schema: Mapping[str, Any] | None = None,
        exclude: Sequence[str] | None = None,
        given: Sequence[str] | None = None,
        importance_samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
        **settings: Unpack[EstimatorSettings],
    ) -> None:
        self.schema = schema
        self.exclude = exclude
        self.given = given
        self.importance_samples = importance_samples
        self.random_state = random_state
        vars(self).update(settings)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fits the model to rows.

        Args:
            X: The rows.
            y: Ignored.

        Raises:
            ValueError: Data that cannot be read, or a parameter out of its range.
        """
        self.model_, dataset = fitted_model(self, X)
        self._shape = Shape.of(dataset, self.n_features_in_)
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n latent"]:
        """The posterior means E[z | x], one row for each row of X; never a random draw.

        Raises:
            ValueError: Data with other columns than in the fit.
        """
        rows = admitted(self, X, fitting=False)
        dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
        return applications.encode(self.model_, rows).astype(dtype, copy=False)

    def inverse_transform(self, X: Any) -> Any:
        """E[x | z] for the codes that `transform` returns, in the user's units: numbers, most probable categories.

        Args:
            X: Codes, shape ``(n, latent)``.

        Returns:
            An array of numbers if `fit` was given one, else a frame of the kind that `fit` was given.

        Raises:
            ValueError: Codes with the wrong number of dimensions, or a model with given columns.
        """
        check_is_fitted(self)
        if self.model_.schema.given is not None:
            names = ", ".join(repr(column.name) for column in self.model_.schema.given_columns)
            raise RecipeError(
                expected="codes of a model to which nothing is given",
                got=f"codes without {names}, which decoding needs",
                cure="use reparax.decode(estimator.model_, codes, context={name: values})",
            )
        codes = check_array(X, dtype=np.float32, input_name="X")
        return self._shape.expected(applications.decode(self.model_, codes), self.model_.schema)

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:
        """A lower bound on log p(x) of each row, in nats and the user's units, from ``importance_samples`` samples.

        log (1/K) sum_k p(x, z_k) / q(z_k | x), Burda et al. (2016), equation 8. The random numbers of a row depend
        only on the row: the same row always has the same score, whatever the other rows are.

        Raises:
            ValueError: Data with other columns than in the fit, or a model without a density.
        """
        rows = admitted(self, X, fitting=False)
        log_density = applications.score(self.model_, rows, num_samples=self.importance_samples).log_density
        if log_density is None:
            raise RecipeError(
                expected="a model with a density",
                got="the deterministic posterior",
                cure="leave out objective='reconstruction' and posterior='deterministic'",
            )
        return log_density.astype(np.float64)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples` in nats per row; higher is better.

        Args:
            X: The rows.
            y: Ignored.

        Raises:
            ValueError: As for `score_samples`.
        """
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> Any:
        """New rows drawn from p(z) p(x | z), in the kind of table that `fit` was given.

        Args:
            n_samples: How many.
            random_state: The seed; by default the estimator's ``random_state``.

        Raises:
            ValueError: A number of samples below 1.
        """
        check_is_fitted(self)
        seed = seed_of(self.random_state if random_state is None else random_state)
        drawn = applications.sample_dataset(self.model_, n_samples, key=jax.random.key(seed))
        return self._shape.drawn(joint_values(drawn), self.model_.schema.joint)

    def impute(
        self,
        X: Any,
        missing: Literal["at-random", "not-at-random"] = "at-random",
        duplicates: Literal["use", "ignore"] = "use",
        neighbors: Literal["use", "ignore"] = "use",
        impossible: Literal["refuse", "leave"] = "refuse",
    ) -> Any:
        """X with its missing cells filled by E[x_j | observed cells], or by the most probable category.

        Observed cells are not changed. Mattei & Frellsen (2019), "MIWAE", equation 13, with
        ``importance_samples`` samples.

        Args:
            X: The rows.
            missing: Whether to ignore which cells are missing, or to use what it says of them; see `reparax.impute`.
            duplicates: Whether cells may be taken from rows that are the same; see `reparax.impute`.
            neighbors: Whether rows that resemble a row count, beside the model; see `reparax.impute`.
            impossible: What is done with rows that no values agree with; see `reparax.impute`.

        Raises:
            ValueError: Data with other columns than in the fit, impossible rows, or a model without the columns
                likelihood.
        """
        rows = admitted(self, X, fitting=False)
        return applications.impute(
            self.model_, rows, num_samples=self.importance_samples, missing=missing, duplicates=duplicates,
            neighbors=neighbors, impossible=impossible,
        )  # fmt: skip

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.model_.model.posterior.latent_shape)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
