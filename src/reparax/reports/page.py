"""What a page is made of: sections of a few kinds of blocks. The template knows how each of them looks."""

from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar, Literal

from jinja2 import Environment
from markupsafe import Markup

Cell = str | Markup


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: What it says.
        tone: Whether it is said plainly, small beside a picture, or as a warning.
    """

    form: ClassVar[str] = "text"
    text: str
    tone: Literal["plain", "small", "good", "warning"] = "plain"


@dataclass(frozen=True)
class Tile:
    """A number that a reader sees first.

    Attributes:
        name: What it is of.
        value: The number.
        words: What it means.
    """

    name: str
    value: str
    words: str


@dataclass(frozen=True)
class Tiles:
    """Numbers beside each other."""

    form: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells, in a box of their own that scrolls.

    Attributes:
        header: The names of its columns.
        rows: Its cells.
        numeric: The columns that are set flush right.
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
        title: Above it.
        note: Below it.
    """

    picture: Markup
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figures:
    """Pictures beside each other, as many to a line as there is room for.

    Attributes:
        figures: The pictures.
        size: How wide each of them is.
        title: Above them all.
    """

    form: ClassVar[str] = "figures"
    figures: tuple[Figure, ...]
    size: Literal["tiny", "small", "medium", "large"] = "medium"
    title: str = ""


@dataclass(frozen=True)
class Beside:
    """Pictures, and beside them, where there is room, what is to be said of them."""

    form: ClassVar[str] = "beside"
    figures: Figures
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True)
class Row:
    """One row of the data that is worth a look.

    Attributes:
        title: Its number.
        value: Its score.
        parts: Columns with their values, shares, and shares as a part of the largest.
        cells: All its cells, by column.
    """

    title: str
    value: str
    parts: tuple[tuple[str, str, str, float], ...]
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Rows:
    """Rows beside each other."""

    form: ClassVar[str] = "rows"
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Coloring:
    """How the points of a map may be colored.

    Attributes:
        name: What the colors stand for.
        codes: One character for each point: ``0`` to ``9`` from low to high, ``a`` to ``j`` categories, ``x`` none.
        legend: The characters and what they stand for.
    """

    name: str
    codes: str
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Map:
    """Points with colorings to choose from; the picture shows the first."""

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
    """Blocks that open when asked for."""

    form: ClassVar[str] = "details"
    summary: str
    blocks: "tuple[Block, ...]"


Block = Text | Tiles | Table | Figures | Beside | Rows | Map | Code | Details


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Attributes:
        name: Its anchor.
        title: Its heading.
        blocks: What it holds.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]


def rendered(title: str, subtitle: str, sections: tuple[Section, ...]) -> str:
    """The page as HTML, all of it in one text; whatever is no `Markup` is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    folder = files("reparax.reports")
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    style, script = (
        Markup((folder / name).read_text(encoding="utf-8"))  # our own files
        for name in ("style.css", "script.js")
    )
    return template.render(title=title, subtitle=subtitle, sections=sections, style=style, script=script)
