"""The first steps of every command that applies a model: set up jax, load the model, read matching data."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from reparax.cli.terminal import Say, notes
from reparax.errors import DataError, OutputError

if TYPE_CHECKING:
    from reparax.data import Dataset
    from reparax.recipe import FittedModel
    from reparax.reports import Origin


def prepare_jax() -> None:
    """Imports jax with a persistent compilation cache in the user's cache folder.

    If the cache cannot be written, programs are compiled every time. By default, jax does not cache programs that
    compile in less than a second, which all of these do.
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


Data = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""Where data are: a path, a built-in name, or ``-`` for standard input."""

STREAM = "-"


def streamed(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that also reads standard input and writes standard output, where ``-`` stands for them."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        if STREAM not in (*args, options.get("out")):
            return command(*args, **options)
        with tempfile.TemporaryDirectory() as folder:
            read = [_received(Path(folder)) if arg == STREAM else arg for arg in args]
            if options.get("out") != STREAM:
                return command(*read, **options)
            out = Path(folder) / "out.csv"
            result = command(*read, **(options | {"out": str(out), "quiet": True}))
            if not out.exists():
                raise OutputError(
                    expected="the name of files, of which each view has one", got="-", cure="name them: --out drawn.csv"
                )
            sys.stdout.flush()
            sys.stdout.buffer.write(out.read_bytes())  # the bytes of the file, whatever the encoding of the terminal
            sys.stdout.buffer.flush()
            return result

    return run


def _received(folder: Path) -> str:
    """The path of a file with what came on standard input: a table in any format, recognized by its first bytes."""
    from reparax.data import content_of

    content = sys.stdin.buffer.read()
    text = ".jsonl" if content.lstrip().startswith(b"{") else ".csv"
    # `read` recognizes binary formats by itself if the name has no suffix.
    is_text = content_of(content)[0] in {"unknown", "gzip"}
    path = folder / f"standard-input{text if is_text else ''}"
    path.write_bytes(content)
    return str(path)


Allow = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]


def open_model(folder: str, allow: Allow = ()) -> "FittedModel":
    """The fitted model of a folder; custom parts are imported only from the allowed modules."""
    prepare_jax()
    from reparax.artifact import load

    if allow:
        see_working_folder()
    return load(Path(folder), allow=allow)


def member_of(fitted: "FittedModel", member: int | None, purpose: str) -> "FittedModel":
    """One member of an ensemble, by its number; without a number, the model as it is.

    Raises:
        RecipeError: There is no such member, or none is named of an ensemble; the message says for which purpose.
    """
    from reparax.errors import RecipeError

    count = len(fitted.members)
    if member is None:
        fitted.require_one(purpose)
        return fitted
    if not 1 <= member <= count:
        raise RecipeError(
            expected=f"a member from 1 to {count}" if count > 1 else "an ensemble to choose a member of",
            got=f"--member {member}" if count > 1 else "a single model",
            cure="choose another" if count > 1 else "leave --member out",
        )
    return fitted.members[member - 1]


def is_model_folder(folder: str) -> bool:
    """Whether a folder looks like that of a model, without loading anything."""
    return (Path(folder) / "model.json").is_file()


def see_working_folder() -> None:
    """Lets the user's modules be imported from the working folder, as ``python`` does."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def origin_of(folder: str, data: str) -> "Origin":
    """Where the model and the data of a report are, and the library versions of the fit."""
    from reparax.artifact import describe
    from reparax.reports import Origin

    return Origin(folder, data, describe(folder)["libraries"])


View = Annotated[tuple[str, ...], Parameter(name="--view", help="In place of DATA, one of several views: NAME=FILE.")]
"""Several views of the same things, each with its name."""
Id = Annotated[
    str | None, Parameter(name="--id", help="Of views, the column or array that names the rows (default: their order).")
]
"""What says which rows of several views belong together."""


def source_of(data: str | None, views: tuple[str, ...], name: str | None) -> Any:
    """What a command reads: a file, a folder or a built-in name, or several views.

    Args:
        data: The data, if they are not views.
        views: The views, as NAME=FILE.
        name: What names the rows of views.

    Raises:
        DataError: Neither is given, or both; or views that have no names, or the same.
    """
    from reparax.data import Views

    if not views:
        if data is None or name is not None:
            raise DataError(
                expected="data: a file or a folder, or several views" if data is None else "--id along with --view",
                got="none" if data is None else "--id without views",
                cure="name the data, or write --view NAME=FILE --view NAME=FILE" if data is None else "leave it out",
            )
        return data
    pairs = [one.partition("=") for one in views]
    wrong = next((whole for (first, _, last), whole in zip(pairs, views, strict=True) if not (first and last)), None)
    names = [first for first, _, _ in pairs]
    if data is not None:
        expected, got, cure = "either data or views", f"{data} and --view", "give all of them with --view"
    elif wrong is not None:
        expected, got, cure = "views as NAME=FILE", f"--view {wrong}", "write --view rna=counts.npz"
    elif len(set(names)) < len(names):
        expected, got, cure = "views with different names", ", ".join(names), "name each view once"
    else:
        return Views({first: last for first, _, last in pairs}, id=name)
    raise DataError(expected=expected, got=got, cure=cure)


