"""What travels through a program beside its state: the draws so far, as far as the costs to come must know them."""

from dataclasses import dataclass, field
from typing import Any

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


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class Upstream:
    """The draws upstream of a place in a program; made by `simulate`, passed on by `draw`, read by `cost`.

    It is a pytree, so that it travels in the carry of ``scan`` and ``while_loop``, through ``cond`` and ``vmap``. What
    was chosen for each site is static, so that jax's caches never mix two choices.

    Args:
        log_prob: The sum of log q(z) over score-function draws, nats; while probing, the variable that is followed.
        paired: 0, with the DisARM estimate of the score of binary draws as its derivative.
        weight: The product over enumerated draws of the probability of the state, times the number of states.
        mode: What the program is traced for.
        left: Whether it came out of a vmap, and so holds the draws of one lane each.
    """

    log_prob: Float[Array, "*lanes"]
    paired: Float[Array, "*lanes"]
    weight: Float[Array, "*lanes"]
    mode: Probing | Running
    left: bool = False

    def tree_flatten(self) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
        """The arrays, and what is static.

        An upstream with axes has left a vmap. Inside of a second one it would have none again, and pass for an
        upstream of all lanes: so that is remembered whenever it is taken apart.
        """
        left = self.left or getattr(self.log_prob, "ndim", 0) > 0
        return (self.log_prob, self.paired, self.weight), (self.mode, left)

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], arrays: tuple[Any, ...]) -> "Upstream":
        """The inverse."""
        return cls(*arrays, *static)


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
