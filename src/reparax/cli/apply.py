"""``reparax encode``, ``reconstruct``, ``sample`` and ``score``: from a model to a file."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from reparax.cli._model import open_data, open_model
from reparax.cli._say import speaker

if TYPE_CHECKING:
    import numpy as np

    from reparax.data import Dataset, Schema
    from reparax.recipe import FittedModel

TABLES = (".npy", ".npz", ".csv", ".parquet")
PICTURES = (*TABLES, ".png")
LARGEST_GRID = 64
LARGEST_PAIRS = 50
SMALLEST_TILE = 56
FRAME = 2

Out = Annotated[str, Parameter(name=["--out", "-o"])]


def encode(model: str, data: str, /, *, out: Out, std: bool = False, quiet: bool = False) -> None:
    """Write the posterior means, one row for each example; never a random draw.

    Args:
        model: The model folder.
        data: Data of the shape the model was fitted to.
        out: The file to write: .npy, .npz, .csv or .parquet.
        std: Add the posterior standard deviations.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, TABLES)
    say = speaker(quiet)
    fitted = open_model(model)
    dataset = open_data(data, fitted, say)
    from reparax import applications

    arrays = {"z": applications.encode(fitted, dataset)}
    if std:
        arrays["z_std"] = applications.encode_std(fitted, dataset)
    if out.lower().endswith((".csv", ".parquet")):
        columns = {
            f"z{index}{name.removeprefix('z')}": column
            for name, array in arrays.items()
            for index, column in enumerate(array.T)
        }
        arrays = columns
    files.write(out, _with_ids(arrays, dataset, out))
    say(f"wrote {out}: {len(dataset)} rows")


def reconstruct(model: str, data: str, /, *, out: Out, held_out: bool = False, quiet: bool = False) -> None:
    """Write what the model makes of each example: the mean of x at the posterior mean of z.

    Args:
        model: The model folder.
        data: Data of the shape the model was fitted to.
        out: The file to write: .npy, .npz, .csv, .parquet, or .png (images: originals beside reconstructions).
        held_out: Only the rows that were held out when the model was fitted to these data.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, PICTURES)
    say = speaker(quiet)
    fitted = open_model(model)
    _check_picture(fitted, out)
    dataset = open_data(data, fitted, say, held_out=held_out)
    from reparax import applications

    if out.lower().endswith(".png"):
        if len(dataset) > LARGEST_PAIRS:
            say(f"note: the picture shows {LARGEST_PAIRS} of {len(dataset)} images")
        dataset = _some(dataset)
        found = applications.reconstruct(fitted, dataset)
        _write_pairs(out, fitted, dataset.values, found)
    else:
        _write_values(out, fitted.schema, applications.reconstruct(fitted, dataset))
    say(f"wrote {out}: {len(dataset)} reconstructions")


def sample(
    model: str,
    /,
    *,
    out: Out,
    count: Annotated[int, Parameter(name=["-n", "--count"])] = LARGEST_GRID,
    seed: int = 0,
    means: bool = False,
    quiet: bool = False,
) -> None:
    """Draw new examples from the model.

    Args:
        model: The model folder.
        out: The file to write: .npy, .npz, .csv, .parquet, or .png (images: a grid).
        count: How many.
        seed: The seed; the same seed gives the same examples.
        means: Write E[x | z] at drawn z: smoother, but not samples of the data.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, PICTURES)
    fitted = open_model(model)
    _check_picture(fitted, out)
    import jax

    from reparax import applications

    draw = applications.sample_means if means else applications.sample
    found = draw(fitted, count, key=jax.random.key(seed))
    if out.lower().endswith(".png"):
        files.write(out, _framed(_enlarged(_shares(fitted, found))))
    else:
        _write_values(out, fitted.schema, found)
    speaker(quiet)(f"wrote {out}: {count} {'means' if means else 'samples'}")


