"""What is given of each example and not modeled: columns of the table itself, labels, or values by name."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
import numpy as np

from reparax.data.columns import CHOSEN, column_of
from reparax.data.dataset import Dataset, is_plain, mixed_table, plain_table
from reparax.data.match import quoted, refuse_gap
from reparax.data.schema import Schema
from reparax.data.values import Cells, label_cells
from reparax.errors import DataError
from reparax.summary import Column

MOST_ROWS = 1000
"""The most combinations of given values that a schema keeps to draw from."""
LABEL = "label"
"""The name of labels that have none."""


def with_given(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """The dataset with some of its columns, or its labels, given: they are no longer among the values.

    Args:
        dataset: The data, nothing of which is given yet.
        names: Columns of the table; the name of the labels, or ``"label"``.

    Raises:
        DataError: There is no such column, it is an identifier or free text, cells of it are missing, it has a part in
            a statement, or no other column is left.
    """
    wanted = tuple(dict.fromkeys([names] if isinstance(names, str) else map(str, names)))
    if not wanted:
        return dataset
    if dataset.conditions is not None:
        raise DataError(
            expected="data of which nothing is given yet",
            got=f"data with {quoted([each.name for each in dataset.schema.given_columns])} given",
            cure="say what is given once: in read, or in fit",
        )
    columns = {column.name: index for index, column in enumerate(dataset.schema.columns or ())}
    found = {name: _place(name, dataset, columns) for name in wanted}
    named = list(columns)
    given = {name if place is None else named[place]: _given(name, place, dataset) for name, place in found.items()}
    places = {place for place in found.values() if place is not None}
    rest = _without(dataset, places) if places else dataset
    return with_conditions(rest, given, order=tuple(columns) if columns else ())


def with_conditions(
    dataset: Dataset, given: Mapping[str, tuple[Cells, Column]], *, order: tuple[str, ...] = ()
) -> Dataset:
    """The dataset with cells that are given of each example.

    Args:
        dataset: The data.
        given: The cells and the description of each column, by name.
        order: The names of all columns of the user's table.
    """
    for name, (cells, _) in given.items():
        if len(cells.values) != len(dataset):
            raise DataError(
                expected=f"one value of {name!r} for each of the {len(dataset)} examples", got=f"{len(cells.values)}",
                cure="give them in the order of the examples",
            )  # fmt: skip
        refuse_gap(cells.values, name)
    columns = tuple(column for _, column in given.values())
    values, schema, _ = mixed_table({name: cells for name, (cells, _) in given.items()}, tuple(given), None, columns)
    conditions = described_rows(Dataset(values, schema))
    schema = msgspec.structs.replace(dataset.schema, given=conditions.schema, order=order)
    return replace(dataset, schema=schema, conditions=conditions)


def described_rows(conditions: Dataset) -> Dataset:
    """Conditions whose schema keeps the combinations of values in these rows, or evenly spaced ones of very many."""
    rows, counts = np.unique(conditions.values.astype(np.float64), axis=0, return_counts=True)
    if len(rows) > MOST_ROWS:
        places = np.random.default_rng(0).choice(len(conditions), MOST_ROWS, replace=False)
        rows, counts = np.unique(conditions.values[places].astype(np.float64), axis=0, return_counts=True)
    schema = msgspec.structs.replace(
        conditions.schema, rows=tuple(map(tuple, rows.tolist())), row_counts=tuple(counts.tolist())
    )
    return replace(conditions, schema=schema)


def _place(name: str, dataset: Dataset, columns: Mapping[str, int]) -> int | None:
    """The position of a column; None if the labels are meant.

    Raises:
        DataError: There is no such column.
    """
    schema = dataset.schema
    numbered = f"column_{name}" if schema.names is None else name
    if name in columns or numbered in columns:
        return columns[name if name in columns else numbered]
    if dataset.labels is not None and name in {schema.label, LABEL}:
        return None
    reason = dict(schema.excluded).get(name)
    if reason is not None:
        why = "excluded" if reason == CHOSEN else f"left out: {reason}"
        raise DataError(
            expected="columns to be given whose values are known and recur",
            got=f"column {name!r}, which is {why}",
            cure="give another column, or say its kind with --schema" if reason != CHOSEN else "do not exclude it",
        )
    known = [*columns, *([schema.label or LABEL] if dataset.labels is not None else [])]
    near = difflib.get_close_matches(name, known, n=3)
    listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    raise DataError(
        expected=f"something known of each example to be given ({listed})" if known else "labels to be given",
        got=repr(name),
        cure=f"did you mean {' or '.join(near)}?" if near
        else "name a column, or say where the labels are with --label" if schema.columns
        else "say where the labels are with --label, and give 'label'",
    )  # fmt: skip


def _given(name: str, place: int | None, dataset: Dataset) -> tuple[Cells, Column]:
    """The cells of a column, or of the labels, and their description."""
    columns = dataset.schema.columns or ()
    if place is None:
        assert dataset.labels is not None
        cells = label_cells(dataset.labels)
        refuse_gap(cells.values, name)
        return cells, labels_column(name, cells)
    column = columns[place]
    _refuse_stated(column.name, dataset.schema)
    refuse_gap(dataset.values[:, place], column.name)
    return Cells.of_column(dataset.values[:, place], column), column


def _refuse_stated(name: str, schema: Schema) -> None:
    of_relations = {each for relation in schema.relations for each in (relation.child, *relation.parents)}
    of_constraints = {each for constraint in schema.constraints for each in constraint.columns}
    if name in of_relations | of_constraints:
        raise DataError(
            expected="statements about columns that are modeled",
            got=f"one about {name!r}, which is given",
            cure="leave the statement out, or do not give this column",
        )


def labels_column(name: str, cells: Cells) -> Column:
    """The column of labels; whole numbers of which there are few are categories."""
    column = column_of(name, cells, None)
    return column_of(name, cells, "categorical") if column.kind == "ordinal" else column


def _without(dataset: Dataset, places: set[int]) -> Dataset:
    """The dataset without some of its columns, as if it had been read without them."""
    schema, values = dataset.schema, dataset.values
    kept = [index for index in range(len(schema.columns or ())) if index not in places]
    columns = tuple((schema.columns or ())[index] for index in kept)
    if not columns:
        raise DataError(
            expected="a column to learn from", got="none, as all are given", cure="give fewer columns"
        )  # fmt: skip
    cells = {column.name: _cells(values[:, index], column) for index, column in zip(kept, columns, strict=True)}
    names = None if schema.names is None else tuple(cells)
    if all(is_plain(each, column) for each, column in zip(cells.values(), columns, strict=True)):
        matrix, made, _ = plain_table(values[:, kept], names, schema.label, columns)
    else:
        matrix, made, _ = mixed_table(cells, names, schema.label, columns)
        # Whether gaps depend on the row was tested with all of its columns, given ones included.
        made = msgspec.structs.replace(made, columns=columns)
    matrix.flags.writeable = False
    made = msgspec.structs.replace(
        made, excluded=schema.excluded, relations=schema.relations, constraints=schema.constraints
    )
    return replace(dataset, values=matrix, schema=made)


def _cells(values: np.ndarray, column: Column) -> Cells:
    """The cells of a column of a matrix; those with the categories 0 and 1 are numbers too."""
    cells = Cells.of_column(values, column)
    are_numbers = cells.kind == "category" and cells.categories == (0, 1)
    return replace(cells, kind="number", categories=()) if are_numbers else cells
