"""The first step of an encoder of table rows: categories become one-hot, numbers near one, missing cells are shown."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.distributions import Layout
from reparax.networks._base import Network
from reparax.pytrees import Frozen

LARGEST_FEATURE = 4.0


class TableFeatures(eqx.Module):
    """network of [one-hot states, transformed numbers, which cells are missing] of one row.

    A missing cell, and a category that was not seen when the model was fitted, have neither a state nor a number:
    zeros stand in their place, and a one says so.
    """

    network: Network
    layout: Frozen

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, "..."]:
        return self.network(features(self.layout.value, x))


def num_features(layout: Layout) -> int:
    """How many numbers `features` gives."""
    return layout.num_states + len(layout.numeric) + layout.size


def features(layout: Layout, x: Float[Array, " d"]) -> Float[Array, " features"]:
    """One row as an encoder sees it."""
    x = jnp.asarray(x, layout.step.dtype)
    unseen = (layout.num_categories > 0) & (x >= layout.num_categories)
    missing = jnp.isnan(x) | unseen
    x = jnp.where(missing, 0.0, x)
    state = layout.state(x)
    pieces = []
    for group in layout.groups:
        columns = jnp.asarray(group.columns)
        one_hot = jax.nn.one_hot(state[columns], group.size, dtype=x.dtype)
        pieces.append(jnp.ravel(jnp.where(missing[columns][:, None], 0.0, one_hot)))
    if layout.numeric:
        numeric = jnp.asarray(layout.numeric)
        u, _ = layout.transformed(x[numeric])
        # Standard logistic scores have the standard deviation pi / sqrt(3); far outliers must not drown the rest.
        bounded = LARGEST_FEATURE * jnp.tanh(u * (3.0**0.5 / jnp.pi / LARGEST_FEATURE))
        pieces.append(jnp.where(missing[numeric], 0.0, bounded))
    pieces.append(missing.astype(x.dtype))
    return jnp.concatenate(pieces)
