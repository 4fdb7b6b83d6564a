"""Keeps jax releases that compute wrong sums on the CPU from doing so.

jaxlib 0.10.2, the last for Python 3.11, silently returns wrong numbers for ``jit(lambda p, c: (p * c).sum(-1) + 1)``
with p broadcast along a leading axis of a large c (jax issue 39103; the same kernels crash at high rank, issue 39257).
The offloading of reductions is at fault; without it the results are right.
"""

import os
from importlib.metadata import PackageNotFoundError, version

_AFFECTED = frozenset({"0.10.2", "0.11.0"})
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def avoid_wrong_sums() -> None:
    """Turns the faulty reductions off in the affected releases; takes effect if nothing has been compiled yet.

    A value of the flag that the user has set stays.
    """
    try:
        affected = version("jaxlib") in _AFFECTED
    except PackageNotFoundError:
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if affected and _FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=-reduce".strip()
