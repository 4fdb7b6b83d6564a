"""The climate of the tests: strict dtype promotion, no silent rank promotion, warnings are errors (see pyproject)."""

import gc
import os
import threading
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# SciPy reads it once; without it scikit-learn skips its checks of array API input.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from pathlib import Path

import jax
import pytest
from jax._src.interpreters import mlir

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Read when something is first compiled. jaxlib 0.10 needs a third less time for the tests with XLA's older emitters,
# and a tenth less with one part to compile for each program; later releases may not have these flags.
QUICK = "--xla_backend_optimization_level=0"
QUICKER = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
FLAGS = os.environ.get("XLA_FLAGS", "").split()


class SharedContexts(threading.local):
    """Contexts in which jax lowers programs to MLIR: one of a thread for a hundred programs, instead of one for each.

    A context takes 4 ms and 1 MB, which jax keeps as long as the program: a fifth of the time of the tests, and half of
    their memory.
    """

    def __init__(self) -> None:
        self.used = 0

    def __call__(self) -> object:
        if self.used % 100 == 0:
            self.context = MAKE_CONTEXT()
        self.used += 1
        return self.context


if QUICK in FLAGS and version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys([*FLAGS, *QUICKER]))
    MAKE_CONTEXT = mlir.make_ir_context
    mlir.make_ir_context = SharedContexts()

if QUICK in FLAGS:
    # Rows are computed in batches of a fixed size, the last one padded: 50 rows would take the time of 2,048.
    from reparax.applications import _rows

    _rows.LARGEST_BATCH, _rows.VALUES_PER_BATCH = 256, 1 << 16

# Tracing makes many objects that live long: looking through all of them less often saves a tenth of the time.
gc.set_threshold(50_000, 20, 100)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data beside the repository; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data are not at {SHARED_DATA}")
    return SHARED_DATA
