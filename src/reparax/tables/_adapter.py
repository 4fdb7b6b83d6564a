"""What differs between models of tables and models of arrays and images: one object that answers for all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NoReturn, Protocol

import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Num, PyTree

from reparax.errors import RecipeError
from reparax.likelihoods import AbstractLikelihood, Likelihood, MakeDecoder
from reparax.networks import Network, OfCounts, Standardized
from reparax.priors import AbstractPrior
from reparax.pytrees import Derived
from reparax.summary import Summary
from reparax.tables._distribution import RowDistribution
from reparax.tables._features import TableFeatures, num_features
from reparax.tables._impute import drawn_rows, statistics_of_row
from reparax.tables._score import RowScore, score_row
from reparax.tables.columns import ColumnsDecoder


class MakeNetwork(Protocol):
    """Makes a network for inputs of a shape; its initial weights depend on its number."""

    def __call__(self, shape: tuple[int, ...], *, number: int = 0) -> Network: ...


class Adapter:
    """How a model takes arrays and images: standardized for the encoder, never with missing values.

    Attributes:
        is_table: Whether the model is one of rows of columns, whose cells may be missing, are imputed, hidden from the
            encoder and scored one by one.
    """

    is_table: ClassVar[bool] = False

    @property
    def allows_missing(self) -> bool | frozenset[str]:
        """Whether values may be missing that were not in the fit; or the views of which values may be."""
        return self.is_table

    def require_gaps(self) -> None:
        """Refuses a model whose examples are never missing anything.

        Raises:
            RecipeError: The model is not one of tables, nor of several views.
        """
        if not self.is_table:
            self._refuse()

    def check_prior(self, prior: AbstractPrior) -> None:
        """Refuses a prior that does not fit such examples.

        Raises:
            RecipeError: The prior and the likelihood do not go together.
        """

    def encoder(self, make: MakeNetwork, summary: Summary) -> Network:
        """A network of one example in the user's units.

        Args:
            make: Makes a network of numbers near one.
            summary: A summary of the data.
        """
        network = make(summary.event_shape)
        # Bits go in as they are: standardizing sparse ones makes the common 0 a large, dense input, which trains worse
        # (measured on binarized MNIST: 1.4 nats after 5 epochs).
        return network if summary.kind == "binary" else Standardized(network, summary.mean, summary.std)

    def likelihood(
        self, part: AbstractLikelihood, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array
    ) -> Likelihood:
        """The likelihood with its initial weights; see `AbstractLikelihood.create`."""
        return part.create(make_decoder, summary, key=key)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Examples in the data type in which a model takes them."""
        return values

    def log_prob_of_columns(self, distribution: dist.Distribution, x: Num[Array, "*event"]) -> Array | None:
        """The log density of each column, or of each view; None where there are none."""
        return None

    def observed(self, values: np.ndarray) -> np.ndarray:
        """Which of the parts that `log_prob_of_columns` has are observed, of each example."""
        return ~np.isnan(values)

    def log_prob_of_cells(self, distribution: dist.Distribution, x: Array) -> Float[Array, ""]:
        """The log density of the observed cells, whichever these are."""
        self._refuse()

    def log_prob_of_condition(self, distribution: dist.Distribution, x: Array) -> Float[Array, ""]:
        """The log density of some cells, and that these are observed."""
        self._refuse()

    def sample_given(self, distribution: dist.Distribution, key: Array, observed: Array) -> Array:
        """A random row in which some cells are known not to be missing."""
        self._refuse()

    def score(self, likelihood: Likelihood, x: Array, z: Array, prior_z: Array) -> RowScore:
        """The anomaly score of one row, from draws of z from its posterior and from the prior."""
        self._refuse()

    def statistics(self, likelihood: Likelihood, z: Array, log_weights: Array) -> PyTree[Array]:
        """Expectations under weighted draws of z, which may be averaged over models, and give `typical` cells."""
        self._refuse()

    def typical(self, statistics: PyTree[Array]) -> Float[Array, " d"]:
        """Expected numbers and most probable categories, from `statistics` or their average."""
        self._refuse()

    def drawn(
        self, likelihood: Likelihood, z: Array, log_weights: Array, num_draws: int, keys: Sequence[Array]
    ) -> Array:
        """Random rows given draws of z that are resampled by their weights."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RecipeError(
            expected="a model with the columns likelihood, which knows missing cells",
            got="one without it",
            cure="fit the table with --likelihood columns (the default for tables)",
        )


class CountsAdapter(Adapter):
    """How a model takes counts: the encoder sees their logarithms."""

    def encoder(self, make: MakeNetwork, summary: Summary) -> Network:
        network = make(summary.event_shape)
        return network if summary.kind == "binary" else OfCounts(network, summary.mean, summary.std)


@dataclass(frozen=True)
class TableAdapter(Adapter):
    """How a model takes rows of columns.

    Attributes:
        layout: The columns, shared by the encoder and the likelihood.
    """

    layout: Derived
    is_table: ClassVar[bool] = True

    def check_prior(self, prior: AbstractPrior) -> None:
        if prior.has_pseudo_examples:
            raise RecipeError(
                expected="a prior without pseudo-rows for the columns likelihood",
                got="vamp, whose pseudo-rows would need categories between categories",
                cure="choose --prior normal-mixture or coupling-flow",
            )

    def encoder(self, make: MakeNetwork, summary: Summary) -> TableFeatures:
        return TableFeatures(make((num_features(self.layout.value),)), self.layout)

    def likelihood(
        self, part: AbstractLikelihood, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array
    ) -> ColumnsDecoder:
        return ColumnsDecoder(make_decoder(self.layout.value.num_parameters, (), key=key), self.layout)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Rows are floating-point numbers, so that a row is the same whether or not others have gaps."""
        return values if values.dtype.kind == "f" else values.astype(np.float32)

    def log_prob_of_columns(self, distribution: dist.Distribution, x: Float[Array, " d"]) -> Float[Array, " d"]:
        return self.layout.value.folded(distribution.log_prob_of_columns(x))

    def log_prob_of_cells(self, distribution: dist.Distribution, x: Float[Array, " d"]) -> Float[Array, ""]:
        return distribution.log_prob_of_cells(x)

    def log_prob_of_condition(self, distribution: dist.Distribution, x: Float[Array, " d"]) -> Float[Array, ""]:
        return distribution.log_prob_of_condition(x)

    def sample_given(self, distribution: dist.Distribution, key: Array, observed: Array) -> Float[Array, " d"]:
        return distribution.sample_given(key, observed)

    def score(self, likelihood: Likelihood, x: Array, z: Array, prior_z: Array) -> RowScore:
        row = score_row(likelihood, self.layout.value, x, z, prior_z)
        return row._replace(shares=self.layout.value.folded(row.shares))

    def statistics(self, likelihood: Likelihood, z: Array, log_weights: Array) -> PyTree[Array]:
        return statistics_of_row(likelihood, z, log_weights)

    def typical(self, statistics: PyTree[Array]) -> Float[Array, " d"]:
        return RowDistribution.of_data(self.layout.value).typical(statistics)

    def drawn(
        self, likelihood: Likelihood, z: Array, log_weights: Array, num_draws: int, keys: Sequence[Array]
    ) -> Array:
        return drawn_rows(likelihood, z, log_weights, num_draws, keys)
