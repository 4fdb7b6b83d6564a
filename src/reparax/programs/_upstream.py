"""What travels through a program beside its state: the draws so far, as far as the costs to come must know them."""

from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Probing:
    """The program is being traced to see its draws and costs."""


@dataclass(frozen=True)
class Running:
    """The program is being run, with a choice for each of its draws.

    Args:
        axis: The name of the axis of copies.
        copies: The number of copies.
        estimators: Pairs of a site's name and its estimator.
        axes: Pairs of an enumerated site's name and the name of the axis of its states.
        without_baseline: The costs for which the other copies are no valid baseline.
    """

    axis: str
    copies: int
    estimators: tuple[tuple[str, str], ...]
    axes: tuple[tuple[str, str], ...] = ()
    without_baseline: frozenset[str] = field(default_factory=frozenset)


class Upstream(eqx.Module):
    """The draws upstream of a place in a program; made by `simulate`, passed on by `draw`, read by `cost`.

    It is a pytree, so that it travels in the carry of ``scan`` and ``while_loop``, through ``cond`` and ``vmap``. What
    was chosen for each site is static, so that jax's caches never mix two choices.

    Attributes:
        log_prob: The sum of log q(z) over score-function draws, nats; while probing, the variable that is followed.
        paired: 0, with the DisARM estimate of the score of binary draws as its derivative.
        weight: The product over enumerated draws of the probability of the state, times the number of states.
        mode: What the program is traced for.
    """

    log_prob: Float[Array, "*lanes"]
    paired: Float[Array, "*lanes"]
    weight: Float[Array, "*lanes"]
    mode: Probing | Running = eqx.field(static=True)


def start(mode: Probing | Running) -> Upstream:
    """No draws yet."""
    dtype = jnp.result_type(float)
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    return Upstream(zero, zero, one, mode)


def unused_axis(what: str) -> str:
    """A name for an axis that no enclosing ``vmap`` has taken."""
    depth = 0
    while True:
        name = f"reparax {what} {depth}"
        try:
            jax.lax.axis_size(name)
        except NameError:
            return name
        depth += 1
