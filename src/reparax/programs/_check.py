"""Where the programs' room asks for the continuity of what follows a pathwise draw."""

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array

from reparax import continuity
from reparax.estimators import support_interval


def source(q: dist.Distribution, z: Array, name: str) -> Array:
    """The draw of a site that may be differentiated, marked in the jaxpr.

    Args:
        q: Its distribution.
        z: The draw.
        name: The site's name.
    """
    return continuity.source(z, name, support_interval(q))


def constant(z: Array) -> Array:
    """The draw of a site that is not differentiated, marked in the jaxpr."""
    return continuity.drawn(z) if jnp.issubdtype(z.dtype, jnp.inexact) else z


def names_that_jump(program: ClosedJaxpr) -> dict[str, str]:
    """The sites in whose draws a program is not shown to be continuous, with the reason.

    The jaxpr has equations ``reparax_mark`` (`reparax.programs._marks`): the outputs are the first operands, and are
    continuous functions of all operands. They carry what is asked for: parameters of later draws must be continuous in
    an earlier pathwise draw (their densities are differentiated), and so must costs.

    Args:
        program: The program's jaxpr, with every `source` in it.
    """
    return {name: reason.text for name, reason in continuity.judge_draws(program).items()}


def guard(results: Any, program: ClosedJaxpr) -> Any:
    """Results that cannot be differentiated in what moves a jump in a continuous draw: the derivative would miss it."""
    return continuity.guarded_in(results, [program.consts[place] for place in continuity.moved_by(program)])