def score(model: str, data: str, /, *, out: Out, samples: int = 100, seed: int = 0, quiet: bool = False) -> None:
    """Write log_density (nats, an importance-weighted bound) and anomaly_score (higher is odder) of each example.

    Args:
        model: The model folder.
        data: Data of the shape the model was fitted to.
        out: The file to write: .npy, .npz, .csv or .parquet.
        samples: Importance samples for each example.
        seed: The seed of the importance samples.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, TABLES)
    say = speaker(quiet)
    fitted = open_model(model)
    dataset = open_data(data, fitted, say)
    from reparax import applications

    found = applications.score(fitted, dataset, num_samples=samples, seed=seed)
    columns = {"log_density": found.log_density, "anomaly_score": found.anomaly_score}
    if found.log_density is None:
        say("note: a deterministic autoencoder has no density; the anomaly score is minus log p(x|z)")
    given = {name: column for name, column in columns.items() if column is not None}
    files.write(out, _with_ids(given, dataset, out))
    say(f"wrote {out}: {len(dataset)} rows")


def _with_ids(arrays: Mapping[str, "np.ndarray"], dataset: "Dataset", out: str) -> Mapping[str, "np.ndarray"]:
    """The arrays, the examples' names before them where there are some and the format has room for text."""
    if dataset.ids is None or out.lower().endswith(".npy"):
        return arrays
    return {"id": dataset.ids, **arrays}


def _write_values(out: str, schema: "Schema", values: "np.ndarray") -> None:
    """Values as the user had them: column names, and the dtype where it carries them exactly."""
    import numpy as np

    from reparax.data import write

    dtype = np.dtype(schema.dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(schema.dtype)
        if (values == np.rint(values)).all() and values.min() >= limits.min and values.max() <= limits.max:
            values = values.astype(dtype)
    elif values.dtype.kind == "f" and schema.value_kind == "real":
        values = values.astype(dtype, copy=False)
    write(out, values, names=schema.names, schema=schema if schema.kind == "images" else None)


def _check_picture(fitted: "FittedModel", out: str) -> None:
    from reparax.errors import OutputError

    if out.lower().endswith(".png") and (fitted.schema.kind != "images" or fitted.schema.event_shape[-1] == 2):
        raise OutputError(
            expected=f"a file ending in {', '.join(TABLES)}",
            got=f"{out} for a model that is not of images",
            cure="the ending chooses the format: give one of those",
        )


def _some(dataset: "Dataset") -> "Dataset":
    import numpy as np

    return dataset.take(np.arange(min(LARGEST_PAIRS, len(dataset))))


def _shares(fitted: "FittedModel", values: "np.ndarray") -> "np.ndarray":
    """Pixels between 0 (black) and 1 (white), whatever the levels of the data; bits are so already."""
    import numpy as np

    values = np.asarray(values, np.float64)
    if fitted.binarize != "none":
        return values
    low, high = float(np.min(fitted.schema.low)), float(np.max(fitted.schema.high))
    return (values - low) / (high - low if high > low else 1.0)


def _write_pairs(out: str, fitted: "FittedModel", originals: "np.ndarray", found: "np.ndarray") -> None:
    """Each original with its reconstruction to its right."""
    import numpy as np

    from reparax.data import write

    low, high = float(np.min(fitted.schema.low)), float(np.max(fitted.schema.high))
    left = (np.asarray(originals, np.float64) - low) / (high - low if high > low else 1.0)
    write(out, _framed(np.concatenate([_enlarged(left), _enlarged(_shares(fitted, found))], axis=2)))


def _enlarged(images: "np.ndarray") -> "np.ndarray":
    """Tiny images, made large enough to be seen."""
    scale = -(-SMALLEST_TILE // max(images.shape[1:3]))
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def _framed(images: "np.ndarray") -> "np.ndarray":
    """Images with a gray frame, so that neighbors do not run into each other."""
    import numpy as np

    return np.pad(images, ((0, 0), (FRAME, FRAME), (FRAME, FRAME), (0, 0)), constant_values=0.5)
