"""Makes jax ready for a command: compiled programs are kept between runs, and its own chatter is silenced."""

import logging
import os
import warnings
from pathlib import Path


def prepare_jax() -> None:
    """Imports jax with a persistent compilation cache in the user's cache folder.

    The cache is a convenience: where it cannot be written, everything is compiled anew. Jax's own defaults keep
    nothing of programs that compile in less than a second, which are all of ours.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    logging.getLogger("jax").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache.*")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/reparax/jax``, or ``~/.cache/reparax/jax``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~")) / ".cache"
    return base / "reparax" / "jax"
