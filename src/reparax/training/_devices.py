"""Where training computes: on one device, or with the examples of each batch divided among several."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from reparax.errors import RecipeError

Tree = TypeVar("Tree")

PROCESSES, AXIS = "processes", "devices"
LARGE = 1 << 24
"""The bytes from which on an array of a model is divided among the devices of a process."""

Kind = Literal["cpu", "gpu"]

CURES: dict[Kind | None, str] = {
    "gpu": "on a machine with an NVIDIA driver, run: pip install 'reparax[cuda]'; or leave device (--device) out",
    "cpu": "leave device (--device) out, and cpu in JAX_PLATFORMS if it is set",
    None: "look at JAX_PLATFORMS in the environment",
}
"""What helps if there is no device of a kind."""


@dataclass(frozen=True)
class Devices:
    """The devices of a fit.

    Of several ones, each computes with its part of every batch; the compiler inserts the sums over devices. Each holds
    all parameters but the large arrays of them, of which it holds its part, as of their moments in the optimizer: every
    process has all parts. The program is the same as on one device, and so are its numbers up to rounding: means,
    collectives over the batch and the noise of each example mean the same. Where a batch cannot be divided evenly, the
    compiler fills up the part of the last devices, and counts nothing of that.

    Attributes:
        mesh: Several devices, along one axis for the processes and one for the devices of each; None for the default
            device alone.
    """

    mesh: Mesh | None = None

    @classmethod
    def of(cls, count: int | None = None, kind: Kind | None = None) -> Self:
        """Some devices of this process; of several processes that jax has connected, so many of each.

        Args:
            count: How many; by default all.
            kind: Their kind; by default that of the default device.

        Raises:
            RecipeError: There are not so many, or none of the kind.
        """
        there = _devices_of(kind)
        if count is not None and not 1 <= count <= len(there):
            raise RecipeError(
                expected=f"{'1 to ' if len(there) > 1 else ''}{len(there)} of the devices of kind {there[0].platform}",
                got=str(count),
                cure="choose fewer, or leave devices (--devices) out to use all" if count > 0 else "leave it out",
            )
        used = [jax.local_devices(process, kind)[:count] for process in range(jax.process_count())]
        if used == [jax.devices()[:1]]:
            return cls()
        if len({len(devices) for devices in used}) > 1:  # parts of parameters would be other ones in each process
            used = [[device] for devices in used for device in devices]
        return cls(Mesh(np.asarray(used), (PROCESSES, AXIS), axis_types=(AxisType.Auto,) * 2))

    @property
    def count(self) -> int:
        """How many devices there are."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def num_processes(self) -> int:
        """How many processes compute with them, one of which writes and prints."""
        return 1 if self.mesh is None else len({device.process_index for device in self.mesh.devices.flat})

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.num_processes == 1 or jax.process_index() == 0

    @property
    def sums_slowly(self) -> bool:
        """Whether a sum over the devices takes long for an array of any size: over the network, by gloo, some 3 ms."""
        return self.num_processes > 1 and self.mesh is not None and self.mesh.devices.flat[0].platform == "cpu"

    def divided(self, rows: Int[Array, "b ..."]) -> Int[Array, "b ..."]:
        """Inside a compiled program: the rows of a batch, of which each device has a part."""
        return rows if self.mesh is None else self._laid(rows, PartitionSpec((PROCESSES, AXIS)))

    def used(self, tree: Tree) -> Tree:
        """Inside a compiled program: arrays of a model that each device has entirely, for the time of a step."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: self._laid(leaf, PartitionSpec()), tree)

    def kept(self, tree: Tree) -> Tree:
        """Inside a compiled program: arrays of a model as `copied` puts them."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: self._laid(leaf, self._parts(leaf, 0)), tree)

    def _parts(self, array: Any, stacked: int) -> PartitionSpec:
        """How an array of a model is divided: a large one along the first axis that can be."""
        assert self.mesh is not None
        count, shape = self.mesh.shape[AXIS], array.shape[stacked:]
        size = array.dtype.itemsize * math.prod(shape)
        able = [axis for axis, length in enumerate(shape) if length % count == 0]
        if count == 1 or size < LARGE or not able or _is_key(array):
            return PartitionSpec()
        return PartitionSpec(*[None] * (stacked + able[0]), AXIS)

    def _laid(self, array: Array, spec: PartitionSpec) -> Array:
        assert self.mesh is not None
        return jax.lax.with_sharding_constraint(array, NamedSharding(self.mesh, spec))

    def put(self, array: Any) -> jax.Array:
        """An array on each device."""
        return jnp.asarray(array) if self.mesh is None else self._put(array, PartitionSpec())

    def _put(self, array: Any, parts: PartitionSpec) -> jax.Array:
        assert self.mesh is not None
        where = NamedSharding(self.mesh, parts)
        if where.is_fully_addressable or _is_key(array):
            return jax.device_put(array, where)
        # Without the comparison between processes that device_put makes, for which all of the array travels.
        own = whole(array)
        own = own.astype(jax.dtypes.canonicalize_dtype(own.dtype))
        return jax.make_array_from_callback(own.shape, where, lambda place: own[place])

    def copied(self, tree: Tree, stacked: int = 0) -> Tree:
        """A pytree of a model with its arrays of jax on each device, or large ones in parts.

        Args:
            tree: The pytree.
            stacked: How many axes before those of the model's own arrays there are, for several models.
        """
        if self.mesh is None:
            return tree
        return jax.tree.map(
            lambda leaf: self._put(leaf, self._parts(leaf, stacked)) if isinstance(leaf, jax.Array) else leaf, tree
        )


def _devices_of(kind: Kind | None) -> list[jax.Device]:
    """All devices of a kind.

    Raises:
        RecipeError: There are none.
    """
    try:
        return jax.local_devices(backend=kind)
    except RuntimeError:
        raise RecipeError(
            expected=f"a device of kind {kind} that jax can use", got=f"only {jax.default_backend()}", cure=CURES[kind]
        ) from None


def _is_key(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def is_entire(array: Any) -> bool:
    """Whether an array can be read by itself: this process has all its parts alone, or all of it."""
    return not isinstance(array, jax.Array) or array.is_fully_addressable or array.is_fully_replicated


def whole(array: Any) -> np.ndarray:
    """An array from its parts, all of which this process has."""
    if is_entire(array):
        return np.asarray(array)
    joined = np.empty(array.shape, array.dtype)
    for part in array.addressable_shards:
        joined[part.index] = part.data
    return joined


def collected(tree: Tree) -> Tree:
    """The arrays of a pytree on the default device alone."""
    return jax.tree.map(lambda leaf: leaf if num_devices(leaf) == 1 else jnp.asarray(whole(leaf)), tree)


def num_devices(tree: PyTree[Array]) -> int:
    """How many devices the arrays of a pytree are on."""
    return max((len(leaf.sharding.device_set) for leaf in jax.tree.leaves(tree)), default=1)
