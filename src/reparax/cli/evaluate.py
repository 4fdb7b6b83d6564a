"""``reparax evaluate``, ``info``, ``report``: how good a model is on data, what its folder holds, a page to look at."""

import dataclasses
import json
import json as json_format
import math
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from reparax.cli.model import Allow, open_data, open_model, origin_of, prepare_jax
from reparax.cli.terminal import bound_name, notes, speaker
from reparax.cli.words import columns_text


def evaluate(
    model: str,
    data: str,
    /,
    *,
    samples: int = 100,
    seed: int = 0,
    held_out: bool = False,
    out: Annotated[str | None, Parameter(name=["--out", "-o"])] = None,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Print bounds on the log-likelihood and their parts as JSON: nats per example, higher is better.

    Args:
        model: The model folder.
        data: Data of the shape the model was fitted to.
        samples: K, the importance samples for each example.
        seed: The seed of the samples.
        held_out: Only the rows that were held out when the model was fitted to these data.
        out: Write to a .json file instead of stdout.
        allow: Modules of parts of your own that may be imported.
        quiet: Show no notes.
    """
    from reparax.data import atomic_write, check_output

    if out is not None:
        check_output(out, (".json",))
    say = speaker(quiet)
    fitted = open_model(model, allow)
    dataset = open_data(data, fitted, say, held_out=held_out)
    from reparax import applications

    found = dataclasses.asdict(applications.evaluate(fitted, dataset, num_samples=samples, seed=seed))
    text = json.dumps({name: _number(value) for name, value in found.items()}, indent=2, allow_nan=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    with atomic_write(out) as file:
        file.write_text(text)
    say(f"wrote {out}: {len(dataset)} examples evaluated")


def _number(value: float | None) -> float | None:
    """A number as JSON has it: NaN and infinities are null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def info(model: str, /, *, json: bool = False) -> None:
    """Show what a model is: its parts, its data and columns, how training went, and the versions it was made with.

    Args:
        model: The model folder.
        json: Print the description as JSON.
    """
    prepare_jax()
    from reparax.artifact import describe

    found = describe(model)
    if json:
        sys.stdout.write(json_format.dumps(found, indent=2) + "\n")
        return
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from reparax.data import Schema

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(found):
        table.add_row(name, text)
    Console(file=sys.stdout, highlight=False, markup=False).print(table)
    columns = columns_text(msgspec.convert(found["data"], Schema))
    if columns:
        sys.stdout.write("\n".join(["columns", *columns]) + "\n")


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    recipe, data, training = found["recipe"], found["data"], found["training"]
    numbers = sum(math.prod(array["shape"]) for array in found["arrays"].values())
    rows = [(name.replace("_", "-"), str(value)) for name, value in (recipe or {"parts": "your own"}).items()]
    shape = "x".join(map(str, data["event_shape"]))
    rows += [
        ("data", f"{data['kind']} of {shape}, {data['value_kind']} values, {data['num_examples']} examples fitted"),
        ("numbers", f"{numbers} in {len(found['arrays'])} arrays"),
        ("training", _training(training, recipe)),
        ("made with", ", ".join(f"{name} {version}" for name, version in found["libraries"].items())),
    ]
    return [(name, text) for name, text in rows if text]


def _training(training: dict[str, Any], recipe: dict[str, Any] | None) -> str:
    history = training["history"]
    if not history:
        return training["status"]
    bounds = [float(record["valid"]["bound"]) for record in history if record["valid"]]
    name = bound_name(recipe["objective"]) if recipe else "bound"
    best = f", best held-out {name} {max(bounds):.2f} nats" if bounds else ""
    return f"{training['status']} after {history[-1]['epoch']:.0f} epochs, {history[-1]['seconds']:.0f} s{best}"


def report(
    model: str,
    data: str,
    /,
    *,
    out: Annotated[str, Parameter(name=["--out", "-o"])] = "report.html",
    label: str | None = None,
    samples: int = 100,
    seed: int = 0,
    allow: Allow = (),
    quiet: bool = False,
) -> None:
    """Write a page to look at: data, training, latent map, synthetic rows or images, odd rows, likelihoods.

    One .html file that needs no network; where the data are those of the fit, it judges by the rows held out.

    Args:
        model: The model folder.
        data: Data of the shape the model was fitted to.
        out: The .html file to write (default: report.html).
        label: What colors the latent map: a column, an array of an npz, or a file of labels.
        samples: K, the importance samples for each example.
        seed: The seed of everything random.
        allow: Modules of parts of your own that may be imported.
        quiet: Show no notes.
    """
    from reparax.data import check_output

    say = speaker(quiet)
    check_output(out, (".html", ".htm"))
    fitted = open_model(model, allow)
    from reparax.reports import study_of, write

    study = study_of(fitted, data, label=label, origin=origin_of(model, data), num_samples=samples, seed=seed)
    notes(say, study.dataset.notes)
    write(study, out)
    say(f"wrote {out}: {len(study.dataset)} examples looked at")
