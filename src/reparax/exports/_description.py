"""What is written beside exported functions: how a user's cells become numbers, and what goes in and out."""

import re
from importlib.metadata import version
from typing import Any

from reparax.data import MISSING_NUMBERS, MISSING_TEXT, Schema, formulas_of, zone_of
from reparax.exports._functions import Function
from reparax.recipe import FittedModel, Units
from reparax.summary import Column

FORMAT, FORMAT_VERSION = "reparax export", 1
LIBRARIES = ("reparax", "jax", "jaxlib")


def description(fitted: FittedModel, functions: tuple[Function, ...], suffix: str) -> dict[str, Any]:
    """The content of ``export.json``.

    Args:
        fitted: The fitted model.
        functions: The exported functions.
        suffix: The suffix of their files.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "libraries": {name: version(name) for name in LIBRARIES},
        "functions": {function.name: _described(function, suffix) for function in functions},
        "missing": sorted(MISSING_TEXT),
        "missing_numbers": sorted(MISSING_NUMBERS),
        "data": _data(fitted.schema, fitted.units),
        "given": None if fitted.schema.given is None else _data(fitted.schema.given, Units.of(fitted.schema.given)),
    }


def _described(function: Function, suffix: str) -> dict[str, Any]:
    ports = {
        side: [
            {"name": port.name, "shape": ["batch", *port.shape], "dtype": "float32", "text": port.text}
            for port in getattr(function, side)
        ]
        for side in ("inputs", "outputs")
    }
    return {"file": f"{function.name}{suffix}", **ports}


def _data(schema: Schema, units: Units) -> dict[str, Any]:
    """How examples become numbers: the number of a cell is its value, day or code, minus the offset of its column.

    Of a table with relations, what they leave of their children follows, without an offset.
    """
    offset = None if units.offset is None else units.offset.ravel().tolist()
    columns = schema.columns or ()
    return {
        "kind": schema.kind,
        "shape": list(schema.event_shape),
        "binarize": units.binarize,
        "low": units.low,
        "high": units.high,
        "columns": [_column(column, 0.0 if offset is None else offset[i]) for i, column in enumerate(columns)],
        "relations": formulas_of(schema),
        "offset": None if columns else offset,
    }


def _column(column: Column, offset: float) -> dict[str, Any]:
    """One column: the number of a category is its place in the list, of a time its days since 1970, of a gap NaN."""
    what = "category" if column.is_category else "days since 1970-01-01" if column.kind == "datetime" else "number"
    return {
        "name": column.name,
        "what": what,
        "offset": offset,
        "categories": list(column.categories) if column.is_category else [],
    } | (_times(column) if column.kind == "datetime" else {})


def _times(column: Column) -> dict[str, str | None]:
    """The zone of times without one, and the format of text as `datetime.strptime` has it."""
    form = re.sub(r"%\.\d?f", ".%f", column.dtype.removeprefix("string:").replace("%-", "%").replace("%:z", "%z"))
    return {"zone": zone_of(column.dtype), "format": form if "%" in form else "%Y-%m-%d"}
