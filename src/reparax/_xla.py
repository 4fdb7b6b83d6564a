"""Prevents wrong sums on the CPU in some releases of jax.

jaxlib 0.10.2, the last for Python 3.11, silently returns wrong numbers for ``jit(lambda p, c: (p * c).sum(-1) + 1)``
with p broadcast along a leading axis of a large c (jax issue 39103; the same kernels crash at high rank, issue 39257).
The cause is the offloading of reductions; without it the results are right.
"""

import os
from importlib.util import find_spec

_AFFECTED = frozenset({"0.10.2", "0.11.0"})
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def avoid_wrong_sums() -> None:
    """Turns the faulty reductions off in the affected releases; takes effect if nothing has been compiled yet.

    A value of the flag that the user has set is kept.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in flags and _affected():
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=-reduce".strip()


def _affected() -> bool:
    """Whether one of these releases is installed, without the slow import of importlib.metadata."""
    spec = find_spec("jaxlib")
    if spec is None or not spec.submodule_search_locations:
        return False
    beside = os.path.dirname(next(iter(spec.submodule_search_locations)))
    return any(os.path.isdir(os.path.join(beside, f"jaxlib-{release}.dist-info")) for release in _AFFECTED)
