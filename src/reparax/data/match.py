"""Later data matched to the columns of the training data: by name, category by category, number by number."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np

from reparax.data.text import days_of
from reparax.data.values import LARGEST_REAL, Category, Cells, by_rows, label_cells
from reparax.data.zones import as_in_fit
from reparax.errors import DataError
from reparax.summary import Column

SHOWN = 5


class Fitted(Protocol):
    """What a schema says of the columns of a fit."""

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """The columns of a table."""
        ...

    @property
    def names(self) -> tuple[str, ...] | None:
        """Their names."""
        ...

    @property
    def excluded(self) -> tuple[tuple[str, str], ...]:
        """Columns left out, with reasons."""
        ...

    @property
    def dtype(self) -> str:
        """The dtype of the values."""
        ...

    @property
    def order(self) -> tuple[str, ...]:
        """The names of modeled and given columns of the table, in the user's order; empty where none is given."""
        ...

    @property
    def given_columns(self) -> tuple[Column, ...]:
        """What is given and not modeled."""
        ...


class Matched(NamedTuple):
    """Values as a model takes them, notes for the user, and what is given of each example."""

    values: np.ndarray
    notes: tuple[str, ...] = ()
    given: np.ndarray | None = None


def match_table(
    schema: Fitted,
    names: Sequence[str],
    num_rows: int,
    cells: Callable[[int, Column], Cells],
    *,
    named: bool,
    labels: np.ndarray | None = None,
) -> Matched:
    """The matrix of a table's cells, in the order and with the codes of the training data.

    Args:
        schema: The schema of the training data, which is a table.
        names: The names of the given columns; ``column_0``, ... where they have none.
        num_rows: How many rows.
        cells: Gives the cells of a given column, to be matched to a column of the training data.
        named: Whether the names are those of the user.
        labels: The labels of the rows, which may be given.

    Raises:
        DataError: No rows, missing or unexpected columns, infinities, or cells of another kind than in training; or
            given cells that are missing, or of a category that did not occur in training.
    """
    assert schema.columns is not None
    if num_rows == 0:
        raise DataError(expected="at least one example", got="none", cure="check that this is the right file")
    places, notes = _places(schema, names, named=named)
    columns = [match(cells(places[column.name], column), column) for column in schema.columns]
    dtype = schema.dtype if schema.dtype.startswith("float") else np.float64
    values, notes = (
        by_rows([each.values for each in columns], dtype),
        (*notes, *chain(*(each.notes for each in columns))),
    )
    if not schema.given_columns:
        return Matched(values, notes)
    own = {each.name: cells(places[each.name], each) for each in schema.given_columns if each.name in places}
    given = match_given(schema.given_columns, own, labels)
    return Matched(values, (*notes, *given.notes), given.values)


def match_given(columns: Sequence[Column], own: Mapping[str, Cells], labels: np.ndarray | None) -> Matched:
    """What is given of each example, as numbers and codes, shape ``(n, columns)``.

    Args:
        columns: What is given, as in training.
        own: The cells of each, by name.
        labels: The labels of the examples, which are meant where ``own`` lacks a column.

    Raises:
        DataError: Cells are missing, of another kind, or of a category that did not occur in training.
    """
    given = [_given(own.get(column.name), column, labels) for column in columns]
    beyond = zip(columns, given, strict=True)
    return Matched(by_rows(given, np.float64), tuple(note for each in beyond for note in _beyond(*each)))


def _beyond(column: Column, values: np.ndarray) -> list[str]:
    """A note on given numbers that are not in the range of the fit."""
    count = 0 if column.is_category else int(((values < column.low) | (values > column.high)).sum())
    if not count:
        return []
    return [
        f"column {column.name!r}: {count} row{'s' if count > 1 else ''} outside the range of the fit, "
        f"{column.low:g} to {column.high:g}, for which the model can only guess"
    ]


def _given(cells: Cells | None, column: Column, labels: np.ndarray | None) -> np.ndarray:
    if cells is None and labels is not None:
        cells = label_cells(labels)
    if cells is None:
        raise DataError(
            expected=f"{column.name!r} of each example, which is given to the model",
            got="data without it",
            cure=f"add a column {column.name!r}, or give the labels as in the fit (--label)",
        )
    values = match(cells, column).values.astype(np.float64)
    refuse_gap(values, column.name)
    unseen = column.is_category & (values >= len(column.categories))
    if unseen.any():
        row = int(np.argmax(unseen))
        names = cells.categories or cells.as_categories().categories
        codes = cells.values if cells.categories else cells.as_categories().values
        raise DataError(
            expected=f"a value of {column.name!r} that occurred in training ({quoted(column.categories)})",
            got=f"{names[int(codes[row])]!r} in row {row + 1}",
            cure="leave such rows out, or fit a model on data with such values",
        )
    return values


