"""Columns in words, and what a person writes of one cell."""

import difflib
from typing import NamedTuple

import numpy as np

from reparax.data._dates import dates_of
from reparax.data._match import spelling
from reparax.data._restore import restored
from reparax.data._schema import Schema
from reparax.errors import DataError
from reparax.summary import Column

SHOWN = 3


class ColumnLine(NamedTuple):
    """One column in words.

    Attributes:
        name: Its name.
        kind: Its kind, or ``"left out"``.
        missing: The share of missing cells, ``""`` where there are none.
        values: The range of its numbers, its most frequent categories, or why it is left out.
    """

    name: str
    kind: str
    missing: str
    values: str


def column_lines(schema: Schema) -> list[ColumnLine]:
    """A line for each column of a table, those that are left out last; none for images and arrays."""
    lines = [
        ColumnLine(column.name, column.kind, _percent(column.missing) if column.missing else "", _values(column))
        for column in schema.columns or ()
    ]
    return lines + [ColumnLine(name, "left out", "", reason) for name, reason in schema.excluded]


def _values(column: Column) -> str:
    if column.is_category:
        pairs = zip(column.categories[:SHOWN], column.category_shares[:SHOWN], strict=True)
        listed = ", ".join(f"{str(category).strip()[:24]} {_percent(share)}" for category, share in pairs)
        more = len(column.categories) - SHOWN
        return f"{listed} and {more} more" if more > 0 else listed
    low, high = cell_text(column, column.low), cell_text(column, column.high)
    zero = next((share for atom, share in zip(column.atoms, column.atom_shares, strict=True) if atom == 0), 0.0)
    if column.kind == "zero-inflated":
        return f"0 in {_percent(zero)}, {low} to {high}"
    if column.kind == "ordinal":
        return f"{low} to {high}, {len(column.atoms)} level{'s' if len(column.atoms) != 1 else ''}"
    return f"{low} to {high}"


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def cell_text(column: Column, value: float) -> str:
    """One value of a matrix as the user would write it; empty where it is missing."""
    found = restored(np.asarray([value]), column)[0]
    if found is None:
        return ""
    return f"{found:.6g}" if isinstance(found, float) else str(found).strip()


def cell_value(column: Column, text: str) -> float:
    """One value as a matrix holds it, from what a person writes: a number, a date, or the name of a category.

    Raises:
        DataError: There is no such category, or it is no number or date.
    """
    if not column.is_category:
        return _day(column, text) if column.kind == "datetime" else _number(column, text)
    exact = {str(category): code for code, category in enumerate(column.categories)}
    alike = {spelling(category): code for code, category in reversed(list(enumerate(column.categories)))}
    code = exact.get(text, alike.get(spelling(text)))
    if code is not None:
        return float(code)
    names = [str(category).strip() for category in column.categories]
    near = difflib.get_close_matches(text, names, n=3) or [name for name in names if name.lower() == text.lower()]
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise DataError(
        expected=f"a value of column {column.name!r} ({listed})",
        got=repr(text),
        cure=f"did you mean {' or '.join(near)}?" if near else "give one that was seen at fitting",
    )


def _number(column: Column, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(
            expected=f"a number for column {column.name!r}", got=repr(text), cure=f"give one, such as {column.mean:g}"
        )
    return value


def _day(column: Column, text: str) -> float:
    import polars as pl

    form = column.dtype.removeprefix("string:") if "%" in column.dtype else None
    found = dates_of(pl.Series([text.strip()]), form)
    if found is None:
        raise DataError(
            expected=f"a date for column {column.name!r}",
            got=repr(text),
            cure=f"write one like {cell_text(column, column.high)}",
        )
    return float(found.days[0])
