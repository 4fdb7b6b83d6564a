"""The columns of a table in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reparax.data import Schema

MOST_COLUMNS = 30


def columns_text(schema: "Schema") -> list[str]:
    """The columns of a table, one in a line: name, kind, missing share, values; none for images and arrays."""
    from reparax.data import column_lines

    lines = column_lines(schema)
    shown = lines[:MOST_COLUMNS]
    if not shown:
        return []
    widths = [max(len(getattr(line, field)) for line in shown) for field in ("name", "kind", "missing")]
    text = [
        f"  {line.name:{widths[0]}}  {line.kind:{widths[1]}}  {line.missing:>{widths[2]}}  {line.values}".rstrip()
        for line in shown
    ]
    return text + ([f"  and {len(lines) - len(shown)} more"] if len(lines) > len(shown) else [])
