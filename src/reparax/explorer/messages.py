"""What a page may ask: one type for each operation, checked when a message is read."""

from typing import Annotated, get_args

import msgspec
from msgspec import Meta

from reparax.errors import DataError

Index = Annotated[int, Meta(ge=0)]
Code = Annotated[list[float], Meta(min_length=1)]
Steps = Annotated[int, Meta(ge=2, le=64)]
Seed = Annotated[int, Meta(ge=0, lt=2**31)]
Point = Index | Code
"""A row by its number, or a latent vector."""
Given = dict[str, str] | None
"""What is given of an example, by name, in a model of which something is."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag=str.lower):
    """A message.

    Attributes:
        id: Its number, which the answer repeats.
    """

    id: int


class Describe(Message, frozen=True):
    """What the model and the data are, and what may be asked."""


class Map(Message, frozen=True):
    """Where the rows are on the map."""


class Color(Message, frozen=True):
    """A number or a category of each row on the map.

    Attributes:
        by: The ``id`` of one of the colors of `Describe`.
    """

    by: str


class Row(Message, frozen=True):
    """One row.

    Attributes:
        index: Its number, from 0 on.
    """

    index: Index


class Decode(Message, frozen=True):
    """What the model makes of a latent vector.

    Attributes:
        z: The vector.
        given: What is given.
    """

    z: Code
    given: Given = None


class Place(Message, frozen=True):
    """The latent vector at a point of the map.

    Attributes:
        position: The point.
        z: The current vector, from which everything is kept that the map does not show.
    """

    position: tuple[float, float]
    z: Code | None = None


class Strip(Message, frozen=True):
    """What the model makes of vectors that differ in one dimension.

    Attributes:
        z: The vector.
        dim: The dimension that varies over its range.
        steps: How many vectors.
        given: What is given.
    """

    z: Code
    dim: Index
    steps: Steps = 9
    given: Given = None


class Path(Message, frozen=True):
    """What the model makes of points between two others.

    Attributes:
        start: Where the path begins.
        end: Where it ends.
        steps: How many points, both ends included.
        given: What is given.
    """

    start: Point = msgspec.field(name="from")
    end: Point = msgspec.field(name="to")
    steps: Steps = 9
    given: Given = None


class Nearest(Message, frozen=True):
    """The rows whose codes are nearest to a point.

    Attributes:
        index: A row, which is not among them.
        z: A latent vector instead.
        k: How many rows.
    """

    index: Index | None = None
    z: Code | None = None
    k: Annotated[int, Meta(ge=1, le=100)] = 8


class Explain(Message, frozen=True):
    """What makes a row anomalous.

    Attributes:
        index: The row.
    """

    index: Index


class WhatIf(Message, frozen=True, tag="whatif"):
    """A row with other cells: its score, its code, and the distribution of each cell given the others.

    Attributes:
        cells: The cells that differ, by column, as a person writes them; None for a missing one.
        index: The row that the others come from; by default all others are missing.
    """

    cells: dict[str, str | None] = {}
    index: Index | None = None


class Sample(Message, frozen=True):
    """Examples drawn from the model.

    Attributes:
        n: How many.
        where: Conditions such as ``sex=F``.
        seed: The seed.
        means: Whether to give E[x | z] instead of draws of x.
    """

    n: Annotated[int, Meta(ge=1, le=256)] = 16
    where: Annotated[list[str], Meta(max_length=64)] = []
    seed: Seed = 0
    means: bool = False


class Blind(Message, frozen=True):
    """Real and drawn examples in mixed order.

    Attributes:
        seed: The seed of the choice.
        num: How many.
    """

    seed: Seed = 0
    num: Annotated[int, Meta(ge=2, le=40)] = 10


class Reveal(Message, frozen=True, tag="answer"):
    """What the user thinks of the examples of a game.

    Attributes:
        game: The name of the game.
        answers: Which examples are taken for real.
    """

    game: str
    answers: Annotated[list[bool], Meta(max_length=64)]


class Export(Message, frozen=True):
    """Some rows as a file.

    Attributes:
        rows: Their numbers, from 0 on.
    """

    rows: Annotated[list[Index], Meta(min_length=1)]


Any = (
    Describe | Map | Color | Row | Decode | Place | Strip | Path | Nearest | Explain | WhatIf | Sample | Blind | Reveal
    | Export
)  # fmt: skip

KINDS: tuple[type[Message], ...] = get_args(Any)
LOOKS = (Describe, Color, Row)
"""Messages that need no compiled program, and do not wait for the compiler."""
SLOW = (Map, Sample, Blind, Reveal, Export)
"""Messages whose answers may take long, and that others do not wait for."""


class _Numbered(msgspec.Struct):
    """The part of a message by which an error is answered."""

    id: int


def message_of(text: str) -> Any:
    """A message, from its JSON.

    Raises:
        DataError: It is none.
    """
    try:
        return msgspec.json.decode(text, type=Any)
    except (msgspec.DecodeError, RecursionError) as error:  # also for what is not valid by the types
        raise DataError(
            expected="a message with an op and its fields", got=str(error), cure="see docs/explore.md"
        ) from None


def number_of(text: str) -> int | None:
    """The number of a message that may be wrong in other respects; None if it has none."""
    try:
        return msgspec.json.decode(text, type=_Numbered).id
    except (msgspec.DecodeError, RecursionError):
        return None
