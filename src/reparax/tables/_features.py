"""The first step of an encoder of table rows: categories become one-hot, numbers near one, missing cells are shown."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from reparax.networks import Network
from reparax.pytrees import Derived
from reparax.tables._layout import Layout

LARGEST_FEATURE = 4.0


class TableFeatures(eqx.Module):
    """network of [one-hot states, transformed numbers, which cells are missing] of one row.

    A missing cell, and a category that was not seen when the model was fitted, have neither a state nor a number:
    zeros stand in their place, and a one says so.

    Attributes:
        network: What sees the features.
        layout: The columns.
        hidden: Which cells are taken for missing; None for none of those that are there.
    """

    network: Network
    layout: Derived
    hidden: Bool[Array, " d"] | None = None

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, "..."]:
        seen = x if self.hidden is None else jnp.where(self.hidden, jnp.nan, x)
        return self.network(features(self.layout.value, seen))


def hiding(tree: PyTree, hidden: Bool[Array, " d"]) -> PyTree:
    """A model, or what else has encoders of table rows, that does not see some of a row's cells."""

    def hide(leaf: object) -> object:
        return replace(leaf, hidden=hidden) if isinstance(leaf, TableFeatures) else leaf

    return jax.tree.map(hide, tree, is_leaf=lambda leaf: isinstance(leaf, TableFeatures))


def num_features(layout: Layout) -> int:
    """How many numbers `features` gives."""
    return sum(group.log_shares.size for group in layout.groups) + layout.num_numeric + layout.size


def features(layout: Layout, x: Float[Array, " d"]) -> Float[Array, " features"]:
    """One row as an encoder sees it."""
    x = jnp.asarray(x, layout.step.dtype)
    codes, numbers = layout.split(jnp.where(jnp.isnan(x), 0.0, x))
    missing, missing_numbers = layout.split(jnp.isnan(x))
    unknown = [
        empty | group.is_unseen(code) for group, code, empty in zip(layout.categories, codes, missing, strict=True)
    ]
    cells = [*codes, *layout.of_spikes(numbers)]
    without_state = [*unknown, *layout.of_spikes(missing_numbers)]
    pieces = []
    for group, cell, none in zip(layout.groups, cells, without_state, strict=True):
        one_hot = jax.nn.one_hot(group.state(cell), group.size, dtype=x.dtype)
        pieces.append(jnp.ravel(jnp.where(none[:, None], 0.0, one_hot)))
    u = layout.transformed(numbers)
    # Standard logistic scores have the standard deviation pi / sqrt(3); far outliers must not drown the rest.
    bounded = LARGEST_FEATURE * jnp.tanh(u * (3.0**0.5 / jnp.pi / LARGEST_FEATURE))
    pieces.append(jnp.where(missing_numbers, 0.0, bounded))
    return jnp.concatenate([*pieces, *(some.astype(x.dtype) for some in (*unknown, missing_numbers))])
