"""``reparax encode``, ``reconstruct``, ``sample``, ``impute`` and ``score``: from a model to a file."""

from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from reparax.cli.blocks import Applied, Memory, applied_in_blocks
from reparax.cli.model import (
    Allow,
    Data,
    Id,
    ImputeGiven,
    Label,
    View,
    member_of,
    open_data,
    open_filled,
    open_model,
    open_to_average,
    refuse_beside_unknown,
    source_of,
    streamed,
)  # fmt: skip
from reparax.cli.outputs import (
    IMAGES,
    LARGEST_PAIRS,
    TABLES,
    check_picture,
    enlarged,
    files_of,
    framed,
    pixels,
    shown_first,
    with_ids,
    write_filled,
    write_pairs,
    write_values,
)  # fmt: skip
from reparax.cli.terminal import Say, notes, speaker
from reparax.errors import NoClosedForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from reparax.applications import Scores
    from reparax.data import Dataset
    from reparax.recipe import FittedModel

LARGEST_GRID = 64
MAX_SHOWN = 10

Out = Annotated[str, Parameter(name=["--out", "-o"], allow_leading_hyphen=True)]


@streamed
def encode(
    model: str,
    data: Data | None = None,
    /,
    *,
    out: Out,
    view: View = (),
    row_id: Id = None,
    std: bool = False,
    member: int | None = None,
    label: Label = None,
    impute_given: ImputeGiven = False,
    memory: Memory = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Write the posterior means, one row for each example; these are not random draws.

    Args:
        model: The model folder.
        data: Data of the same shape as those that the model was fitted to; - for standard input.
        out: The file to write, or - for standard output as CSV: .npy, .npz, .csv or .parquet.
        std: Add the posterior standard deviations.
        member: Of an ensemble, the member that encodes, from 1 on: the codes of several have no common meaning.
        label: Where the labels are, if they are given to the model.
        impute_given: Fill in what is missing of what is given, with the most probable values given the row.
        memory: The most memory that the values may take.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, TABLES)
    say = speaker(quiet)
    fitted = member_of(open_model(model, allow), member, "to encode with")
    source = source_of(data, view, row_id)
    if impute_given:
        refuse_beside_unknown(memory=memory is not None)
    in_blocks = None if impute_given else applied_in_blocks(source, fitted, say, memory=memory, label=label)
    if in_blocks is not None:
        in_blocks.write(out, lambda rows: _code_columns(fitted, _codes(fitted, rows, say, std=std)))
        say(f"wrote {out}: {len(in_blocks.blocks)} rows")
        return
    dataset = (open_filled if impute_given else open_data)(source, fitted, say, label=label)
    arrays = _codes(fitted, dataset, say, std=std)
    if out.lower().endswith((".csv", ".tsv", ".parquet")):
        arrays = _code_columns(fitted, arrays)
    files.write(out, with_ids(arrays, dataset, out))
    say(f"wrote {out}: {len(dataset)} rows")


def _codes(fitted: "FittedModel", dataset: "Dataset", say: Say, *, std: bool) -> "dict[str, np.ndarray]":
    """The codes, and their standard deviations if these are asked for."""
    from reparax import applications

    arrays = {"z": applications.encode(fitted, dataset)}
    if std:
        try:
            arrays["z_std"] = applications.encode_std(fitted, dataset)
        except NoClosedForm:
            say("note: the standard deviations have no closed form; they are estimated from 64 draws for each row")
            arrays["z_std"] = applications.drawn_std(fitted, dataset)
    return arrays


