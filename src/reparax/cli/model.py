"""What every command that applies a model begins with: jax made ready, the model, and data matched to its schema."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from reparax.cli.terminal import Say, notes
from reparax.errors import DataError

if TYPE_CHECKING:
    from reparax.data import Dataset
    from reparax.recipe import FittedModel
    from reparax.reports import Origin


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


Allow = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]


def open_model(folder: str, allow: Allow = ()) -> "FittedModel":
    """The fitted model of a folder; parts of the user's own come from the modules that are allowed."""
    prepare_jax()
    from reparax.artifact import load

    if allow:
        see_working_folder()
    return load(Path(folder), allow=allow)


def see_working_folder() -> None:
    """Lets modules of the user's own be imported from the working folder, as ``python`` itself does."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def origin_of(folder: str, data: str) -> "Origin":
    """Where a report's model and data are, and the versions the model was made with."""
    from reparax.artifact import describe
    from reparax.reports import Origin

    return Origin(folder, data, describe(folder)["libraries"])


def open_data(source: str, fitted: "FittedModel", say: Say, *, held_out: bool = False) -> "Dataset":
    """The data as the model takes them.

    Args:
        source: What the user named.
        fitted: The model.
        say: Where notes on the data go.
        held_out: Only the rows that were held out when the model was fitted to these data.

    Raises:
        DataError: Data that do not fit the model, or held-out rows of data it was not fitted to.
    """
    from reparax.applications import dataset_of, held_out_of

    dataset = dataset_of(fitted, source)
    notes(say, dataset.notes)
    if not held_out:
        return dataset
    recipe = fitted.recipe
    if recipe is None or recipe.valid == 0:
        raise DataError(
            expected="a model that held out rows when it was fitted", got="one that held out none",
            cure="leave --held-out out, or fit with --valid 0.1",
        )  # fmt: skip
    rest = held_out_of(fitted, dataset)
    if rest is None:
        raise DataError(
            expected=f"the data of the fit, with {fitted.schema.num_examples} rows besides those held out",
            got=f"{len(dataset)} rows in all",
            cure="give the data that the model was fitted to, or leave --held-out out",
        )
    return rest
