"""The variational autoencoder as an estimator of scikit-learn."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from reparax import applications
from reparax.errors import RecipeError
from reparax.sklearn._door import Shape, admitted, fitted_model, seed_of


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A variational autoencoder of the rows of a table, with scikit-learn's interface.

    p(x) = integral of p(x | z) p(z) dz, one likelihood for each column; what is None follows from the data by the rules
    of `reparax.recipe.suggest`. Rows come as NumPy arrays, lists, or pandas, polars and arrow frames, with columns of
    any kind and missing cells.

    Args:
        latent_dim: The number of latent dimensions.
        epochs: How many times the data are seen, at most.
        batch_size: Examples per training step.
        learning_rate: Adam's highest rate.
        weight_decay: The share of each weight matrix that a step takes off, times the rate.
        patience: Epochs without a better held-out bound after which training stops.
        valid: The fraction of the data held out (default: a tenth, at most 1000 examples; 0: nothing).
        network: The architecture of encoder and decoder.
        width: Units of a hidden layer, or channels of the first convolution.
        depth: The number of hidden layers or convolutions.
        posterior: The distribution of the latent variable given an example.
        prior: The distribution of the latent variable.
        num_components: The number of components.
        likelihood: The distribution of an example given the latent variable.
        objective: What training maximizes.
        beta: Weight of the KL; 1 is the evidence lower bound.
        warmup_epochs: Epochs over which the weight of the KL rises from 0.
        free_bits: Nats per latent dimension below which the KL is not pressed.
        num_samples: Samples of z for each example and step.
        gradient_estimator: The gradient estimator, by name, or "auto".
        hide: The share of a table row's cells, at most, that the encoder learns to do without: in every fourth step it
            is trained once more with so many hidden.
        trim: The share of a table's rows, the oddest by each column alone, that training leaves out: for scores of
            anomalies that are among the data. What is left out is not modeled, so that samples lack it.
        schema: What columns are, where that is not as told from their cells, as of `reparax.read`.
        exclude: Columns to leave out.
        importance_samples: K of the importance-weighted log densities and imputations.
        random_state: The seed of training and of `sample`: an integer, a ``numpy.random.RandomState``, or None for
            another one at each call.

    Attributes:
        model_: The fitted model, for `reparax.save`, `reparax.evaluate` and the other functions of `reparax`.
        n_features_in_: The number of columns that `fit` saw.
        feature_names_in_: Their names, where they are strings.

    Kingma & Welling (2014), "Auto-encoding variational Bayes".
    """

    n_features_in_: int

    def __init__(
        self,
        *,
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
        num_components: int | None = None,
        likelihood: str | None = None,
        objective: Any = None,
        beta: float | None = None,
        warmup_epochs: int | None = None,
        free_bits: float | None = None,
        num_samples: int | None = None,
        gradient_estimator: str | None = None,
        hide: float | None = None,
        trim: float | None = None,
        schema: Mapping[str, Any] | None = None,
        exclude: Sequence[str] | None = None,
        importance_samples: int = 100,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
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
        self.num_components = num_components
        self.likelihood = likelihood
        self.objective = objective
        self.beta = beta
        self.warmup_epochs = warmup_epochs
        self.free_bits = free_bits
        self.num_samples = num_samples
        self.gradient_estimator = gradient_estimator
        self.hide = hide
        self.trim = trim
        self.schema = schema
        self.exclude = exclude
        self.importance_samples = importance_samples
        self.random_state = random_state

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
        """The posterior means E[z | x], one row for each of X; never a random draw.

        Raises:
            ValueError: Data of other columns than at fitting.
        """
        rows = admitted(self, X, fitting=False)
        dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
        return applications.encode(self.model_, rows).astype(dtype, copy=False)

    def inverse_transform(self, X: Any) -> Any:
        """E[x | z] of codes as `transform` gives them, in the user's units: numbers, most probable categories.

        Args:
            X: Codes, shape ``(n, latent)``.

        Returns:
            An array of numbers where `fit` was given one, else a frame of the kind that `fit` was given.

        Raises:
            ValueError: Codes of another number of dimensions.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32, input_name="X")
        return self._shape.expected(applications.decode(self.model_, codes), self.model_.schema)

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:
        """log p(x) of each row, in nats and the user's units, as a lower bound of ``importance_samples`` samples.

        log (1/K) sum_k p(x, z_k) / q(z_k | x), Burda et al. (2016), equation 8. A row's noise depends on the row
        alone: the same row has the same score, whenever and among whichever rows it comes.

        Raises:
            ValueError: Data of other columns than at fitting, or a model without a density.
        """
        rows = admitted(self, X, fitting=False)
        found = applications.score(self.model_, rows, num_samples=self.importance_samples).log_density
        if found is None:
            raise RecipeError(
                expected="a model with a density",
                got="the deterministic posterior",
                cure="leave objective='reconstruction' and posterior='deterministic' out",
            )
        return found.astype(np.float64)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: nats per row, higher is better.

        Args:
            X: The rows.
            y: Ignored.

        Raises:
            ValueError: As of `score_samples`.
        """
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> Any:
        """New rows from p(z) p(x | z), in the kind of table that `fit` was given; sampled, never the most probable.

        Args:
            n_samples: How many.
            random_state: The seed; None for the estimator's own ``random_state``.

        Raises:
            ValueError: A number of samples below 1.
        """
        check_is_fitted(self)
        seed = seed_of(self.random_state if random_state is None else random_state)
        values = applications.sample_values(self.model_, n_samples, key=jax.random.key(seed))
        return self._shape.drawn(values, self.model_.schema)

    def impute(self, X: Any) -> Any:
        """X with its missing cells filled by E[x_j | observed cells], or the most probable category.

        Cells that are there stay as they are. Mattei & Frellsen (2019), "MIWAE", equation 13, with
        ``importance_samples`` samples.

        Raises:
            ValueError: Data of other columns than at fitting, or a model without the columns likelihood.
        """
        rows = admitted(self, X, fitting=False)
        return applications.impute(self.model_, rows, num_samples=self.importance_samples)

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.model_.model.posterior.latent_shape)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
