"""``reparax info``: what a model folder holds."""

import json as json_format
import math
import sys
from typing import Any

from reparax.cli._columns_text import columns_text
from reparax.cli._jax import prepare_jax
from reparax.cli._progress import bound_name


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