def refuse_gap(values: np.ndarray, name: str) -> None:
    """Refuses missing cells in a column that is given.

    Raises:
        DataError: A cell is missing; the message names the first.
    """
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    if missing.any():
        raise DataError(
            expected=f"a value of {name!r} for each example, as it is given to the model",
            got=f"{int(missing.sum())} missing, the first in row {int(np.argmax(missing)) + 1}",
            cure="fill them, leave such rows out, or do not give this column",
        )


def _places(schema: Fitted, names: Sequence[str], *, named: bool) -> tuple[dict[str, int], tuple[str, ...]]:
    """Where each column of the training data is among the given ones, by name.

    Raises:
        DataError: Missing or unexpected columns.
    """
    assert schema.columns is not None
    # A label that was given may also come as a column of that name.
    with_labels = [each.name for each in schema.given_columns if each.name not in schema.order and each.name in names]
    fitted = [*(schema.order or [column.name for column in schema.columns]), *with_labels]
    excluded = dict(schema.excluded)
    if not named or schema.names is None:
        if len(names) == len(fitted):
            return {name: place for place, name in enumerate(fitted)}, ()
        if named or schema.names is not None or set(names) != {*fitted, *excluded}:
            raise DataError(
                expected=f"{len(fitted)} column{'s' if len(fitted) != 1 else ''} as in training",
                got=f"{len(names)} column{'s' if len(names) != 1 else ''}",
                cure="give data of the shape the model was fitted on, or fit another model",
            )
    index = {name: place for place, name in enumerate(names)}
    missing = [name for name in fitted if name not in index]
    extra = [name for name in names if name not in set(fitted) and name not in excluded]
    if missing or extra:
        parts = [f"{word} {quoted(some)}" for word, some in (("no", missing), ("also", extra)) if some]
        raise DataError(
            expected=f"the {len(fitted)} columns the model was fitted on",
            got=f"a table with {' and '.join(parts)}",
            cure="rename, add or drop columns so that the names agree",
        )
    again = [name for name in names if name in excluded]
    notes = (f"left out, as in training: {quoted(again)}",) if again else ()
    return {name: index[name] for name in fitted}, notes


def quoted(names: Sequence[object]) -> str:
    """Names in quotes, the first five of them."""
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def match(cells: Cells, column: Column) -> Matched:
    """The cells of one column as numbers or codes; a category that did not occur in training is ``k``, and noted.

    Raises:
        DataError: Infinities, or cells of another kind.
    """
    refuse_infinite(cells, column.name)
    if cells.num_missing == len(cells.values):
        return Matched(np.full(len(cells.values), np.nan))
    if column.is_category:
        return _codes(cells, column)
    if (cells.kind == "datetime") != (column.kind == "datetime") and not cells.is_text:
        wanted, came = ("dates", "numbers") if column.kind == "datetime" else ("numbers", "dates")
        if cells.kind == "category":
            came = "categories"
        raise _wrong(column, wanted, came, "convert the column, or fit on such data")
    if cells.kind == "datetime" and column.kind == "datetime":
        return Matched(as_in_fit(cells.values, cells.dtype, column))
    if cells.kind != "category":
        return Matched(cells.values)
    return Matched(_parsed(cells, column))


def refuse_infinite(cells: Cells, name: str, before: int = 0) -> None:
    """Raises `DataError` that says where the first infinity, or number too large for float32, is.

    Args:
        cells: The cells.
        name: The name of their column.
        before: The number of rows before these.

    Raises:
        DataError: There is one.
    """
    if cells.kind != "number" or cells.values.dtype.kind != "f":
        return
    ends = np.fmin.reduce(cells.values, initial=0.0), np.fmax.reduce(cells.values, initial=0.0)
    if max(-ends[0], ends[1]) <= LARGEST_REAL:
        return
    infinite = np.isinf(cells.values)
    if infinite.any():
        count = int(infinite.sum())
        raise DataError(
            expected="finite numbers only",
            got=f"{count} infinite value{'s' if count > 1 else ''}, the first in column {name!r}, "
            f"row {before + int(np.argmax(infinite)) + 1}",
            cure="drop or replace them (a cell that is empty or NaN is missing)",
        )
    row = int(np.argmax(np.abs(cells.values) > LARGEST_REAL))
    raise DataError(
        expected=f"values of size up to {LARGEST_REAL:g}",
        got=f"{cells.values[row]:g} in column {name!r}, row {before + row + 1}",
        cure="rescale these values (another unit, or a logarithm)",
    )


