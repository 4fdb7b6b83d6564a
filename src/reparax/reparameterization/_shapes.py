"""Small helpers shared by the rules: the dtype and the shape of the noise."""

import jax.numpy as jnp
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
