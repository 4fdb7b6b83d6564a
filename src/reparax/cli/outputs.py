"""What commands write: tables, arrays and pictures; of several views, a file for each."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from reparax.cli.terminal import Say

if TYPE_CHECKING:
    import numpy as np

    from reparax.data import Dataset
    from reparax.recipe import FittedModel

Out = Annotated[str, Parameter(name=["--out", "-o"], allow_leading_hyphen=True)]
"""The file to write."""

TABLES = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".feather", ".arrow", ".xlsx")
IMAGES = (*TABLES, ".png")
LARGEST_PAIRS = 50
SMALLEST_TILE = 56
FRAME = 2


def write_filled(out: str, filled: Any, dataset: "Dataset", what: str, say: Say) -> None:
    """Writes a table without gaps, or each of several views with the names of the rows."""
    from reparax import data as files

    if not dataset.schema.views:
        files.write(out, filled)
        say(f"wrote {out}: {what}")
        return
    for name, view in filled.items():
        path = named(out, name)
        files.write(path, _with_names(view, dataset.ids, path))
        say(f"wrote {path}: {len(dataset)} rows")


def _with_names(view: Any, ids: "np.ndarray | None", out: str) -> Any:
    """A view after the names of its rows, if these have names and the format can store text."""
    import polars as pl

    if ids is None or out.lower().endswith(".npy"):
        return view
    if isinstance(view, pl.DataFrame):
        return view if out.lower().endswith(".npz") else view.insert_column(0, pl.Series("id", ids))
    return {"id": ids, "X": view}


def files_of(out: str, examples: "Dataset") -> "list[tuple[str, Dataset]]":
    """What is written to which file: of several views, each to one with its name."""
    from reparax.data import as_stored, separate

    if not examples.schema.views:
        return [(out, examples)]
    views = sorted(separate(examples).items(), key=lambda pair: pair[1].schema.kind != "table")  # what may be refused
    return [(named(out, name), as_stored(view)) for name, view in views]


def named(out: str, name: str) -> str:
    """``drawn-rna.csv`` for ``drawn.csv`` and the view ``rna``."""
    path = PurePath(out)
    return str(path.with_name(f"{path.stem}-{name}{path.suffix}"))


def with_ids(arrays: Mapping[str, "np.ndarray"], dataset: "Dataset", out: str) -> Mapping[str, "np.ndarray"]:
    """The arrays after the names of the examples, if these have names and the format can store text."""
    if dataset.ids is None or out.lower().endswith(".npy"):
        return arrays
    return {"id": dataset.ids, **arrays}


class NotWholeError(Exception):
    """Some examples are not whole numbers of the data type of the data, although others are."""


def write_pieces(out: str, count: int, pieces: "Callable[[], Iterator[Dataset]]") -> None:
    """Writes examples that come a few at a time, as `write_values` writes them at once.

    Args:
        out: The file.
        count: The number of all examples.
        pieces: Gives the examples; called again if numbers were whole at first and are not later.
    """
    from reparax.data import batches_to

    for kind in ("whole", "real"):
        try:
            with batches_to(out, count) as table:
                for examples in pieces():
                    table.add(_written(examples, is_whole=kind == "whole"))
            return
        except NotWholeError:
            continue


def can_be_written_in_pieces(fitted: "FittedModel", out: str) -> bool:
    """Whether `write_pieces` can write examples of a model to a file."""
    from reparax.data import BATCHES

    schema = fitted.schema
    return (
        out.lower().endswith(BATCHES)
        and not schema.views
        and (schema.kind == "table" or schema.given is None or out.lower().endswith(".npy"))
    )


def _written(examples: "Dataset", *, is_whole: bool) -> Any:
    """A frame, or an array of the data type of the data or of real numbers.

    Raises:
        NotWholeError: The numbers are to be whole, and are not.
    """
    import numpy as np

    from reparax.data import joint_values, to_frame

    schema = examples.schema
    if schema.kind == "table":
        return to_frame(joint_values(examples), schema.joint)
    if np.dtype(schema.dtype).kind not in "iu":
        return _as_stored(examples)
    if not is_whole:
        return examples.values
    stored = _as_stored(examples)
    if stored.dtype != schema.dtype:
        raise NotWholeError
    return stored


def _as_stored(examples: "Dataset") -> "np.ndarray":
    """Values with the data type of the data, if it stores them exactly."""
    import numpy as np

    schema, values = examples.schema, examples.values
    dtype = np.dtype(schema.dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(schema.dtype)
        if (values == np.rint(values)).all() and values.min() >= limits.min and values.max() <= limits.max:
            return values.astype(dtype)
    elif values.dtype.kind == "f" and schema.value_kind == "real":
        return values.astype(dtype, copy=False)
    return values


def write_values(out: str, examples: "Dataset") -> None:
    """Writes examples with the column names of the user's data, and with their dtype if it stores them exactly."""
    from reparax.data import joint_values, write

    schema = examples.schema
    if schema.kind == "table":
        write(out, joint_values(examples), schema=schema.joint)
        return
    values = _as_stored(examples)
    if examples.conditions is not None and not out.lower().endswith(".npy"):
        write(out, {"X": values, **_given_cells(examples.conditions)})
        return
    write(out, values, names=schema.names, schema=schema if schema.kind == "images" else None)