def _code_columns(fitted: "FittedModel", arrays: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
    """Codes as columns of a table."""
    of_z = fitted.model.posterior.latent_names
    return {
        f"{latent}{name.removeprefix('z')}": column
        for name, array in arrays.items()
        for latent, column in zip(of_z, array.T, strict=True)
    }


@streamed
def classify(
    model: str,
    data: Data | None = None,
    /,
    *,
    out: Out,
    view: View = (),
    row_id: Id = None,
    label: Label = None,
    held_out: bool = False,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Write the class of each example and the probabilities of all classes, q(y | x).

    The model needs a class: one of --objective semi-supervised, or of --posterior class-normal.

    Args:
        model: The model folder.
        data: Data of the same shape as those that the model was fitted to; - for standard input.
        out: The file to write, or - for standard output as CSV: .csv, .parquet, .npy or .npz.
        label: Where the labels are; with labels, the fraction of right classes is said.
        held_out: Only the rows that were held out of the fit to these data, whose labels the fit has not seen.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, TABLES)
    say = speaker(quiet)
    fitted = open_model(model, allow)
    dataset = open_data(source_of(data, view, row_id), fitted, say, label=label, held_out=held_out)
    from reparax import applications

    found = applications.classify(fitted, dataset)
    arrays: dict[str, np.ndarray] = {"class": found.labels} | {
        f"p({name})": column for name, column in zip(found.names, found.probabilities.T, strict=True)
    }
    if out.lower().endswith((".npy", ".npz")):
        arrays = {"probabilities": found.probabilities}
    files.write(out, with_ids(arrays, dataset, out))
    say(f"wrote {out}: {len(dataset)} rows")
    if fitted.schema.classes and (seen := applications.accuracy(found, dataset)) is not None:
        right, count = seen
        say(f"right in {right:.1%} of the {count} labeled rows")


@streamed
def reconstruct(
    model: str,
    data: Data | None = None,
    /,
    *,
    out: Out,
    view: View = (),
    row_id: Id = None,
    held_out: bool = False,
    label: Label = None,
    impute_given: ImputeGiven = False,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Write the reconstruction of each example: the mean of x given the posterior mean of z.

    Args:
        model: The model folder.
        data: Data of the same shape as those that the model was fitted to; - for standard input.
        out: The file to write, or - for standard output as CSV: .npy, .npz, .csv, .parquet, or .png for images
            (originals beside reconstructions).
        held_out: Use only the rows that were held out of the fit to these data.
        label: Where the labels are, if they are given to the model.
        impute_given: Fill in what is missing of what is given, with the most probable values given the row.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, IMAGES)
    say = speaker(quiet)
    fitted = open_model(model, allow)
    check_picture(fitted, out)
    source = source_of(data, view, row_id)
    if impute_given:
        refuse_beside_unknown(held_out=held_out)
        dataset = open_filled(source, fitted, say, label=label)
    else:
        dataset = open_data(source, fitted, say, held_out=held_out, label=label)
    from reparax import applications

    if out.lower().endswith(".png"):
        if len(dataset) > LARGEST_PAIRS:
            say(f"note: the picture shows {LARGEST_PAIRS} of {len(dataset)} images")
        dataset = shown_first(dataset)
        write_pairs(out, fitted, dataset.values, applications.reconstruct(fitted, dataset))
    else:
        for name, view_of in files_of(out, applications.reconstructed(fitted, dataset)):
            write_values(name, view_of)
            say(f"wrote {name}: {len(dataset)} reconstructions")
        return
    say(f"wrote {out}: {len(dataset)} reconstructions")


@streamed
def sample(
    model: str,
    /,
    *,
    out: Out,
    count: Annotated[int, Parameter(name=["-n", "--count"])] = LARGEST_GRID,
    seed: int = 0,
    where: str | None = None,
    means: Annotated[bool | None, Parameter(negative="--no-means")] = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Draw new examples from the model; rows of a table look like those of the data, including missing cells.

    Args:
        model: The model folder.
        out: The file to write, or - for standard output as CSV: .npy, .npz, .csv, .parquet, ..., or .png for images (a
            grid).
        count: The number of examples.
        seed: The seed; the same seed gives the same examples.
        where: The values of some columns of a table, and of what is given, in every example: sex=F,age=30, label=7.
        means: Write E[x | z] for drawn z: smoother than samples, but not samples of the data. The default of pictures
            (.png), in which the noise of single pixels hides the rest; --no-means draws that too.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, IMAGES)
    fitted = open_model(model, allow)
    check_picture(fitted, out)
    import jax

    from reparax import applications

    key = jax.random.key(seed)
    is_picture = out.lower().endswith(".png")
    shows_means = is_picture if means is None else means
    draw = applications.means_dataset if shows_means else applications.sample_dataset
    cells = applications.conditions_in(fitted, where) if where else {}
    drawn = draw(fitted, count, key=key, where=cells)
    notes(speaker(quiet), applications.notes_on_where(fitted, cells))
    if is_picture:
        files.write(out, framed(enlarged(pixels(fitted, drawn.values))))
        what = "means given z, without the noise of pixels (--no-means)" if shows_means else "samples"
        speaker(quiet)(f"wrote {out}: {count} {what}")
        return
    for name, view in files_of(out, drawn):
        write_values(name, view)
        speaker(quiet)(f"wrote {name}: {count} {'means' if shows_means else 'samples'}")


@streamed
def impute(
    model: str,
    data: Data | None = None,
    /,
    *,
    out: Out,
    view: View = (),
    row_id: Id = None,
    draws: int | None = None,
    missing: Literal["at-random", "not-at-random"] = "at-random",
    samples: int = 400,
    seed: int = 0,
    label: Label = None,
    impute_given: ImputeGiven = False,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Fill the missing cells of a table with the expected number or the most probable category given the other cells.

    Args:
        model: The model folder.
        data: A table with the columns of the fit; - for standard input.
        out: The file to write, or - for standard output as CSV; all other cells and columns are kept.
        draws: Write this many tables with randomly drawn cells instead (multiple imputation), to OUT numbered 1, 2, ...
        missing: Whether to ignore which cells are missing, or to use what it says of the missing ones (gaps and cells
            are then taken to be independent given the latent variables).
        samples: The number of importance samples for each row.
        seed: The random seed.
        label: Where the labels are, if they are given to the model.
        impute_given: Take the most probable values given the row in place of what is missing of what is given; the
            given cells themselves stay as they are.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, TABLES)
    say = speaker(quiet)
    fitted = open_model(model, allow)
    source = source_of(data, view, row_id)
    dataset = (open_filled if impute_given else open_data)(source, fitted, say, label=label)
    from reparax import applications

    if draws is None:
        filled = applications.impute(fitted, dataset, num_samples=samples, seed=seed, missing=missing)
        write_filled(out, filled, dataset, f"{_gaps(dataset)} cells filled", say)
        return
    names = [_numbered(out, number) for number in range(1, draws + 1)]
    for name in names:
        files.check_output(name, TABLES)
    tables = applications.impute_draws(fitted, dataset, draws, num_samples=samples, seed=seed, missing=missing)
    for name, table in zip(names, tables, strict=True):
        write_filled(name, table, dataset, f"{_gaps(dataset)} cells drawn", say)


def _gaps(dataset: "Dataset") -> int:
    import numpy as np

    return int(np.isnan(dataset.values).sum()) if dataset.values.dtype.kind == "f" else 0


def _numbered(out: str, number: int) -> str:
    """``people-1.csv`` for ``people.csv``."""
    path = PurePath(out)
    return str(path.with_name(f"{path.stem}-{number}{path.suffix}"))


@streamed
def score(
    model: str,
    data: Data | None = None,
    /,
    *,
    out: Out,
    view: View = (),
    row_id: Id = None,
    top: int | None = None,
    samples: int = 100,
    seed: int = 0,
    label: Label = None,
    impute_given: ImputeGiven = False,
    memory: Memory = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Write log_density (nats, an importance-weighted bound) and anomaly_score (higher is more anomalous).

    For tables, also write how much each column contributes to the anomaly score, as share_COLUMN.

    Args:
        model: The model folder.
        data: Data of the same shape as those that the model was fitted to; - for standard input.
        out: The file to write, or - for standard output as CSV: .npy, .npz, .csv, .parquet, ...
        top: Write only this many rows, the most anomalous first, with their row numbers; the first ten are also shown.
        samples: The number of importance samples for each example.
        seed: The seed of the importance samples.
        label: Where the labels are, if they are given to the model.
        impute_given: Where something given is missing, average over the values that it had in the fit.
        memory: The most memory that the values may take.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax import data as files

    files.check_output(out, TABLES)
    say = speaker(quiet)
    fitted = open_model(model, allow)
    source = source_of(data, view, row_id)
    if impute_given:
        refuse_beside_unknown(memory=memory is not None)
    in_blocks = None if impute_given else applied_in_blocks(source, fitted, say, memory=memory, label=label)
    if in_blocks is not None:
        _score_in_blocks(in_blocks, out, top, samples, seed)
        return
    from reparax import applications

    if impute_given:
        source, dataset = open_to_average(source, fitted, say, label=label)
        scores = applications.score(fitted, source, num_samples=samples, seed=seed, unknown="average")
    else:
        dataset = open_data(source, fitted, say, label=label)
        scores = applications.score(fitted, dataset, num_samples=samples, seed=seed)
    if scores.log_density is None:
        meaning = "minus log p(x|z)" if scores.shares is None else "the sum of the contributions of the columns"
        say(f"note: a deterministic autoencoder has no density; the anomaly score is {meaning}")
    columns = dict(with_ids(applications.columns_of(scores), dataset, out))
    if top is not None:
        order = _most_anomalous(scores, top)
        columns = {"row": order + 1, **{name: column[order] for name, column in columns.items()}}
        for row in order[:MAX_SHOWN]:
            say(_explanation(scores, int(row)))
    files.write(out, columns)
    say(f"wrote {out}: {len(next(iter(columns.values())))} rows")


def _score_in_blocks(in_blocks: Applied, out: str, top: int | None, samples: int, seed: int) -> None:
    """Writes the scores of rows in blocks, or of the most anomalous ones of them."""
    from reparax import applications
    from reparax import data as files

    def columns(rows: "Dataset") -> "dict[str, np.ndarray]":
        return applications.columns_of(applications.score(in_blocks.fitted, rows, num_samples=samples, seed=seed))

    if top is None:
        in_blocks.write(out, columns)
        in_blocks.say(f"wrote {out}: {len(in_blocks.blocks)} rows")
        return
    _require_top(top)
    found = in_blocks.highest(columns, "anomaly_score", top)
    files.write(out, found)
    in_blocks.say(f"wrote {out}: {len(found['row'])} rows")


def _most_anomalous(scores: "Scores", top: int) -> "np.ndarray":
    """The rows with the highest anomaly scores, in descending order."""
    import numpy as np

    _require_top(top)
    return np.argsort(-scores.anomaly_score, kind="stable")[:top]


def _require_top(top: int) -> None:
    from reparax.errors import RecipeError

    if top < 1:
        raise RecipeError(expected="a number of rows from 1 up for --top", got=f"{top}", cure="ask for at least one")


def _explanation(scores: "Scores", row: int) -> str:
    """The score of a row, and the columns that contribute most to it."""
    text = f"row {row + 1}: anomaly score {scores.anomaly_score[row]:.1f}"
    if scores.shares is None:
        return text
    shares = scores.shares[row]
    parts = [f"{scores.names[index]} {shares[index]:.1f}" for index in (-shares).argsort()[:3]]
    return f"{text}, mostly from {', '.join(parts)}"
