"""Weights before training."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

STD_OF_TRUNCATED = 0.87962566103423978
"""The standard deviation of a standard Normal that is cut off at -2 and 2."""


def lecun_normal(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> Float[Array, "..."]:
    """Draws of a Normal of variance 1 / fan_in, cut off at two standard deviations: LeCun et al. (1998), section 4.6.

    The same bits as ``jax.nn.initializers.lecun_normal``; but few sizes are compiled, whatever the shapes (the draws
    of a shape are the first of those of a longer one), as compiling them took longer than all else in building a model.
    """
    count = math.prod(shape)
    longer = 16 ** max(2, math.ceil(math.log(max(count, 1), 16)))
    return _cut(_truncated_normal(key, longer), jnp.sqrt(1 / max(1, fan_in)) / STD_OF_TRUNCATED, shape)


@partial(jax.jit, static_argnums=1)
def _truncated_normal(key: jax.Array, count: int) -> Float[Array, " n"]:
    return jax.random.truncated_normal(key, -2.0, 2.0, (count,))


@partial(jax.jit, static_argnums=2)
def _cut(draws: Float[Array, " n"], scale: Float[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    return draws[: math.prod(shape)].reshape(shape) * scale
