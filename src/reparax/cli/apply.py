"""``reparax encode``, ``classify``, ``reconstruct`` and ``score``: from a model and data to a file."""

from typing import TYPE_CHECKING

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
    Out,
    can_be_written_in_pieces,
    check_picture,
    files_of,
    shown_first,
    with_ids,
    write_pairs,
    write_pieces,
    write_values,
)  # fmt: skip
from reparax.cli.terminal import Say, speaker
from reparax.errors import NoClosedForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from reparax.applications import Scores
    from reparax.data import Dataset
    from reparax.recipe import FittedModel

MAX_SHOWN = 10


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
    memory: Memory = None,
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
    seen: list[tuple[float, int]] = []
    in_blocks = None if held_out else applied_in_blocks(source, fitted, say, memory=memory, label=label)
    if in_blocks is None:
        dataset = open_data(source, fitted, say, label=label, held_out=held_out, memory=memory)
        files.write(out, with_ids(_classes(fitted, dataset, out, seen), dataset, out))
        count = len(dataset)
    else:
        in_blocks.write(out, lambda rows: _classes(fitted, rows, out, seen))
        count = len(in_blocks.blocks)
    say(f"wrote {out}: {count} rows")
    labeled = sum(number for _, number in seen)
    if labeled:
        say(f"right in {sum(right * number for right, number in seen) / labeled:.1%} of the {labeled} labeled rows")


def _classes(
    fitted: "FittedModel", dataset: "Dataset", out: str, seen: list[tuple[float, int]]
) -> "dict[str, np.ndarray]":
    """The classes of rows and their probabilities; how many labeled ones are right is added to those seen."""
    from reparax import applications

    found = applications.classify(fitted, dataset)
    right = applications.accuracy(found, dataset) if fitted.schema.classes else None
    seen += [] if right is None else [right]
    if out.lower().endswith((".npy", ".npz")):
        return {"probabilities": found.probabilities}
    of_class = zip(found.names, found.probabilities.T, strict=True)
    return {"class": found.labels} | {f"p({name})": column for name, column in of_class}


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
    memory: Memory = None,
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
        memory: The most memory that the values may take.
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
    in_blocks = None
    if not (held_out or impute_given) and can_be_written_in_pieces(fitted, out):
        in_blocks = applied_in_blocks(source, fitted, say, memory=memory, label=label)
    if in_blocks is not None:
        _reconstruct_in_blocks(in_blocks, out)
        return
    if impute_given:
        refuse_beside_unknown(held_out=held_out, memory=memory is not None)
        dataset = open_filled(source, fitted, say, label=label)
    else:
        dataset = open_data(source, fitted, say, held_out=held_out, label=label, memory=memory)
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


def _reconstruct_in_blocks(in_blocks: Applied, out: str) -> None:
    """Writes the reconstructions of rows in blocks."""
    from reparax import applications

    count = len(in_blocks.blocks)
    write_pieces(
        out, count, lambda: (applications.reconstructed(in_blocks.fitted, rows) for rows in in_blocks.datasets())
    )
    in_blocks.say(f"wrote {out}: {count} reconstructions")


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
