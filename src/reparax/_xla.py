"""Prevents wrong sums on the CPU.

jaxlib 0.10.2, the last for Python 3.11, silently returns wrong numbers for ``jit(lambda p, c: (p * c).sum(-1) + 1)``
with p broadcast along a leading axis of a large c (jax issue 39103; the same kernels crash at high rank, issue 39257).
The cause is the offloading of reductions; without it the results are right. 0.11.1 computes this sum rightly, but
0.12.0.1 gives some gradients of large batches wrong, and these too are right without it: it is turned off in all
releases.
"""

import os
from importlib.util import find_spec
from mmap import ACCESS_READ, mmap

_WITH_FLAG = ("0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.11.1", "0.11.2", "0.12.0", "0.12.0.1")
_FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def avoid_wrong_sums() -> None:
    """Turns the faulty reductions off; takes effect if nothing has been compiled yet.

    A value of the flag that the user has set is kept.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in flags and _has_flag():
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=-reduce".strip()


def _has_flag() -> bool:
    """Whether the installed jaxlib knows the flag: XLA ends the process at a flag that it does not know."""
    spec = find_spec("jaxlib")
    if spec is None or not spec.submodule_search_locations:
        return False
    folder = next(iter(spec.submodule_search_locations))
    # Without the slow import of importlib.metadata.
    beside = os.path.dirname(folder)
    if any(os.path.isdir(os.path.join(beside, f"jaxlib-{release}.dist-info")) for release in _WITH_FLAG):
        return True
    return _names_flag(os.path.join(folder, "libjax_common.so"))


def _names_flag(library: str) -> bool:
    """Whether the name of the flag occurs in a library; in 330 MB, that takes a tenth of a second."""
    try:
        with open(library, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return content.find(_FLAG.removeprefix("--").encode()) >= 0
    except (OSError, ValueError):  # none there, or empty
        return False
