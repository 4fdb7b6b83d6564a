"""Data of which not all is known that a model is given: read with gaps, for a model that may fill them in."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from reparax.data.arrays import Arrays, Read
from reparax.data.dataset import Dataset, array_cells
from reparax.data.frames import Frame, cells_of
from reparax.data.match import match
from reparax.data.named import cells_in_context
from reparax.data.read import load_with_any_label, without_given
from reparax.data.schema import Schema
from reparax.data.values import Cells, label_cells
from reparax.errors import DataError
from reparax.summary import Column


def read_with_unknown(source: Any, schema: Schema, *, allow_missing: bool = False, context: Any = None) -> Dataset:
    """Data as of `read_as`, and what is given of each example in float64, NaN where it is unknown.

    Unknown are missing cells, categories that did not occur in the fit, and columns or labels that the data lack.

    Args:
        source: As for `read_as`.
        schema: The schema of the fit, in which something is given by name.
        allow_missing: As for `read_as`.
        context: What is given of each example, by name, instead of the columns and labels of the data.

    Raises:
        DataError: As for `read_as`; or the data are several views or sparse.
    """
    assert schema.given is not None
    plain = without_given(schema)
    loaded = None if schema.views else load_with_any_label(source, schema)
    if not isinstance(loaded, Frame | Arrays | Read):
        raise DataError(
            expected="a table, an array or images, of which something given may be unknown",
            got="several views" if schema.views else "a sparse matrix",
            cure="leave rows out of which something is unknown",
        )
    if isinstance(loaded, Read) and loaded.complete.schema == schema:
        dataset, labels = replace(loaded.complete, conditions=None), loaded.complete.labels
    else:
        dataset = loaded.matched(plain, allow_missing=allow_missing)
        labels = dataset.labels
    if context is None:
        own = _own_cells(loaded, schema.given_columns)
    else:
        own, labels = cells_in_context(context, schema.given, len(dataset)), None
    rows = np.full((len(dataset), len(schema.given_columns)), np.nan)
    for place, column in enumerate(schema.given_columns):
        cells = own.get(column.name) or (None if labels is None else label_cells(labels))
        if cells is not None:
            values = match(cells, column).values.astype(np.float64)
            unseen = column.is_category & (values >= len(column.categories))
            rows[:, place] = np.where(unseen, np.nan, values)
    return replace(dataset, schema=schema, conditions=Dataset(rows, schema.given))


def _own_cells(loaded: Frame | Arrays | Read, columns: tuple[Column, ...]) -> Mapping[str, Cells]:
    """The cells of what is given that the data have, by name."""
    if isinstance(loaded, Frame):
        table = list(loaded.table.iter_columns())
        found = [(column, loaded.names.index(column.name)) for column in columns if column.name in loaded.names]
        return {column.name: cells_of(table[place], column.name, column) for column, place in found}
    if isinstance(loaded, Arrays):
        names = loaded.columns if loaded.array.ndim == 2 else ()
        found = [(column, names.index(column.name)) for column in columns if column.name in names]
        return {column.name: array_cells(loaded.array[:, place]) for column, place in found}
    conditions = loaded.complete.conditions
    if conditions is None:
        return {}
    return {
        column.name: Cells.of_column(cells, column)
        for column, cells in zip(conditions.schema.columns or (), conditions.values.T, strict=True)
    }
