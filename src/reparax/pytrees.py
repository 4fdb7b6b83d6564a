"""Arrays that are not trained, and the partition of a pytree into trainable and other leaves."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Self, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from reparax.summary import Summary

Tree = TypeVar("Tree")

BATCH = "batch"
"""The name of the axis that an objective is vectorized over: ``jax.lax.pmean(value, BATCH)`` is a batch's mean.

Training differentiates the mean over the batch. A derivative inside an objective, of a function with a collective, is
that of the sum over all examples.
"""


class Frozen(eqx.Module):
    """Arrays of a model that are saved with it but never trained, such as a standardization."""

    value: PyTree[Array]


class Derived(Frozen):
    """Arrays that follow from the summary of the data: never trained, and computed at load instead of saved.

    Attributes:
        make: Computes them from a summary; must give the same arrays for a given format version of saved models.
    """

    make: Callable[[Summary], PyTree[Array]] = eqx.field(static=True)

    @classmethod
    def of(cls, make: Callable[[Summary], PyTree[Array]], summary: Summary) -> Self:
        """The arrays that a function computes from a summary."""
        return cls(make(summary), make)


def without_derived(tree: PyTree) -> PyTree:
    """A pytree with None in place of each `Derived`."""
    return jax.tree.map(lambda leaf: None if _is_derived(leaf) else leaf, tree, is_leaf=_is_derived)


def with_derived(tree: Tree, summary: Summary) -> Tree:
    """A pytree with each `Derived` computed from a summary; equal ones become one object."""
    computed: dict[Callable, Derived] = {}

    def fill(leaf: Any) -> Any:
        if not isinstance(leaf, Derived):
            return leaf
        if leaf.make not in computed:
            computed[leaf.make] = Derived.of(leaf.make, summary)
        return computed[leaf.make]

    return jax.tree.map(fill, tree, is_leaf=_is_derived)


def partition(tree: Tree) -> tuple[Tree, Tree]:
    """Splits a pytree into two of the same structure: the trainable floating-point arrays, and everything else."""
    trainable = jax.tree.map(
        lambda leaf: not isinstance(leaf, Frozen) and eqx.is_inexact_array(leaf), tree, is_leaf=_is_frozen
    )
    return eqx.partition(tree, trainable, is_leaf=_is_frozen)


def combine(trainable: Tree, rest: Tree) -> Tree:
    """The inverse of `partition`."""
    return eqx.combine(trainable, rest, is_leaf=_is_frozen)


def strongly_typed(tree: Tree) -> Tree:
    """A pytree without weakly typed arrays, such as ``jnp.asarray(1.0)``.

    An update makes a weakly typed array an ordinary one, and programs would then be compiled again.
    """

    def strong(leaf: Any) -> Any:
        return leaf.astype(leaf.dtype) if getattr(leaf, "weak_type", False) else leaf

    return jax.tree.map(strong, tree)


def num_parameters(tree: PyTree) -> int:
    """The number of trainable parameters of a pytree."""
    return sum(leaf.size for leaf in jax.tree.leaves(partition(tree)[0]))


def classes_of(tree: PyTree) -> dict[str, str]:
    """The names of the classes of the modules in a pytree, by their paths; arrays and settings are left out."""
    return dict(_classes(tree, ""))


def _classes(tree: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, eqx.Module):
        yield path, type(tree).__qualname__
        children: Iterable[tuple[Any, Any]] = ((each.name, getattr(tree, each.name, None)) for each in fields(tree))
    elif isinstance(tree, Mapping):
        children = tree.items()
    elif isinstance(tree, tuple | list):
        children = enumerate(tree)
    else:
        return
    for name, child in children:
        yield from _classes(child, f"{path}.{name}")


def soft_bound(x: Float[Array, "*s"], low: float, high: float) -> Float[Array, "*s"]:
    """A smooth, strictly increasing map of the reals into (low, high), the identity well inside.

    low + softplus(x - low) - softplus(x - high).
    """
    # Far outside, the softplus terms would cancel (to NaN at infinity), and the map is flat.
    x = jnp.clip(x, low - 40.0, high + 40.0)
    return low + jax.nn.softplus(x - low) - jax.nn.softplus(x - high)


def exp_soft_bound(x: Float[Array, "*s"], low: float, high: float) -> Float[Array, "*s"]:
    """exp(soft_bound(x, low, high)) by one exponential instead of five: (e^low + e^x) / (1 + e^(x - high))."""
    grown = jnp.exp(jnp.clip(x, low - 40.0, high + 40.0))
    return (grown + math.exp(low)) / (1.0 + grown * math.exp(-high))


def _is_derived(leaf: Any) -> bool:
    return isinstance(leaf, Derived)


def _is_frozen(leaf: Any) -> bool:
    return isinstance(leaf, Frozen)
