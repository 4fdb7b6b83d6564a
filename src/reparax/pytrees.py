"""Parameters that training leaves alone, and the split of a pytree into what is trained and what is not."""

from collections.abc import Callable
from typing import Any, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from reparax.summary import Summary

Tree = TypeVar("Tree")


class Frozen(eqx.Module):
    """Arrays that belong to a model and are saved with it, but are never trained (a standardization, say)."""

    value: PyTree[Array]


class Derived(Frozen):
    """Arrays that follow from the summary of the data: never trained, and made anew at load instead of saved.

    Attributes:
        make: Makes them of a summary; it must give the same arrays as long as the format of saved models is the same.
    """

    make: Callable[[Summary], PyTree[Array]] = eqx.field(static=True)

    @classmethod
    def of(cls, make: Callable[[Summary], PyTree[Array]], summary: Summary) -> Self:
        """What a function makes of a summary."""
        return cls(make(summary), make)


def without_derived(tree: PyTree) -> PyTree:
    """A pytree with nothing in the place of what can be derived."""
    return jax.tree.map(lambda leaf: None if _is_derived(leaf) else leaf, tree, is_leaf=_is_derived)


def with_derived(tree: Tree, summary: Summary) -> Tree:
    """A pytree with what can be derived made anew: one object for all places that hold the same."""
    made: dict[Callable, Derived] = {}

    def fill(leaf: Any) -> Any:
        if not isinstance(leaf, Derived):
            return leaf
        if leaf.make not in made:
            made[leaf.make] = Derived.of(leaf.make, summary)
        return made[leaf.make]

    return jax.tree.map(fill, tree, is_leaf=_is_derived)


def partition(tree: Tree) -> tuple[Tree, Tree]:
    """Splits a pytree in two of the same structure: the trainable floating-point arrays, and all the rest."""
    trainable = jax.tree.map(
        lambda leaf: not isinstance(leaf, Frozen) and eqx.is_inexact_array(leaf), tree, is_leaf=_is_frozen
    )
    return eqx.partition(tree, trainable, is_leaf=_is_frozen)


def combine(trainable: Tree, rest: Tree) -> Tree:
    """The inverse of `partition`."""
    return eqx.combine(trainable, rest, is_leaf=_is_frozen)


def num_parameters(tree: PyTree) -> int:
    """How many trainable numbers a pytree holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(partition(tree)[0]))


def soft_bound(x: Float[Array, "*s"], low: float, high: float) -> Float[Array, "*s"]:
    """A smooth, strictly increasing map of the reals into (low, high), the identity well inside.

    low + softplus(x - low) - softplus(x - high).
    """
    # Far outside, the two softplus would cancel to nothing (or to NaN at infinity), and are flat anyway.
    x = jnp.clip(x, low - 40.0, high + 40.0)
    return low + jax.nn.softplus(x - low) - jax.nn.softplus(x - high)


def _is_derived(leaf: Any) -> bool:
    return isinstance(leaf, Derived)


def _is_frozen(leaf: Any) -> bool:
    return isinstance(leaf, Frozen)
