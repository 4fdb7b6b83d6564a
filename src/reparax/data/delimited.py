"""Tables from text files; the delimiter, the header and decimal commas are inferred."""

import csv
import io
import itertools
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reparax.data.files import content_of, read_bytes, wrong_content
from reparax.data.text import LEADING_ZERO, MISSING_NUMBERS
from reparax.errors import DataError

if TYPE_CHECKING:
    import polars as pl


DELIMITERS = ("\t", ";", ",", "|")
MIN_RECURRING_COLUMNS = 3
_HEAD = 2**18
_BLOCK = 2**22
_BLANK_LINES = re.compile(rb"(?:\r?\n){2,}")


class Table(NamedTuple):
    """A table of numbers and text, with notes.

    Attributes:
        table: The table.
        named: Whether its column names come from the file.
        notes: Notes on reading it.
    """

    table: "pl.DataFrame"
    named: bool
    notes: list[str]


def read_csv(path: Path, header: bool | None = None) -> Table:
    """Reads text with commas, semicolons, tabs or bars between the cells.

    The first row is a header if none of its cells is a number (and they do not occur in the rows below), if some of its
    cells are text above numbers in the second row, or if it is 0, 1, 2, ... (column numbers saved by a data frame).

    Args:
        path: The file, in UTF-8, with or without a byte-order mark, which may be gzipped.
        header: Whether the first row is a header; by default, this is inferred.

    Raises:
        DataError: The file is not such text, has rows of different lengths or no rows, or a column name occurs twice.
    """
    content = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    name, words = content_of(content)
    if name != "unknown":
        raise wrong_content(path, "a table as text", words)
    rows, delimiter = _sniff(content, path)
    if header is None:
        header = has_header(rows)
    names = [cell.strip() for cell in rows[0]]
    table = _parse(content, path, delimiter, header=header, width=len(names))
    if not header:
        return Table(table, named=False, notes=[])
    if _counts_up(rows[0]):
        return Table(table, named=False, notes=["the first row numbers the columns and was read as a header"])
    notes = [
        f"column {index + 1} has no name (a saved row index?) and was named column_{index}"
        for index, name in enumerate(names)
        if not name
    ]
    names = [name or f"column_{index}" for index, name in enumerate(names)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            expected="columns with different names",
            got=f"{', '.join(map(repr, twice[:5]))} more than once in {path}",
            cure="rename or drop the duplicates",
        )
    table.columns = names
    return Table(table, named=True, notes=notes)


