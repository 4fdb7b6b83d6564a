"""Columns that say nothing a model could use: names of rows, free text, empty columns."""

import re
from collections.abc import Mapping

import numpy as np

from reparax.data._cells import Cells
from reparax.data._levels import LARGEST_EXACT

MOST_ALONE = 0.5  # texts that are in one row alone say nothing of others
FEWEST_TEXTS = 50
FEWEST_ROWS = 20
FEWEST_NAMED = 10  # where the column's name says that it names the rows
WORDS = 4.0
_NAME = re.compile(
    r"(.*[ _.-])?(id|idx|index|key|uuid|guid|rowid|rownum|rownumber|row[ _.-]?(num|number)?)|id[ _.-].*|unnamed: \d+",
    re.IGNORECASE,
)
_CAMEL = re.compile(r".*[a-z](Id|ID)")
CHOSEN = "as asked"
EMPTY = "every cell is missing"


def exclusions(columns: Mapping[str, Cells]) -> dict[str, str]:
    """The columns that are left out, and why.

    Left out are text that is in one row alone in most rows, or long (names, addresses, comments), and whole numbers
    that count the rows or are called id, all of them different.
    """
    reasons = {name: _reason(name, cells) for name, cells in columns.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _reason(name: str, cells: Cells) -> str | None:
    present = len(cells.values) - cells.num_missing
    if cells.kind == "category" and cells.is_text:
        return _text_reason(cells, present)
    if cells.kind != "number" or cells.num_missing or present < FEWEST_NAMED:
        return None
    return _number_reason(name, cells.values)


def _text_reason(cells: Cells, present: int) -> str | None:
    counts = np.bincount(cells.present().astype(np.int64), minlength=1)
    alone = int((counts == 1).sum()) / max(1, present)
    if present > FEWEST_TEXTS and alone > MOST_ALONE:
        return "an identifier or free text: most rows have a text that no other has"
    if present >= FEWEST_ROWS and alone == 1:
        return "an identifier: every row has a text of its own"
    texts = [str(category) for category in cells.categories[:1000]]
    long = sum(len(text.split()) for text in texts) > WORDS * len(texts)
    return "free text" if long and len(cells.categories) >= MOST_ALONE * present else None


def _number_reason(name: str, values: np.ndarray) -> str | None:
    low, high = float(values.min()), float(values.max())
    counts = low in {0.0, 1.0} and high - low == len(values) - 1 and len(values) >= FEWEST_ROWS
    huge = values.dtype.kind in "iu" and max(-low, high) > LARGEST_EXACT
    named = _NAME.fullmatch(name) is not None or _CAMEL.fullmatch(name) is not None
    if not (counts or huge or named) or (values != np.rint(values)).any() or len(np.unique(values)) < len(values):
        return None
    if counts:
        return "a count of the rows"
    return "an identifier: whole numbers, each in one row" + (" and too large for a real number" if huge else "")


def too_large(cells: Cells) -> bool:
    """Whether the cells are whole numbers that real numbers cannot tell apart."""
    if cells.kind != "number" or cells.values.dtype.kind not in "iu":
        return False
    return max(-float(cells.values.min()), float(cells.values.max())) > LARGEST_EXACT


def notes_on(excluded: Mapping[str, str], most: int = 10) -> list[str]:
    """A sentence on each column that was left out; on many, one on those beyond the first."""
    names = list(excluded)
    notes = [f"column {name!r} was left out: {excluded[name]}" for name in names[:most]]
    if len(names) > most:
        listed = ", ".join(map(repr, names[most : most + 20])) + (", ..." if len(names) > most + 20 else "")
        notes.append(f"{len(names) - most} more columns were left out: {listed}")
    return notes
