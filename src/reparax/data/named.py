"""What is given of each example by name, in a mapping or a data frame, instead of in columns of the data."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reparax.data.dataset import Dataset
from reparax.data.frames import Frame, cells_of, is_frame, load_frame, object_series
from reparax.data.given import labels_column, with_conditions
from reparax.data.match import match_given, quoted
from reparax.data.schema import Schema
from reparax.data.values import Cells
from reparax.errors import DataError


def in_context(dataset: Dataset, context: Any) -> Dataset:
    """The dataset with what is given of each example: by name, or as rows of numbers.

    Raises:
        DataError: It is of another number of examples, or given already, or cells of it are missing.
    """
    if not (isinstance(context, Mapping) or _is_table(context)):
        return dataset.given(context)
    read = _named_values(context, len(dataset)).dataset()
    if read.schema.excluded:
        name, reason = read.schema.excluded[0]
        raise DataError(
            expected="values to be given that recur", got=f"{name!r}, {reason}", cure="give something else"
        )  # fmt: skip
    columns = read.schema.columns or ()
    pairs = ((Cells.of_column(cells, column), column) for column, cells in zip(columns, read.values.T, strict=True))
    # A mapping holds labels, of which whole numbers are names; the columns of a frame are what they are in a table.
    are_labels = isinstance(context, Mapping)
    given = {
        column.name: (cells, labels_column(column.name, cells) if are_labels and column.kind == "ordinal" else column)
        for cells, column in pairs
    }
    own = {column.name for column in dataset.schema.columns or ()}
    if twice := [name for name in given if name in own]:
        raise DataError(
            expected="names of what is given that are no columns of the data",
            got=quoted(twice),
            cure="give the columns themselves: given=[...]",
        )
    order = tuple(column.name for column in dataset.schema.columns or ())
    return with_conditions(dataset, given, order=order)


def conditions_as(context: Any, schema: Schema, num_examples: int) -> Dataset:
    """What is given of each example, by name, matched to what was given in a fit.

    Args:
        context: A mapping from names to one value, or one for each example; or a data frame.
        schema: The schema of what was given in the fit.
        num_examples: The number of examples.

    Raises:
        DataError: Something is missing or unknown, of another kind, or did not occur in the fit.
    """
    own = cells_in_context(context, schema, num_examples)
    matched = match_given(schema.columns or (), own, None)
    return Dataset(np.ascontiguousarray(matched.values, dtype=schema.dtype), schema, notes=matched.notes)


def cells_in_context(context: Any, schema: Schema, num_examples: int) -> dict[str, Cells]:
    """The cells of what is given of each example, by name; the arguments are those of `conditions_as`.

    Raises:
        DataError: It is not named, or the fit was not given it.
    """
    if not (isinstance(context, Mapping) or _is_table(context)):
        listed = ", ".join(repr(column.name) for column in schema.columns or ())
        raise DataError(
            expected=f"what is given by name: {listed}",
            got=f"a context of type {type(context).__name__}",
            cure="pass a mapping, context={'name': values}, or a data frame with these columns",
        )
    frame = _named_values(context, num_examples)
    columns = list(frame.table.iter_columns())
    known = {column.name: column for column in schema.columns or ()}
    if unknown := [name for name in frame.names if name not in known]:
        raise DataError(
            expected=f"what is given: {quoted(list(known))}", got=quoted(unknown), cure="leave the others out"
        )
    return {name: cells_of(columns[index], name, known[name]) for index, name in enumerate(frame.names)}


def _named_values(context: Any, num_examples: int) -> Frame:
    """A frame of values by name, a single value repeated for each example.

    Raises:
        DataError: Another number of values.
    """
    import polars as pl

    if not isinstance(context, Mapping):
        frame = load_frame(context, None)
    else:
        columns = {str(name): _repeated(values, num_examples) for name, values in context.items()}
        if not columns:
            raise DataError(expected="what is given, by name", got="an empty mapping", cure="name at least one thing")
        wrong = next((name for name, values in columns.items() if len(values) != num_examples), None)
        if wrong is not None:
            raise DataError(
                expected=f"one value of {wrong!r}, or one for each of the {num_examples} examples",
                got=f"{len(columns[wrong])}",
                cure="give them in the order of the examples",
            )
        frame = load_frame(pl.DataFrame([object_series(name, values) for name, values in columns.items()]), None)
    if len(frame.table) != num_examples:
        raise DataError(
            expected=f"one row for each of the {num_examples} examples", got=f"{len(frame.table)} rows",
            cure="give them in the order of the examples",
        )  # fmt: skip
    return frame


def _repeated(values: Any, count: int) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or np.ndim(values) == 0:
        return [values.item() if isinstance(values, np.generic) else values] * count
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _is_table(source: Any) -> bool:
    return not isinstance(source, np.ndarray) and is_frame(source)
