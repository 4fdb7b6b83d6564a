"""The first step of an encoder of table rows: categories become one-hot, numbers near one, missing cells are shown."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from reparax.networks import Network
from reparax.pytrees import Derived
from reparax.tables._layout import Layout


class TableFeatures(eqx.Module):
    """A network of [one-hot categories and spikes, transformed numbers, which cells are missing] of one row.

    A missing cell, and a category that did not occur in training, is shown as zeros and a one that marks it.

    Attributes:
        network: The network of the features.
        layout: The columns.
        hidden: Which observed cells are shown as missing; None for none.
    """

    network: Network
    layout: Derived
    hidden: Bool[Array, " d"] | None = None

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, "..."]:
        seen = x if self.hidden is None else jnp.where(self.hidden, jnp.nan, x)
        return self.network(features(self.layout.value, seen))


def hiding(tree: PyTree, hidden: Bool[Array, " d"]) -> PyTree:
    """A model, or another pytree with encoders of table rows, that does not see some of a row's cells."""

    def hide(leaf: object) -> object:
        return replace(leaf, hidden=leaf.layout.value.hidden(hidden)) if isinstance(leaf, TableFeatures) else leaf

    return jax.tree.map(hide, tree, is_leaf=lambda leaf: isinstance(leaf, TableFeatures))


def num_features(layout: Layout) -> int:
    """How many numbers `features` gives."""
    return sum(family.num_features for family in layout.families) + layout.size


def features(layout: Layout, x: Float[Array, " d"]) -> Float[Array, " features"]:
    """One row as an encoder sees it."""
    x = jnp.asarray(x, jnp.float32)
    cells, missing = layout.split(jnp.where(jnp.isnan(x), 0.0, x)), layout.split(jnp.isnan(x))
    families = list(zip(layout.families, cells, missing, strict=True))
    absent = [empty | family.is_unseen(cell) for family, cell, empty in families]
    shown = [family.features(cell, empty) for (family, cell, _), empty in zip(families, absent, strict=True)]
    return jnp.concatenate([*shown, *(empty.astype(x.dtype) for empty in absent)])


def num_condition_features(layout: Layout) -> int:
    """How many numbers `condition_features` gives."""
    return sum(family.num_features for family in layout.families)


def condition_features(layout: Layout, x: Float[Array, " d"]) -> Float[Array, " features"]:
    """One row of what is given, without missing cells: one-hot categories and spikes, transformed numbers."""
    cells = zip(layout.families, layout.split(x), strict=True)
    return jnp.concatenate([family.features(cell, jnp.zeros(cell.shape, bool)) for family, cell in cells])
