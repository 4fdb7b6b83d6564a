"""Where the programs' room asks for the continuity of what follows a pathwise draw."""

from jax.extend.core import ClosedJaxpr
from jaxtyping import Array


def source(z: Array, name: str) -> Array:
    """The draw of a site that may be differentiated, marked in the jaxpr.

    Args:
        z: The draw.
        name: The site's name.
    """
    return z


def names_that_jump(program: ClosedJaxpr) -> dict[str, str]:
    """The sites in whose draws a program is not shown to be continuous, with the reason.

    The jaxpr has equations ``reparax_mark`` (`reparax.programs._marks`): the outputs are the first operands, and are
    continuous functions of all operands. They carry what is asked for: parameters of later draws must be continuous in
    an earlier pathwise draw (their densities are differentiated), and so must costs.

    Args:
        program: The program's jaxpr, with every `source` in it.
    """
    return {}
