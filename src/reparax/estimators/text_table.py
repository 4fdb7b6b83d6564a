"""Plain tables for the terminal."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text under a header, columns aligned: numbers to the right, text to the left."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def _is_number(cell: str) -> bool:
    return (bool(cell) and (cell[0].isdigit() or cell[0] in "-+")) or cell in {"", "nan", "inf"}


def short(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:.3g}"
