"""What traced programs (jaxprs) look like in different releases of jax."""

from typing import Any


def scan_sizes(params: dict[str, Any]) -> tuple[int, int]:
    """The number of constants and of carried values among the operands of a scan, from its parameters."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    # Since release 0.12, jax stores their structure instead.
    constants, carry, _ = params["ft_in"].unpack()
    return _count(constants), _count(carry)


def _count(tree: Any) -> int:
    return sum(map(_count, tree.elts)) if hasattr(tree, "elts") else 1
