"""Shared by these tests: the promotion rules that users have, and programs that are quick to compile, each only once.

Dozens of tiny models are fitted here, and compiling is all that takes time.
"""

import os

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

QUICK = {
    "jax_disable_most_optimizations": True,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """A folder of compiled programs, shared by the workers of one run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def climate(programs, monkeypatch):
    settings = {"jax_compilation_cache_dir": str(programs), **QUICK}
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
        monkeypatch.setenv(name.upper(), str(value))  # for joblib's workers
    compilation_cache.reset_cache()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
