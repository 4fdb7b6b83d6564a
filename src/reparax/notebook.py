"""Small tables for notebooks, in the style of the report, in light and dark; every text in them is escaped."""

import html
from collections.abc import Sequence

MOST_ROWS = 12
LONGEST = 80
_BOX = "font:0.875rem/1.5 system-ui,sans-serif;max-width:60rem"
_CELL = "text-align:left;padding:.15rem 1rem .15rem 0;border-bottom:1px solid rgba(128,128,128,.3);vertical-align:top"
_NUMBER = _CELL.replace("left", "right") + ";font-variant-numeric:tabular-nums"
_MUTED = "opacity:.7;margin:.3rem 0 0"


def table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, note: str = "", numbers: bool = False
) -> str:
    """A title, a table of at most twelve rows, and a note, as HTML that runs nothing and loads nothing.

    Args:
        title: What is shown.
        header: The names of the columns.
        rows: The cells.
        note: A sentence below the table.
        numbers: Whether all columns but the first one are of numbers.
    """
    shown = rows if len(rows) <= MOST_ROWS + 1 else rows[:MOST_ROWS]
    more = f"and {len(rows) - len(shown):,} more" if len(shown) < len(rows) else ""
    lines = [f'<div style="{_BOX}"><strong>{_text(title)}</strong>']
    if rows:
        head = _row("th", header, numbers=numbers) if any(header) else ""
        body = "".join(_row("td", row, numbers=numbers) for row in shown)
        lines.append(f'<table style="border-collapse:collapse;margin:.3rem 0 0"><tbody>{head}{body}</tbody></table>')
    below = ". ".join(words for words in (more, note) if words)
    if below:
        lines.append(f'<p style="{_MUTED}">{_text(below, len(below))}</p>')
    return "".join([*lines, "</div>"])


def _row(tag: str, cells: Sequence[str], *, numbers: bool) -> str:
    styles = [_NUMBER if numbers and place else _CELL for place in range(len(cells))]
    return (
        "<tr>" + "".join(f'<{tag} style="{s}">{_text(c)}</{tag}>' for s, c in zip(styles, cells, strict=True)) + "</tr>"
    )


def _text(text: str, longest: int = LONGEST) -> str:
    """Text without markup, on one line; dollar signs are escaped too, as notebooks take them for formulas."""
    line = " ".join(str(text).split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}\u2026"
    return html.escape(line).replace("$", "&#36;")
