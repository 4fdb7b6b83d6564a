"""Shared by these tests: the promotion rules that users have, and programs that are quick to compile, each only once.

Dozens of tiny models are fitted here, and compiling is all that takes time.
"""

import os
import warnings

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
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        # jax does not write an entry at once: another process may read half of it, and then compiles for itself.
        warnings.filterwarnings("ignore", message=".*persistent compilation cache.*")
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


FITS_OF_THEIR_OWN = (
    "check_estimators_dtypes", "check_dtype_object", "check_positive_only_tag_during_fit", "check_fit2d_1feature",
    "check_fit_check_is_fitted", "check_transformer_data_not_an_array", "check_fit_score_takes_y",
    "check_estimators_overwrite_params", "check_f_contiguous_array_estimator", "check_n_features_in]",
    "check_dont_overwrite_parameters", "check_readonly_memmap_input",
)  # fmt: skip
"""Checks of scikit-learn that take seconds, as their data have shapes that no other check has."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "test_checks.py" in item.nodeid and any(name in item.name for name in FITS_OF_THEIR_OWN):
            item.add_marker(pytest.mark.full)
