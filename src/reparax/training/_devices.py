"""Where training computes: on one device, or with the examples of each batch divided among several."""

from dataclasses import dataclass
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from reparax.errors import RecipeError

Tree = TypeVar("Tree")

AXIS = "devices"


@dataclass(frozen=True)
class Devices:
    """The devices of a fit.

    Of several ones, each holds all parameters and computes with its part of every batch; the compiler inserts the sums
    over devices. The program is the same as on one device, and so are its numbers up to rounding: means, collectives
    over the batch and the noise of each example mean the same. Where a batch cannot be divided evenly, the compiler
    fills up the part of the last devices, and counts nothing of that.

    Attributes:
        mesh: Several devices along one axis; None for the default device alone.
    """

    mesh: Mesh | None = None

    @classmethod
    def of(cls, count: int | None = None) -> Self:
        """Some devices of this process: by default all.

        Raises:
            RecipeError: There are not so many.
        """
        there = jax.devices()
        if count is not None and not 1 <= count <= len(there):
            raise RecipeError(
                expected=f"1 to {len(there)} devices, as there {'is' if len(there) == 1 else 'are'} {len(there)} of "
                f"kind {jax.default_backend()}",
                got=str(count),
                cure="choose fewer, or leave devices (--devices) out to use all" if count > 0 else "leave it out",
            )
        used = there[:count]
        return cls(Mesh(np.asarray(used), (AXIS,), axis_types=(AxisType.Auto,)) if len(used) > 1 else None)

    @property
    def count(self) -> int:
        """How many devices there are."""
        return 1 if self.mesh is None else self.mesh.size

    def divided(self, rows: Int[Array, " b"]) -> Int[Array, " b"]:
        """Inside a compiled program: the rows of a batch, of which each device has a part."""
        return rows if self.mesh is None else self._laid(rows, PartitionSpec(AXIS))

    def alike(self, tree: Tree) -> Tree:
        """Inside a compiled program: arrays that each device has entirely."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: self._laid(leaf, PartitionSpec()), tree)

    def _laid(self, array: Array, spec: PartitionSpec) -> Array:
        assert self.mesh is not None
        return jax.lax.with_sharding_constraint(array, NamedSharding(self.mesh, spec))

    def put(self, array: Any) -> jax.Array:
        """An array on each device."""
        return (
            jnp.asarray(array)
            if self.mesh is None
            else jax.device_put(array, NamedSharding(self.mesh, PartitionSpec()))
        )

    def copied(self, tree: Tree) -> Tree:
        """A pytree with its arrays of jax on each device."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: self.put(leaf) if isinstance(leaf, jax.Array) else leaf, tree)


def collected(tree: Tree) -> Tree:
    """The arrays of a pytree on the default device alone."""
    return jax.tree.map(lambda leaf: leaf if num_devices(leaf) == 1 else jnp.asarray(np.asarray(leaf)), tree)


def num_devices(tree: PyTree[Array]) -> int:
    """How many devices the arrays of a pytree are on."""
    return max((len(leaf.sharding.device_set) for leaf in jax.tree.leaves(tree)), default=1)
