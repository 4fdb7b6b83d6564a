"""Keeping the compiler from computing an expensive array again inside every consumer."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num


@jax.custom_jvp
def materialized(value: Num[Array, "*shape"], positive: Array) -> Num[Array, "*shape"]:
    """``value``, computed once and stored.

    On CPU, XLA fuses producers into each of their consumers and drops its own optimization barriers before it does
    so; a loop is never fused. This one has no round, which hangs on the sign of the first element of ``positive`` and
    so cannot be seen through (a value that ought to be positive and is not makes the result NaN, as it should).

    Args:
        value: Any array.
        positive: Any array, such as the parameter that ``value`` was computed from.
    """
    if value.size == 0 or positive.size == 0:
        return value
    rounds = (positive.reshape(-1)[0] < 0.0).astype(jnp.int32)
    start = jnp.zeros_like(rounds), value
    return jax.lax.while_loop(lambda state: state[0] < rounds, lambda state: (state[0] + 1, state[1] * jnp.nan), start)[
        1
    ]


@materialized.defjvp
def _materialized_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return materialized(*primals), tangents[0]


def broadcast_flat(parameter: Num[Array, "..."], shape: tuple[int, ...]) -> Num[Array, " size"]:
    """A positive parameter broadcast to ``shape`` and stored flat: loops over a short last axis are not vectorized."""
    flat = jnp.broadcast_to(parameter, shape).reshape(-1)
    return materialized(flat, parameter) if 1 < parameter.size < flat.size else flat
