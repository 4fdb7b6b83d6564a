"""Fitting to data that are read in blocks: what is trained on, what is held out, and what is refused."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec import structs

from reparax import registry
from reparax.data import Dataset, Reader, Schema, Stream, related_stream, with_schema
from reparax.errors import RecipeError
from reparax.recipe import Binarize, Recipe, Units
from reparax.tables import is_for_rows
from reparax.training import Streamed


@dataclass(frozen=True)
class StreamedRows(Streamed):
    """The rows of a stream as training stores them; equal if these are.

    Attributes:
        stream: The rows of the fit.
        binarize: Whether intensities become bits.
    """

    stream: Stream
    binarize: Binarize

    @cached_property
    def units(self) -> Units:
        """The conversion of the user's values."""
        return Units.of(self.stream.schema, self.binarize)

    @property
    def num_examples(self) -> int:
        """How many rows there are."""
        return len(self.stream)

    def some(self) -> Any:
        """A row."""
        return self.units.trained_on(self.stream.sample.values[:1])

    @property
    def num_bytes(self) -> int:
        """The memory of the rows that are shuffled at once, and of as many while they are put in order."""
        return self.stream.buffer_bytes

    def opened(self, seed: tuple[int, ...]) -> "_Opened":
        """The rows in an order of a seed."""
        return _Opened(Reader(self.stream, seed), self.units)


@dataclass(frozen=True)
class _Opened:
    """The rows in an order."""

    reader: Reader
    units: Units

    def read(self, epoch: int, start: int, stop: int) -> Any:
        return self.units.trained_on(self.reader.read(epoch, start, stop))


def rows_of_stream(stream: Stream, recipe: Recipe) -> tuple[Stream, Dataset | None]:
    """The rows to fit to, and those that are held out, described by those of the fit.

    Raises:
        RecipeError: The recipe asks for what needs all rows in memory.
    """
    _refuse(recipe)
    part, held_out = (stream, None) if recipe.valid == 0 else stream.split(recipe.valid, recipe.seed)
    require_columns(part.schema, recipe)
    if part.schema.columns is not None and recipe.relations == "found":
        _require_rows(recipe)
        part = part.with_schema(related_stream(part))
    elif part.schema.columns is not None:
        part = part.with_schema(structs.replace(part.schema, relations=(), constraints=()))
    return part, None if held_out is None else with_schema(held_out, part.schema)


def require_columns(schema: Schema, recipe: Recipe) -> None:
    """Refuses relations between columns where there are none.

    Raises:
        RecipeError: The data are not a table, or a table of views.
    """
    if schema.columns is None and recipe.relations != "none":
        kind = "several views" if schema.views else f"data of kind {schema.kind}"
        raise RecipeError(
            expected="a table, to keep relations between its columns",
            got=f"{kind} with relations={recipe.relations}",
            cure="leave --relations out",
        )


def shown_rows(stream: Stream, recipe: Recipe) -> Dataset:
    """The rows to show after a fit: those that were held out, or a sample of all if none were."""
    return stream.sample if recipe.valid == 0 else stream.split(recipe.valid, recipe.seed)[1]


def _require_rows(recipe: Recipe) -> None:
    if not is_for_rows(registry.load("likelihoods", recipe.name("likelihood"))):
        raise RecipeError(
            expected="the columns likelihood to keep relations between columns",
            got=f"the {recipe.name('likelihood')} likelihood with relations={recipe.relations}",
            cure="leave --relations out",
        )


def _refuse(recipe: Recipe) -> None:
    takes_labels = registry.load("objectives", recipe.name("objective")).takes_labels
    asked = {
        "--trim (trim), which orders all rows by how odd they are": recipe.trim > 0,
        "--rows (rows), a part of the rows": recipe.rows > 0,
        f"the objective {recipe.name('objective')}, which takes labels": takes_labels,
    }
    named = [name for name, is_asked in asked.items() if is_asked]
    if named:
        raise RecipeError(
            expected="no settings that need all rows in memory, for data that are read in blocks",
            got="; ".join(named),
            cure="leave them out, or give the data more --memory (memory=)",
        )
