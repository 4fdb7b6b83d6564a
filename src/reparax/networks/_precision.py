"""Networks whose hidden layers can be computed with fewer bits than they are stored with."""

from typing import Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

Tree = TypeVar("Tree")


@runtime_checkable
class Feedforward(Protocol):
    """A network of layers, a pytree, whose layers compute in the dtype of their weights; see `in_dtype_of`."""

    def __call__(self, x: Array, /) -> Array: ...

    def last_layer(self) -> PyTree[Array]:
        """The arrays of the last layer, whose dtype is that of what the network gives."""
        ...


def in_dtype_of(weight: Array, x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """What a layer sees, in the dtype of its weights, where one of the two is bfloat16."""
    return x.astype(weight.dtype) if jnp.bfloat16 in (x.dtype, weight.dtype) else x


def with_bfloat16(tree: Tree) -> Tree:
    """A pytree with the hidden layers of each `Feedforward` in bfloat16; their last layers are unchanged."""

    def lowered(node: object) -> object:
        if not isinstance(node, Feedforward):
            return node
        low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), node)
        return eqx.tree_at(lambda network: network.last_layer(), low, node.last_layer())

    return jax.tree.map(lowered, tree, is_leaf=lambda node: isinstance(node, Feedforward))
