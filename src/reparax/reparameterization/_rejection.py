"""Rejection sampling of many lanes that does not pay for the unluckiest one on all of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.reparameterization._gamma import draw_until_accepted

# (key, parameter) -> draws and which of them are rejected.
Attempt = Callable[[Array, Array], tuple[Array, Array]]

# Lanes of the later stages, as shares of all. At least 65 % are accepted at a time, so that more rarely remain after
# two tries of all lanes, which cost less than finding those that a first one rejected.
_SHARES = (6, 16, 32, 64)
_MANY = 4096


def draw_by_stages(key: Array, attempt: Attempt, parameter: Float[Array, " n"]) -> Float[Array, " n"]:
    """For every parameter the first draw that is not rejected.

    All lanes try twice; those that were rejected are gathered, and try again as fewer and fewer lanes. What does not
    fit into a stage is left to a loop over all lanes, which is hardly ever entered.
    """
    count = parameter.size
    if count < _MANY:
        return draw_until_accepted(key, lambda k: attempt(k, parameter))
    key, again, *keys = jax.random.split(key, 4 + len(_SHARES))
    first, rejected = attempt(keys[0], parameter)
    second, twice = attempt(again, parameter)
    draws, rejected = jnp.where(rejected, second, first), rejected & twice
    waiting = jnp.nonzero(rejected, size=count // _SHARES[0], fill_value=count)[0]
    for share, own in zip((*_SHARES[1:], _SHARES[-1]), keys[1:], strict=False):
        draws, rejected, again = _retry(own, attempt, parameter, draws, rejected, waiting)
        waiting = _gathered(waiting, again, count // share, count)

    def one_more(state: tuple[Array, ...]) -> tuple[Array, ...]:
        k, draws, rejected, waiting = state
        k, own = jax.random.split(k)
        draws, rejected, again = _retry(own, attempt, parameter, draws, rejected, waiting)
        return k, draws, rejected, _gathered(waiting, again, waiting.size, count)

    state = jax.lax.while_loop(lambda state: (state[3] < count).any(), one_more, (keys[-1], draws, rejected, waiting))
    _, draws, rejected, _ = state

    def all_again(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        k, draws, rejected = state
        k, own = jax.random.split(k)
        new, still = attempt(own, parameter)
        return k, jnp.where(rejected, new, draws), rejected & still

    return jax.lax.while_loop(lambda state: state[2].any(), all_again, (key, draws, rejected))[1]


def _retry(
    key: Array, attempt: Attempt, parameter: Array, draws: Array, rejected: Array, waiting: Array
) -> tuple[Array, Array, Array]:
    """Another attempt for the waiting lanes; places equal to the number of lanes are empty."""
    here = parameter.at[waiting].get(mode="clip")
    new, again = attempt(key, here)
    empty = waiting >= parameter.size
    draws = draws.at[waiting].set(new, mode="drop")
    rejected = rejected.at[waiting].set(again, mode="drop")
    return draws, rejected, again & ~empty


def _gathered(waiting: Array, again: Array, size: int, empty: int) -> Array:
    places = jnp.nonzero(again, size=size, fill_value=waiting.size)[0]
    return waiting.at[places].get(mode="fill", fill_value=empty)
