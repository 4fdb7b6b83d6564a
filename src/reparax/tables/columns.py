"""The likelihood of table rows: a product over columns of every kind, and over what says which cells are missing."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.errors import DataError
from reparax.likelihoods import AbstractLikelihood, Likelihood, MakeDecoder
from reparax.networks import Network
from reparax.pytrees import Derived
from reparax.summary import Summary
from reparax.tables._distribution import RowDistribution
from reparax.tables._layout import Layout


class Columns(AbstractLikelihood):
    """p(x | z) = P(gaps | z) prod_j p_j(x_j | z) over the observed cells j; see `reparax.tables.RowDistribution`.

    The network gives the parameters of all columns in one product.
    Nazabal et al. (2020), "Handling incomplete heterogeneous data using VAEs", equation 2, with other families, and
    with the gaps of columns that have some in the data.
    """

    def create(self, make_decoder: MakeDecoder, summary: Summary, *, key: jax.Array) -> "ColumnsDecoder":
        layout = layout_of(summary)
        return ColumnsDecoder(make_decoder(layout.value.num_parameters, (), key=key), layout)


class ColumnsDecoder(Likelihood):
    """The weights of `Columns`."""

    network: Network
    layout: Derived

    def __call__(self, z: Float[Array, "*latent"]) -> RowDistribution:
        return RowDistribution(self.network(jnp.ravel(z)), self.layout.value)


def layout_of(summary: Summary) -> Derived:
    """The layout of a table's columns, as the parts of a model hold it; it follows from the schema and is not saved.

    Raises:
        DataError: The data are not a table.
    """
    if not summary.columns:
        raise DataError(
            expected="a table for the columns likelihood",
            got=f"examples of shape {summary.event_shape}",
            cure="choose another --likelihood for images and arrays",
        )
    return Derived.of(Layout.of_summary, summary)