def _sniff(content: bytes, path: Path) -> tuple[list[list[str]], str]:
    """The first rows, and the delimiter, which splits all of them into the same number of cells."""
    head = content[:_HEAD]
    try:
        text = head.decode("utf-8") if len(content) <= _HEAD else head[: head.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(content, path, error.start) from None
    if "\0" in text:
        raise DataError(expected=f"text in {path}", got="binary content", cure="rename it with the right suffix")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(expected=f"rows in {path}", got="blank lines only", cure="check how the file was made")
    try:
        by_delimiter = {delimiter: _first_rows(text, delimiter) for delimiter in DELIMITERS}
    except csv.Error as error:
        raise DataError(expected=f"a table in {path}", got=str(error), cure="check how the file was made") from None
    widths = {delimiter: {len(row) for row in rows} for delimiter, rows in by_delimiter.items()}
    regular = [delimiter for delimiter in DELIMITERS if len(widths[delimiter]) == 1 and max(widths[delimiter]) > 1]
    split = [delimiter for delimiter in DELIMITERS if max(widths[delimiter]) > 1 and delimiter != "|"]
    delimiter = (*regular, *split, ",")[0]
    return by_delimiter[delimiter], delimiter


def _first_rows(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return list(itertools.islice((row for row in reader if row), 20)) or [[""]]


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns."""
    first = rows[0]
    filled = [cell for cell in first if cell.strip().lower() not in MISSING_NUMBERS]
    if _counts_up(first):
        return len(rows) > 1
    texts = [not _is_number(cell) for cell in filled]
    if all(texts):
        return bool(filled) and not _recurs(rows)
    if not any(texts) or len(rows) < 2:
        return False
    over_numbers = (
        not _is_number(above) and _is_number(below) and above.strip().lower() not in MISSING_NUMBERS
        for above, below in zip(first, rows[1], strict=False)
    )  # fmt: skip
    return any(over_numbers)


def _recurs(rows: list[list[str]]) -> bool:
    """Whether most cells of the first row occur again in their columns, as values do and names do not."""
    below = [set(column) for column in zip(*rows[1:], strict=False)]
    recurring = sum(cell in column for cell, column in zip(rows[0], below, strict=False))
    return len(rows[0]) >= MIN_RECURRING_COLUMNS and 2 * recurring > len(rows[0])


def _counts_up(row: list[str]) -> bool:
    """Whether a row is 0, 1, 2, ..., possibly after an empty cell."""
    cells = [cell.strip() for cell in (row[1:] if row and not row[0].strip() else row)]
    return len(cells) > 1 and cells == [str(index) for index in range(len(cells))]


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _parse(content: bytes, path: Path, delimiter: str, *, header: bool, width: int) -> "pl.DataFrame":
    import polars as pl

    content = _without_blank_lines(content, width)
    _refuse_ragged(content, path, delimiter, width)
    read = partial(pl.read_csv, content, has_header=header, separator=delimiter)
    try:
        try:
            table = read(infer_schema=False) if _has_codes(content, delimiter) else read(infer_schema_length=1000)
        except pl.exceptions.ComputeError:  # a later cell does not have the type of the first rows
            table = read(infer_schema=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        _refuse_other_encodings(content, path)
        raise DataError(
            expected=f"a table in {path} with {_cells(width)} in every row",
            got=str(error).splitlines()[0][:200],
            cure="fix that row of the file",
        ) from None
    if table.height == 0:
        raise DataError(expected=f"rows in {path}", got="a header and no rows", cure="check how the file was made")
    if table.width != width:
        raise _ragged(path, width, f"rows of {_cells(table.width)}")
    if b'"' in content and table.to_series(width - 1).null_count():
        _refuse_short_rows(content, path, delimiter, width)
    _refuse_spaces_between(table, path)
    texts = [column for column in table.get_columns() if column.dtype == pl.String]
    numbers = table.with_columns(_numbers(column, column) for column in texts)
    if delimiter == ",":
        return numbers
    with_commas = [_numbers(column, column.str.replace(",", ".", literal=True)) for column in texts]
    of_numbers = [each for each, made in zip(texts, with_commas, strict=True) if made.dtype.is_numeric()]
    if not any(_is_decimal(column, ",") for column in of_numbers):
        return numbers
    floats = [name for name in numbers.columns if numbers[name].dtype.is_float()]
    _refuse_points(read(infer_schema=False).select(floats), path)
    return table.with_columns(with_commas)


def _has_codes(content: bytes, delimiter: str) -> bool:
    """Whether a cell begins with a zero and another digit, like a zip code, which is not a number."""
    before = np.zeros(256, bool)
    before[[ord(delimiter), *b'\n" ']] = True
    digit = np.zeros(256, bool)
    digit[ord("0") : ord("9") + 1] = True
    characters = np.frombuffer(content, np.uint8)
    for start in range(0, len(characters), _BLOCK):
        block = characters[start : start + _BLOCK + 2]
        if (before[block[:-2]] & (block[1:-1] == ord("0")) & digit[block[2:]]).any():
            return True
    return False


def _without_blank_lines(content: bytes, width: int) -> bytes:
    """The text without blank lines; in a single column, these are missing values and are kept."""
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    content = content.strip(b"\r\n")
    if width > 1 and b'"' not in content and (b"\n\n" in content or b"\n\r\n" in content):
        content = _BLANK_LINES.sub(b"\n", content)
    return content


def _refuse_ragged(content: bytes, path: Path, delimiter: str, width: int) -> None:
    """Refuses rows of another length, which the parser would pad; text with quotes is left to the parser.

    Raises:
        DataError: A row has another length.
    """
    separator = delimiter.encode()
    if b'"' in content or content.count(separator) == (content.count(b"\n") + 1) * (width - 1):
        return
    for index, row in enumerate(content.split(b"\n")):
        if row.count(separator) != width - 1:
            start = row[:40].decode("utf-8", errors="replace").strip()
            raise _ragged(path, width, f"{_cells(row.count(separator) + 1)} in row {index + 1}: {start!r}")


def _refuse_short_rows(content: bytes, path: Path, delimiter: str, width: int) -> None:
    """Refuses short rows in text with quotes, which the parser has padded.

    Raises:
        DataError: A row has another length.
    """
    reader = csv.reader(io.StringIO(content.decode("utf-8", errors="replace"), newline=""), delimiter=delimiter)
    for row in reader:
        if row and len(row) != width:
            raise _ragged(path, width, f"{_cells(len(row))} in line {reader.line_num}: {delimiter.join(row)[:40]!r}")


def _refuse_spaces_between(table: "pl.DataFrame", path: Path) -> None:
    """Refuses rows of numbers that are separated by spaces.

    Raises:
        DataError: The rows are such.
    """
    column = table.to_series(0)
    if table.width > 1 or str(column.dtype) != "String":
        return
    rows = [text.split() for text in column.head(100).drop_nulls().to_list()]
    if rows and len(rows[0]) > 1 and all(len(row) == len(rows[0]) and all(map(_is_number, row)) for row in rows):
        raise DataError(
            expected=f"commas, semicolons, tabs or bars between the cells of {path}",
            got=f"spaces: {' '.join(rows[0])[:40]!r}",
            cure="replace the spaces with commas",
        )


def not_utf8(content: bytes, path: Path, position: int) -> DataError:
    """The error for text in another encoding, with the name of that encoding."""
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        got, name = "text in UTF-16", "UTF-16"
    else:
        start = content.rfind(b"\n", 0, position) + 1
        line = content[start : position + 20].split(b"\n")[0].decode("cp1252", errors="replace").strip()
        got = f"text in another encoding, probably Latin-1 (Windows-1252): {line[-40:]!r} in line "
        got, name = got + str(content.count(b"\n", 0, position) + 1), "WINDOWS-1252"
    return DataError(
        expected=f"text in UTF-8 in {path}",
        got=got,
        cure=f"save it as UTF-8: iconv -f {name} -t UTF-8 {path.name} > utf8-{path.name}",
    )


def _refuse_other_encodings(content: bytes, path: Path) -> None:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(content, path, error.start) from None


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _ragged(path: Path, width: int, got: str) -> DataError:
    return DataError(
        expected=f"a table in {path} with {_cells(width)} in every row", got=got, cure="fix that row of the file"
    )


def _is_decimal(column: "pl.Series", mark: str) -> bool:
    """Whether a mark in numbers of a column can be nothing but a decimal one: 1,234 may be more than a thousand."""
    marked = column.filter(column.str.contains(mark, literal=True).fill_null(value=False))
    return not marked.str.contains(rf"^\s*[+-]?[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+\s*$").all()


def _refuse_points(numbers: "pl.DataFrame", path: Path) -> None:
    """Refuses numbers, as text, whose points may separate thousands, in a table with decimal commas.

    Raises:
        DataError: There is a column of such.
    """
    for column in numbers.get_columns():
        points = column.str.contains(".", literal=True).fill_null(value=False)
        if points.any() and not _is_decimal(column, "."):
            row = points.arg_max() or 0
            raise DataError(
                expected=f"numbers in column {column.name!r} of {path} with decimal commas, as in other columns",
                got=f"{column[row]!r} in row {row + 1}, which may be a fraction or more than a thousand",
                cure="write all numbers of the table with the same decimal mark, and without thousands separators",
            )


def _numbers(column: "pl.Series", texts: "pl.Series") -> "pl.Series":
    """A column of text as numbers if all of it is, possibly with spaces around; without a type if it has no value.

    Args:
        column: The column.
        texts: It with decimal points.
    """
    import polars as pl

    text = texts.str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(sorted(MISSING_NUMBERS)).fill_null(value=True), None)
    if text.null_count() == len(text):  # nothing says whether these are numbers
        return pl.Series(column.name, [None] * len(column), dtype=pl.Null)
    if text.str.contains(LEADING_ZERO).any():
        return column
    for dtype in (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == text.null_count():
            return numbers
    return column
