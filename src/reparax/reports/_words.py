"""Cells of the user's table in words."""

from reparax.data import cell_text
from reparax.reports._svg import MINUS, number
from reparax.summary import Column


def in_words(column: Column, value: float) -> str:
    """One cell as a reader wants it: measured numbers with four digits, all else as the user would write it."""
    if column.is_category or column.kind == "datetime" or column.step > 0 or value != value:
        text = cell_text(column, value + 0.0)
        return text.replace("-", MINUS, 1) if not column.is_category and text.startswith("-") else text
    return number(value, 4)
