"""The content of a report: sections of a few kinds of blocks, which the template turns into HTML."""

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar, Literal

from jinja2 import Environment
from markupsafe import Markup, escape

Cell = str | Markup


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: What it says.
        tone: How it is set.
    """

    form: ClassVar[str] = "text"
    text: str
    tone: Literal["plain", "small", "warning"] = "plain"


@dataclass(frozen=True)
class Tile:
    """A key number.

    Attributes:
        name: What is measured.
        value: The number.
        words: What it means.
    """

    name: str
    value: str
    words: str


@dataclass(frozen=True)
class Tiles:
    """Key numbers side by side."""

    form: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Sentences:
    """Findings, one below the other: a word for how good each is, what was found, and what to do.

    Attributes:
        items: For each, its class (``"good"``, ``"fair"``, ``"poor"``, ``"unknown"``), the word, the sentence, and what
            to do, which may be empty.
    """

    form: ClassVar[str] = "sentences"
    items: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells, in a box that scrolls.

    Attributes:
        header: The names of its columns.
        rows: Its cells.
        numeric: The indices of right-aligned columns.
    """

    form: ClassVar[str] = "table"
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A picture with a title and a note.

    Attributes:
        picture: The SVG or image.
        title: The text above it.
        note: The text below it.
    """

    picture: Markup
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figures:
    """Pictures side by side, as many in a row as fit.

    Attributes:
        figures: The pictures.
        size: How wide each of them is.
        title: The text above all of them.
    """

    form: ClassVar[str] = "figures"
    figures: tuple[Figure, ...]
    size: Literal["tiny", "small", "medium", "large"] = "medium"
    title: str = ""


@dataclass(frozen=True)
class Beside:
    """Pictures with text beside them, or below them on a narrow screen."""

    form: ClassVar[str] = "beside"
    figures: Figures
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True)
class Row:
    """One row of the data with its anomaly score.

    Attributes:
        title: Its number or name.
        value: Its score.
        parts: Columns, each with its value, its part of the score, and that part as a fraction of the largest one.
        cells: All its cells, by column.
    """

    title: str
    value: str
    parts: tuple[tuple[str, str, str, float], ...]
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Rows:
    """Rows side by side."""

    form: ClassVar[str] = "rows"
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Coloring:
    """One way to color the points of a map.

    Attributes:
        name: What the colors stand for.
        codes: One character for each point: ``0`` to ``9`` from low to high, ``a`` to ``j`` for categories, ``x`` for
            all else.
        legend: The characters and what they stand for.
    """

    name: str
    codes: str
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Map:
    """Points with a choice of colorings; the picture shows the first."""

    form: ClassVar[str] = "map"
    picture: Markup
    colorings: tuple[Coloring, ...]


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    form: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Details:
    """Blocks that the reader can unfold."""

    form: ClassVar[str] = "details"
    summary: str
    blocks: "tuple[Block, ...]"


Block = Text | Tiles | Sentences | Table | Figures | Beside | Rows | Map | Code | Details


@dataclass(frozen=True)
class Section:
    """A section of the report with a heading.

    Attributes:
        name: Its anchor.
        title: Its heading.
        blocks: Its content.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]


_OPTION = re.compile(r"--[a-z][a-z0-9.-]*")


def _with_options(text: str) -> Markup:
    """A text, escaped, whose options of the command line are not broken between two lines."""
    return Markup(_OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text))))


def rendered(title: str, subtitle: str, sections: tuple[Section, ...]) -> str:
    """The report as one HTML text; everything that is not `Markup` is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    folder = files("reparax.reports")
    environment.filters["options"] = _with_options
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    style, script = (
        Markup((folder / name).read_text(encoding="utf-8"))  # trusted: part of this package
        for name in ("style.css", "script.js")
    )
    return template.render(title=title, subtitle=subtitle, sections=sections, style=style, script=script)
