"""Small helpers shared by the rules: the dtype and the shape of the noise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.distributions import Distribution


def float_dtype(*parameters: object) -> jnp.dtype:
    """The floating dtype that these parameters promote to; the default float where all are Python numbers."""
    dtype = jnp.result_type(float, *parameters)
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)


def to_float(*parameters: object) -> tuple[Array, ...]:
    """The parameters as arrays of their common floating dtype."""
    dtype = float_dtype(*parameters)
    return tuple(jnp.asarray(parameter, dtype) for parameter in parameters)


def full_shape(q: Distribution, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample."""
    return sample_shape + tuple(q.batch_shape) + tuple(q.event_shape)


def widened(q: Any) -> Any:
    """The same distributions with parameters of half precision, float16 or bfloat16, in single precision.

    Special functions and decompositions have no half precision, and the noise of a half-precision draw has few values.
    Draws and derivatives are computed, and returned, in float32; a derivative in the parameter has its own type again.
    """
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32) if _is_half(leaf) else leaf, q)


def _is_half(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic) and leaf.dtype in (jnp.float16, jnp.bfloat16)
