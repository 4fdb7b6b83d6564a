"""Networks of examples that have several views, each with its network; a view may be missing."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from reparax.networks._base import Network
from reparax.pytrees import Derived


class OfViews(eqx.Module):
    """sum_v network_v(x_v) over the views v of one example that are not missing; `each` has the terms.

    Attributes:
        networks: The network of each view.
        layout: Where the views are in an example, a `reparax.distributions.ViewLayout`.
    """

    networks: tuple[Network, ...]
    layout: Derived

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " out"]:
        outputs, present = self.each(x)
        return jnp.sum(jnp.where(present[:, None], outputs, 0.0), axis=0)

    def each(self, x: Float[Array, " d"]) -> tuple[Float[Array, "v out"], Bool[Array, " v"]]:
        """What the network of each view gives, and which views are present."""
        views, present = self.layout.value.split(x)
        return jnp.stack([network(view) for network, view in zip(self.networks, views, strict=True)]), present


def of_each_view(network: Network, x: Array) -> tuple[Float[Array, "v out"], Bool[Array, " v"]]:
    """What a network says of each view, and which are present; for any network but `OfViews`, x is the only view."""
    if isinstance(network, OfViews):
        return network.each(x)
    return network(x)[None], jnp.ones(1, bool)
