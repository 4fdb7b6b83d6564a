"""Functions of single elements, computed along one axis."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def along_one_axis(function: Callable[..., Array], *arrays: Num[Array, "..."]) -> Float[Array, "*s"]:
    """``function(*arrays)`` for a function that treats each element by itself; the arrays are broadcast.

    On a CPU, XLA vectorizes over the last axis, which has one element in gray images: a tenth of a training step.
    """
    shape = jnp.broadcast_shapes(*map(jnp.shape, arrays))
    if not shape:
        return function(*arrays)

    def flat(array: Array) -> Array:
        return jnp.reshape(array, ()) if jnp.size(array) == 1 else jnp.ravel(jnp.broadcast_to(array, shape))

    return jnp.broadcast_to(function(*map(flat, arrays)), (math.prod(shape),)).reshape(shape)