def _codes(cells: Cells, column: Column) -> Matched:
    if cells.categories == column.categories:
        return Matched(cells.values)
    if not cells.categories:
        cells = cells.as_categories()
    unseen = len(column.categories)
    codes = codes_of(cells.categories, column)
    missing = np.isnan(cells.values)
    places = np.where(missing, 0, cells.values).astype(np.int64)
    table = np.asarray([*codes, unseen], np.float64)
    coded = np.where(missing, np.nan, table[places.clip(max=len(codes))])
    rows = int((coded == unseen).sum())
    if not rows:
        return Matched(coded)
    new = [category for category, code in zip(cells.categories, codes, strict=True) if code == unseen]
    many = f"{len(new)} value{'s' if len(new) != 1 else ''} that did not occur in training: {quoted(new)}"
    return Matched(coded, (f"column {column.name!r}: {many} ({rows} row{'s' if rows != 1 else ''})",))


def codes_of(categories: Iterable[Category], column: Column) -> list[int]:
    """The codes of categories in a column of the fit; one more than all of these for those that did not occur."""
    exact = {category: code for code, category in enumerate(column.categories)}
    alike, truths, unseen = _by_spelling(column.categories), truth_codes(column.categories), len(column.categories)

    def code(category: Category) -> int:
        text = spelling(category)
        return exact.get(category, alike.get(text, truths.get(TRUTH.get(text), unseen)))

    return [code(category) for category in categories]


TRUTH = {"true": True, "1.0": True, "false": False, "0.0": False}
"""What stands for true and false, by its spelling."""


def truth_codes(categories: Sequence[Category]) -> dict[bool | None, int]:
    """The codes of true and false, where all categories are one of these, however they are written."""
    truths = [TRUTH.get(spelling(category)) for category in categories]
    is_truth = None not in truths and len(set(truths)) == len(truths)
    return {truth: code for code, truth in enumerate(truths)} if is_truth else {}


def _by_spelling(categories: Sequence[Category]) -> dict[str, int]:
    """The codes by spelling, where no two categories are spelled alike."""
    spellings = [spelling(category) for category in categories]
    if len(set(spellings)) < len(spellings):
        return {}
    return {text: code for code, text in enumerate(spellings)}


def spelling(category: Category) -> str:
    """One spelling of whatever stands for the same: 3, 3.0, ``"3"`` and ``" 3"``; True, ``"TRUE"`` and ``"true"``."""
    if isinstance(category, bool):
        return str(category).lower()
    text = str(category).strip()
    if text.lower() in {"true", "false"}:
        return text.lower()
    if text[:1].isdigit() or text[:1] in {"-", "+", "."}:
        try:
            number = float(text)
        except ValueError:
            return text
        if not (len(text) > 1 and text.lstrip("+-")[:1] == "0" and text.lstrip("+-")[1:2].isdigit()):
            return repr(number)
    return text


def _parsed(cells: Cells, column: Column) -> np.ndarray:
    """Categories that are numbers, or dates, as such.

    Raises:
        DataError: One is not.
    """
    texts = [str(category).strip() for category in cells.categories]
    dates = column.kind == "datetime"
    numbers = days_of(texts, column.dtype.removeprefix("string:")) if dates else _floats(texts)
    codes = np.where(np.isnan(cells.values), -1, cells.values).astype(np.int64)
    parsed = np.append(numbers, np.nan)[codes]
    bad = np.isnan(parsed) & (codes >= 0)
    if bad.any():
        row = int(np.argmax(bad))
        came = f"{str(cells.categories[codes[row]])[:40]!r} in row {row + 1}"
        raise _wrong(column, "dates" if dates else "numbers", came, "mend such cells, or leave them empty")
    return as_in_fit(parsed, column.dtype if "%" in column.dtype else "date", column) if dates else parsed


def _floats(texts: Sequence[str]) -> np.ndarray:
    import polars as pl

    return pl.Series(texts, dtype=pl.String).cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _wrong(column: Column, wanted: str, came: str, cure: str) -> DataError:
    return DataError(expected=f"{wanted} in column {column.name!r}, as in training", got=came, cure=cure)
