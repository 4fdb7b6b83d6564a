"""Tables from text: delimiter, header and decimal comma are told from the text itself."""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reparax.data._files import content_of, read_bytes, wrong_content
from reparax.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

DELIMITERS = ("\t", ";", ",")
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "-nan", "null", "none"})
_HEAD = 2**18
_BLOCK = 2**20
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*")


class Table(NamedTuple):
    """An arrow table, and whether its column names come from the file."""

    table: "pa.Table"
    named: bool
    notes: list[str]


def read_csv(path: Path, header: bool | None = None) -> Table:
    """Reads comma-, semicolon- or tab-separated text.

    The first row is a header when none of its cells is a number, or when cells that are text stand over
    numbers in the second row, or when it counts 0, 1, 2, ... (column numbers that a data frame was saved with).

    Args:
        path: The file: UTF-8, with or without a byte-order mark, gzipped or not.
        header: Whether the first row is a header; None to tell it from the text.

    Raises:
        DataError: Not such text, rows of different lengths, no rows, or column names that occur twice.
    """
    content = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    name, words = content_of(content)
    if name != "unknown":
        raise wrong_content(path, "a table as text", words)
    rows, delimiter = _sniff(content, path)
    if header is None:
        header = has_header(rows)
    table = _parse(content, path, delimiter, ".", header=header, width=len(rows[0]))
    if delimiter != "," and _has_decimal_comma(table):
        table = _parse(content, path, delimiter, ",", header=header, width=len(rows[0]))
    if not header:
        return Table(table, named=False, notes=[])
    if _counts_up(rows[0]):
        return Table(table, named=False, notes=["the first row counts the columns and was read as a header"])
    names, notes = [name.strip() for name in table.column_names], []
    for index, column in enumerate(names):
        if not column:
            names[index] = f"column_{index}"
            notes.append(f"column {index + 1} has no name (a saved row index?) and was called column_{index}")
    return Table(table.rename_columns(names), named=True, notes=notes)


def _sniff(content: bytes, path: Path) -> tuple[list[list[str]], str]:
    """The first rows, and the delimiter: the one that splits all of them into the same number of cells."""
    head = content[:_HEAD]
    try:
        text = head.decode("utf-8") if len(content) <= _HEAD else head[: head.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            expected=f"text in UTF-8 in {path}",
            got=f"other bytes, the first at position {error.start}",
            cure="save the file as UTF-8, or give it the suffix of its format",
        ) from None
    if "\0" in text:
        raise DataError(expected=f"text in {path}", got="binary content", cure="give the file the suffix of its format")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(expected=f"rows in {path}", got="blank lines only", cure="check how the file was made")
    try:
        by_delimiter = {delimiter: _first_rows(text, delimiter) for delimiter in DELIMITERS}
    except csv.Error as error:
        raise DataError(expected=f"a table in {path}", got=str(error), cure="check how the file was made") from None
    widths = {delimiter: {len(row) for row in rows} for delimiter, rows in by_delimiter.items()}
    regular = [delimiter for delimiter in DELIMITERS if len(widths[delimiter]) == 1 and max(widths[delimiter]) > 1]
    split = [delimiter for delimiter in DELIMITERS if max(widths[delimiter]) > 1]
    delimiter = (*regular, *split, ",")[0]
    return by_delimiter[delimiter], delimiter


def _first_rows(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return list(itertools.islice((row for row in reader if row), 20)) or [[""]]


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns."""
    first = rows[0]
    filled = [cell for cell in first if cell.strip().lower() not in MISSING]
    if _counts_up(first):
        return len(rows) > 1
    texts = [not _is_number(cell) for cell in filled]
    if all(texts):
        return bool(filled)
    if not any(texts) or len(rows) < 2:
        return False
    over_numbers = (
        not _is_number(above) and _is_number(below) and above.strip().lower() not in MISSING
        for above, below in zip(first, rows[1], strict=False)
    )  # fmt: skip
    return any(over_numbers)


def _counts_up(row: list[str]) -> bool:
    """Whether a row is 0, 1, 2, ..., perhaps after an empty cell."""
    cells = [cell.strip() for cell in (row[1:] if row and not row[0].strip() else row)]
    return len(cells) > 1 and cells == [str(index) for index in range(len(cells))]


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _parse(content: bytes, path: Path, delimiter: str, point: str, *, header: bool, width: int) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv

    if width == 1:
        content = content.rstrip(b"\r\n")

    def parse(block_size: int) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(autogenerate_column_names=not header, block_size=block_size),
            parse_options=csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=b'"' in content,
                ignore_empty_lines=width > 1,  # of a single column, an empty line is a missing value
            ),
            convert_options=csv.ConvertOptions(strings_can_be_null=True, decimal_point=point),
        )

    try:
        table = _first_that_parses(parse, (_BLOCK, min(len(content) + 1, 2**31 - 1)))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DataError(
            expected=f"a table in {path}, every row with the same number of cells",
            got=str(error).splitlines()[0][:200],
            cure="mend that row of the file",
        ) from None
    if table.num_rows == 0:
        raise DataError(expected=f"rows in {path}", got="a header and no rows", cure="check how the file was made")
    return table


def _first_that_parses(parse: "Callable[[int], pa.Table]", block_sizes: tuple[int, int]) -> "pa.Table":
    """Parses by small blocks, or else in one: arrow tells a column's type from the first block alone."""
    import pyarrow as pa

    small, whole = block_sizes
    try:
        return parse(small)
    except pa.ArrowInvalid:
        if whole <= small:
            raise
    return parse(whole)


def _has_decimal_comma(table: "pa.Table") -> bool:
    import pyarrow as pa

    texts = (column for column in table.columns if pa.types.is_string(column.type))
    return any(_DECIMAL_COMMA.fullmatch(next((str(v) for v in column if v.is_valid), "")) for column in texts)
