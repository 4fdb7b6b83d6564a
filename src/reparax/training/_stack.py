"""Pytrees of equal structure as one: leaves that differ are stacked along a first axis, the others are shared."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

FEW = 1 << 20
"""Arrays with more numbers than this are equal only if they are one array: a comparison would read all of them."""


class Stacked(NamedTuple):
    """Pytrees of equal structure, in two halves that `member` joins.

    Attributes:
        own: The leaves that differ, stacked; None in place of the others.
        shared: The others; None in place of those that differ.
    """

    own: PyTree[Array]
    shared: PyTree

    @classmethod
    def of(cls, trees: Sequence[PyTree]) -> "Stacked":
        """The pytrees, which have the same `signature`."""
        flat = [jax.tree.leaves(tree) for tree in trees]
        structure = jax.tree.structure(trees[0])
        columns = list(zip(*flat, strict=True))
        is_shared = [all(_equal(leaf, leaves[0]) for leaf in leaves[1:]) for leaves in columns]
        own = [None if same else _stack(leaves) for leaves, same in zip(columns, is_shared, strict=True)]
        shared = [leaves[0] if same else None for leaves, same in zip(columns, is_shared, strict=True)]
        return cls(jax.tree.unflatten(structure, own), jax.tree.unflatten(structure, shared))

    @classmethod
    def same(cls, tree: PyTree) -> "Stacked":
        """The same pytree for all."""
        return cls(jax.tree.map(lambda _: None, tree), tree)

    @classmethod
    def each(cls, trees: Sequence[PyTree[Array]]) -> "Stacked":
        """Pytrees of arrays, of which every one differs."""
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        return cls(stacked, jax.tree.map(lambda _: None, stacked))

    def member(self, own: PyTree) -> Any:
        """One of the pytrees, from its leaves of ``own``."""
        return eqx.combine(own, self.shared)


def signature(tree: PyTree, *, numbers: bool) -> Hashable:
    """What pytrees must have in common to be stacked: structure, shapes and dtypes, and all that is no array.

    Args:
        tree: The pytree.
        numbers: Whether real numbers must be equal too; they may differ where no branch of the code depends on them.
    """
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(_mark(leaf, numbers) for leaf in leaves)


def at(tree: PyTree, place: int) -> PyTree:
    """One of several pytrees that are stacked along the first axis of each array."""
    return _at(tree, jnp.asarray(place))


@jax.jit
def _at(tree: PyTree, place: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[place], tree)


def _mark(leaf: Any, numbers: bool) -> Hashable:
    if eqx.is_array(leaf) or isinstance(leaf, np.ndarray):
        return leaf.shape, str(leaf.dtype)
    if isinstance(leaf, float) and not numbers:
        return float
    return type(leaf), leaf


def _equal(leaf: Any, other: Any) -> bool:
    if leaf is other:
        return True
    if eqx.is_array(leaf) or isinstance(leaf, np.ndarray):
        return leaf.size <= FEW and bool(np.array_equal(np.asarray(leaf), np.asarray(other), equal_nan=_is_real(leaf)))
    return leaf == other


def _is_real(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _stack(leaves: Sequence[Any]) -> Array:
    if isinstance(leaves[0], float):
        return jnp.asarray(leaves, jnp.float32)
    return jnp.stack(leaves)