NoView = Annotated[tuple[str, ...], Parameter(name="--view", show=False)]
"""Views, where a command can only say that it takes none."""
NoId = Annotated[str | None, Parameter(name="--id", show=False)]
"""What names the rows of views, where a command takes none."""


def refuse_view_options(views: tuple[str, ...], name: str | None, purpose: str, cure: str) -> None:
    """Refuses views where only data of a single kind have a meaning.

    Args:
        views: The views, as NAME=FILE.
        name: What names the rows of views.
        purpose: What the command is for, in words.
        cure: What to do instead.

    Raises:
        DataError: There are some.
    """
    if views or name is not None:
        got = " ".join(f"--view {view}" for view in views) or f"--id {name}"
        raise DataError(expected=f"data of one kind {purpose}, not several views", got=got, cure=cure)


Label = Annotated[str | None, Parameter(help="Where the labels are, if they are given to the model, as in the fit.")]
"""Where the labels of data are."""


def labeled(rows: Any, label: str | None) -> Any:
    """Rows with labels from where the user says; by default they have those of the fit, if these are there."""
    from reparax.data import read

    return rows if label is None else read(rows, label=label)


def open_data(
    source: Any,
    fitted: "FittedModel",
    say: Say,
    *,
    held_out: bool = False,
    label: str | None = None,
    memory: str | None = None,
) -> "Dataset":
    """The data in the form that the model takes.

    Args:
        source: The file, folder or built-in name, or the views.
        fitted: The model.
        say: Shows notes on the data.
        label: Where the labels are; None for where they were in the fit, if there.
        held_out: Use only the rows that were held out of the fit to these data.
        memory: The most memory that the values may take where held-out rows of a file are asked for.

    Raises:
        DataError: The data do not match the model, or are not those of the fit if held-out rows are asked for.
    """
    from reparax.applications import dataset_of

    if held_out:
        return _open_held_out(source, fitted, say, label, memory)
    dataset = dataset_of(fitted, labeled(source, label))
    notes(say, dataset.notes)
    return dataset


def _open_held_out(source: Any, fitted: "FittedModel", say: Say, label: str | None, memory: str | None) -> "Dataset":
    from reparax.applications import dataset_of, held_out_of, held_out_of_blocks
    from reparax.data import blocks_of

    if fitted.recipe is None or fitted.recipe.valid == 0:
        raise DataError(
            expected="a model whose fit held out some rows", got="a model whose fit held out none",
            cure="omit --held-out, or fit with --valid 0.1",
        )  # fmt: skip

    def opened(rows: Any) -> "Dataset":
        return dataset_of(fitted, labeled(rows, label))

    is_path = isinstance(source, str)
    blocks = blocks_of(source, memory=memory) if is_path else None
    if blocks is not None:
        return known_held_out(fitted, len(blocks), held_out_of_blocks(fitted, blocks, opened))
    dataset = opened(source)
    notes(say, dataset.notes)
    rest = held_out_of(fitted, dataset)
    # A fit that read the file in blocks held out others than one in memory does.
    blocks = blocks_of(source, memory=1) if rest is None and is_path else None
    return known_held_out(fitted, len(dataset), rest if blocks is None else held_out_of_blocks(fitted, blocks, opened))


def known_held_out(fitted: "FittedModel", count: int, rest: "Dataset | None") -> "Dataset":
    """The held-out rows of so many, if they are known.

    Raises:
        DataError: They are not.
    """
    if rest is None:
        raise DataError(
            expected=f"the data of the fit, with {fitted.schema.num_examples} rows besides those held out",
            got=f"other data, of {count} rows in total",
            cure="use the data that the model was fitted to, in their order, or omit --held-out",
        )
    return rest


ImputeGiven = Annotated[bool, Parameter(negative=())]
"""Whether something given may be unknown."""


def open_filled(source: Any, fitted: "FittedModel", say: Say, *, label: str | None = None) -> "Dataset":
    """The data with what is unknown of what is given filled in; the arguments are those of `open_data`."""
    from reparax.applications import impute_given

    dataset = impute_given(fitted, labeled(source, label))
    notes(say, dataset.notes)
    return dataset


def open_to_average(source: Any, fitted: "FittedModel", say: Say, *, label: str | None = None) -> tuple[Any, "Dataset"]:
    """What to score with ``unknown="average"``, and its rows; the arguments are those of `open_data`."""
    from reparax.applications import completions_of, notes_on_unknown

    source = labeled(source, label)
    found = completions_of(fitted, source)
    notes(say, (*found.rows.notes, *notes_on_unknown(found, "over whose values in the fit an average is taken")))
    return source, found.rows


def refuse_beside_unknown(**asked: bool) -> None:
    """Refuses options that are not for rows of which something given is missing.

    Raises:
        DataError: Some are used.
    """
    names = [f"--{name.replace('_', '-')}" for name, wanted in asked.items() if wanted]
    if names:
        raise DataError(
            expected="--impute-given by itself, for rows of which something given is missing",
            got=f"{', '.join(names)} too", cure="run the command twice, or leave such rows out",
        )  # fmt: skip
