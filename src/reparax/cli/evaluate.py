"""``reparax evaluate``, ``info``, ``report``: how good a model is on data, what is in its folder, an HTML report."""

import dataclasses
import json
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from reparax.cli.blocks import Applied, Memory, applied_in_blocks
from reparax.cli.model import (
    Allow,
    Data,
    Id,
    ImputeGiven,
    Label,
    NoId,
    NoView,
    View,
    known_held_out,
    open_data,
    open_model,
    open_to_average,
    origin_of,
    prepare_jax,
    refuse_beside_unknown,
    refuse_view_options,
    source_of,
    streamed,
)  # fmt: skip
from reparax.cli.terminal import Say, bound_name, notes, speaker
from reparax.cli.words import columns_text, relations_text
from reparax.errors import DataError

if TYPE_CHECKING:
    from reparax.applications import Factors, Unknown
    from reparax.data import Dataset
    from reparax.recipe import FittedModel
    from reparax.reports import Study


@streamed
def evaluate(
    model: str,
    data: Data | None = None,
    /,
    *,
    view: View = (),
    row_id: Id = None,
    samples: int = 100,
    seed: int = 0,
    held_out: bool = False,
    label: Label = None,
    impute_given: ImputeGiven = False,
    factors: str | None = None,
    privacy: bool = False,
    memory: Memory = None,
    out: Annotated[str | None, Parameter(name=["--out", "-o"])] = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Print bounds on the log-likelihood and their terms as JSON: nats per example, higher is better.

    Args:
        model: The model folder.
        data: Data of the same shape as those that the model was fitted to.
        samples: K, the number of importance samples for each example.
        seed: The seed of the samples.
        held_out: Use only the rows that were held out of the fit to these data.
        label: Where the labels are, if they are given to the model.
        impute_given: Where something given is missing, average over the values that it had in the fit.
        factors: A file with one row for each row of the data and one column for each known factor of variation, of
            numbers or categories: add how the codes relate to them (MIG, SAP, DCI, FactorVAE score).
        privacy: Add what the model and its synthetic rows give away of the rows of the fit: copies, closest rows,
            membership, each beside held-out rows. The data are those of the fit.
        memory: The most memory that the values may take, such as 2GB (default: a quarter of what is available); not
            beside factors, which need all rows at once.
        out: Write to a .json file instead of stdout.
        view: In place of DATA, one of several views: NAME=FILE; once for each view.
        row_id: Of views, the column or array that names their rows; by default they belong together in their order.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax.data import check_output

    if out is not None:
        check_output(out, (".json",))
    say = speaker(quiet)
    fitted = open_model(model, allow)
    source = source_of(data, view, row_id)
    from reparax import applications

    if impute_given:
        refuse_beside_unknown(
            held_out=held_out, memory=memory is not None, factors=factors is not None, privacy=privacy
        )
    if factors is not None:
        _refuse_memory(memory)
    in_blocks = None
    if not (impute_given or held_out or factors is not None):
        in_blocks = applied_in_blocks(source, fitted, say, memory=memory, label=label)
    unknown: Unknown = "average" if impute_given else "refuse"
    rows: Any
    if in_blocks is not None:
        rows = in_blocks.datasets()
    elif impute_given:
        rows, _ = open_to_average(source, fitted, say, label=label)
    else:
        rows = open_data(source, fitted, say, held_out=held_out, label=label, memory=memory)
    found = applications.evaluate(fitted, rows, num_samples=samples, seed=seed, unknown=unknown)
    evaluation = found.as_dict()
    members = evaluation.pop("members", None)
    numbers: dict[str, Any] = {name: _number(value) for name, value in evaluation.items()}
    if factors is not None:
        numbers["factors"] = dataclasses.asdict(_of_factors(fitted, source, rows, factors, seed, label, held_out))
    if members is not None:
        numbers["members"] = [{name: _number(value) for name, value in one.items()} for one in members]
    if privacy:
        whole = _data_of_fit(fitted, source, label, memory)
        secrecy = applications.privacy(fitted, whole, num_samples=samples, seed=seed)
        numbers["privacy"] = dataclasses.asdict(secrecy)
    _write_json(numbers, out)
    if out is not None:
        say(f"wrote {out}: {found.num_examples} examples evaluated")


def _refuse_memory(memory: str | None) -> None:
    if memory is not None:
        raise DataError(
            expected="no --memory beside --factors, which need all rows at once",
            got=f"--memory {memory}",
            cure="leave it out, or run the command twice",
        )


def _data_of_fit(fitted: "FittedModel", source: Any, label: str | None, memory: str | None) -> Any:
    """The data of the fit: in blocks if they take too much memory, or if the fit read them in blocks."""
    from reparax.applications import parts_of
    from reparax.data import blocks_of

    is_plain = isinstance(source, str) and label is None
    blocks = blocks_of(source, memory=memory) if is_plain else None
    if blocks is not None:
        return blocks
    whole = open_data(source, fitted, speaker(quiet=True), label=label)
    # Which rows a fit holds out depends on how it reads them.
    blocks = blocks_of(source, memory=1) if is_plain and parts_of(fitted, whole) is None else None
    return whole if blocks is None else blocks


def _write_json(numbers: dict[str, Any], out: str | None) -> None:
    """Writes numbers to a file, or to standard output."""
    from reparax.disk import atomic_write

    text = json.dumps(numbers, indent=2, allow_nan=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    with atomic_write(out) as file:
        file.write_text(text)


def _of_factors(
    fitted: "FittedModel", data: Any, dataset: Any, factors: str, seed: int, label: str | None, held_out: bool
) -> "Factors":
    """How the codes relate to factors in a file, which are those of all rows of the data."""
    from reparax import applications
    from reparax.data import split

    if not held_out:
        return applications.evaluate_factors(fitted, dataset, factors, seed=seed)
    assert fitted.recipe is not None
    whole = open_data(data, fitted, speaker(quiet=True), label=label)
    known_held_out(fitted, len(whole), applications.held_out_of(fitted, whole))
    known = applications.read_factors(factors, len(whole))
    _, rest = split(known, fitted.recipe.valid, fitted.recipe.seed)
    return applications.evaluate_factors(fitted, dataset, rest, seed=seed)


def _number(value: float | None) -> float | None:
    """A number as JSON can write it, with null for NaN and infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def compare(
    real: str,
    synthetic: str,
    /,
    *,
    neighbors: int = 5,
    distance: Literal["columns", "euclidean"] | None = None,
    seed: int = 0,
    out: Annotated[str | None, Parameter(name=["--out", "-o"])] = None,
    quiet: bool = False,
) -> None:
    """Print how like real examples synthetic ones are, as JSON: precision, recall, density, coverage, a classifier.

    The examples may be rows of tables, images, or features of yours, and come from any model.

    Args:
        real: Real examples, best those that the model has not seen.
        synthetic: Synthetic ones, with the same columns or of the same shape.
        neighbors: How many nearest neighbors say what is near.
        distance: columns sums the differences of columns, each from 0 to 1 (the default for tables with named columns);
            euclidean takes the numbers as they are, as is usual for features of images.
        seed: Draws the examples of more than 5000, and splits them for the classifier.
        out: Write to a .json file instead of stdout.
        quiet: Show no notes.
    """
    from reparax.data import check_output, read

    if out is not None:
        check_output(out, (".json",))
    say = speaker(quiet)
    dataset = read(real)
    notes(say, dataset.notes)
    prepare_jax()
    from reparax.applications import compare_samples

    found = compare_samples(dataset, synthetic, num_neighbors=neighbors, distance=distance, seed=seed)
    _write_json(dataclasses.asdict(found), out)
    if out is not None:
        say(f"wrote {out}: {found.num_examples} examples of each kind compared")


def info(model: str, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Show the parts of a model, its data and columns, how training went, and the library versions.

    Args:
        model: The model folder.
        as_json: Print the description as JSON.
    """
    prepare_jax()
    from reparax.artifact import describe

    description = describe(model)
    if as_json:
        sys.stdout.write(json.dumps(description, indent=2) + "\n")
        return
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from reparax.data import Schema

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(description):
        table.add_row(name, text)
    Console(file=sys.stdout, highlight=False, markup=False).print(table)
    schema = msgspec.convert(description["data"], Schema)
    columns = columns_text(schema)
    if columns:
        heading = "columns, in the rows of the fit (without those held out)"
        sys.stdout.write("\n".join([heading, *columns, *relations_text(schema)]) + "\n")


def _rows(description: dict[str, Any]) -> list[tuple[str, str]]:
    recipe, data, training = description["recipe"], description["data"], description["training"]
    parameters = sum(math.prod(array["shape"]) for array in description["arrays"].values())
    rows = [(name.replace("_", "-"), _named(value)) for name, value in (recipe or {"parts": "custom"}).items()]
    shape = "x".join(map(str, data["event_shape"]))
    kinds = f"{data['kind']} of shape {shape}, {data['value_kind']} values"
    if data["kind"] == "views":
        kinds = f"the views {', '.join(name for name, _ in data['views'])}"
    given = ", ".join(column["name"] for column in (data.get("given") or {}).get("columns", ()))
    rows += [
        ("given", given),
        ("data", f"{kinds}, fitted to {data['num_examples']} examples"),
        ("parameters", f"{parameters} in {len(description['arrays'])} arrays"),
        ("training", _training(training, recipe)),
        ("privacy", _privacy(description["guarantee"])),
        ("fitted with", ", ".join(f"{name} {version}" for name, version in description["libraries"].items())),
    ]
    return [(name, text) for name, text in rows if text]


def _privacy(guarantee: dict[str, Any] | None) -> str:
    from reparax.recipe import Guarantee

    return "" if guarantee is None else str(Guarantee(**guarantee))


def _name(value: Any) -> str:
    """A setting; of a part with options its name."""
    return value["name"] if isinstance(value, dict) else str(value)


def _named(value: Any) -> str:
    """A setting; a part with options as its name and these."""
    given = value.items() if isinstance(value, dict) else ()
    options = ", ".join(f"{name}={option}" for name, option in given if name != "name")
    return f"{_name(value)} ({options})" if options else _name(value)


def _training(training: dict[str, Any], recipe: dict[str, Any] | None) -> str:
    history = training["history"]
    if not history:
        return training["status"]
    bounds = [float(record["valid"]["bound"]) for record in history if record["valid"]]
    name = bound_name(_name(recipe["objective"])) if recipe else "bound"
    best = f", best held-out {name} {max(bounds):.2f} nats" if bounds else ""
    return f"{training['status']} after {history[-1]['epoch']:.0f} epochs, {history[-1]['seconds']:.0f} s{best}"


def _shown(in_blocks: Applied) -> "Dataset":
    """The rows of a large file that a report is on."""
    total, held_out = len(in_blocks.blocks), in_blocks.held_out()
    rows = in_blocks.sample() if held_out is None else held_out
    which = "drawn at random" if held_out is None else "that were held out of the fit"
    in_blocks.say(f"note: the report is on {len(rows):,} of the {total:,} rows, {which}")
    return rows


def say_verdict(study: "Study", say: Say) -> None:
    """Says the findings on a model, each with a word for how good it is and what to do."""
    from reparax.reports import findings_of

    for found in findings_of(study):
        say(f"{found.level:<8} {found.sentence}{f' {found.cure}' if found.cure else ''}")


def report(
    model: str,
    data: Data | None = None,
    /,
    *,
    out: Annotated[str, Parameter(name=["--out", "-o"])] = "report.html",
    view: NoView = (),
    row_id: NoId = None,
    label: str | None = None,
    samples: int = 100,
    seed: int = 0,
    memory: Memory = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Write an HTML report: a verdict, data, training, latent map, synthetic rows or images, privacy, likelihoods.

    The verdict is also printed. A name that ends in .json gets the numbers of the report instead. The report is one
    file that needs no network. If the data are those of the fit, it measures on the held-out rows.

    Args:
        model: The model folder.
        data: Data of the same shape as those that the model was fitted to.
        out: The .html or .json file to write (default: report.html).
        label: What to color the latent map by: a column, an array of an .npz file, or a file of labels.
        samples: K, the number of importance samples for each example.
        seed: The random seed.
        memory: The most memory that the values may take. Of a file with more, the report is on the rows that were held
            out of the fit to it, or else on a random sample of its rows.
        view: Not taken.
        row_id: Not taken.
        allow: Modules with custom parts that may be imported.
        quiet: Show no notes.
    """
    from reparax.data import check_output

    refuse_view_options(
        view, row_id, "to report on", "use reparax evaluate and sample, or report on a model of one of the views"
    )
    if data is None:
        raise DataError(expected="data to report on: a file or a folder", got="none", cure="name them after the model")
    say = speaker(quiet)
    check_output(out, (".html", ".htm", ".json"))
    fitted = open_model(model, allow)
    from reparax.reports import study_of, write

    in_blocks = applied_in_blocks(data, fitted, say, memory=memory, label=label)
    rows = data if in_blocks is None else _shown(in_blocks)
    study = study_of(fitted, rows, label=label, origin=origin_of(model, data), num_samples=samples, seed=seed)
    notes(say, study.dataset.notes)
    write(study, out)
    say_verdict(study, say)
    say(f"wrote {out}: {len(study.dataset)} examples")