def _given_cells(conditions: "Dataset") -> dict[str, "np.ndarray"]:
    """What is given of each example, by name, as the user wrote it."""
    import numpy as np

    from reparax.data import to_frame

    frame = to_frame(conditions.values, conditions.schema)
    columns = {column.name: column.to_numpy() for column in frame.get_columns()}
    return {name: cells.astype(str) if cells.dtype.hasobject else np.asarray(cells) for name, cells in columns.items()}


def check_picture(fitted: "FittedModel", out: str) -> None:
    """Refuses a picture of what is no image."""
    from reparax.errors import OutputError

    if not out.lower().endswith(".png"):
        return
    is_image, channels = fitted.schema.kind == "images", fitted.schema.event_shape[-1]
    if not is_image or channels not in {1, 3, 4}:
        why = f"its images have {channels} channels, and pictures 1, 3 or 4" if is_image else "it is not of images"
        raise OutputError(
            expected=f"a file ending in {', '.join(TABLES)}",
            got=f"{out} for a model, but {why}",
            cure="the ending chooses the format: use one of those",
        )


def shown_first(dataset: "Dataset") -> "Dataset":
    """The examples that a picture shows."""
    import numpy as np

    return dataset.take(np.arange(min(LARGEST_PAIRS, len(dataset))))


def pixels(fitted: "FittedModel", values: "np.ndarray") -> "np.ndarray":
    """Pixels between 0 (black) and 1 (white), whatever the levels of the data; bits are that already."""
    import numpy as np

    values = np.asarray(values, np.float64)
    if fitted.binarize != "none":
        return values
    low, high = float(np.min(fitted.schema.low)), float(np.max(fitted.schema.high))
    return (values - low) / (high - low if high > low else 1.0)


def write_pairs(out: str, fitted: "FittedModel", originals: "np.ndarray", reconstructions: "np.ndarray") -> None:
    """Writes each original with its reconstruction on its right."""
    import numpy as np

    from reparax.data import write

    low, high = float(np.min(fitted.schema.low)), float(np.max(fitted.schema.high))
    left = (np.asarray(originals, np.float64) - low) / (high - low if high > low else 1.0)
    write(out, framed(np.concatenate([enlarged(left), enlarged(pixels(fitted, reconstructions))], axis=2)))


def enlarged(images: "np.ndarray") -> "np.ndarray":
    """Tiny images, enlarged to a visible size."""
    scale = -(-SMALLEST_TILE // max(images.shape[1:3]))
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def framed(images: "np.ndarray") -> "np.ndarray":
    """Images with a gray frame, so that neighbors are separated."""
    import numpy as np

    return np.pad(images, ((0, 0), (FRAME, FRAME), (FRAME, FRAME), (0, 0)), constant_values=0.5)
