"""What traced programs (jaxprs) look like in different releases of jax."""

from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def scan_sizes(params: dict[str, Any]) -> tuple[int, int]:
    """The number of constants and of carried values among the operands of a scan, from its parameters."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    # Since release 0.12, jax stores their structure instead.
    constants, carry, _ = params["ft_in"].unpack()
    return _count(constants), _count(carry)


def _count(tree: Any) -> int:
    return sum(map(_count, tree.elts)) if hasattr(tree, "elts") else 1


def without_constants(closed: ClosedJaxpr) -> Jaxpr:
    """The program without the values that it closes over, which it then keeps alive no longer."""
    jaxpr: Any = closed.jaxpr
    # Since release 0.12, there is one class, and the program is itself.
    return jaxpr.with_consts(()) if hasattr(jaxpr, "with_consts") else jaxpr
