"""The schema of a table in files, from one pass over its rows."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reparax.data.arrays import Arrays
from reparax.data.columns import (
    EMPTY,
    described_column,
    exclusions,
    notes_on,
    text_reason,
    with_fractions,
    with_levels,
)
from reparax.data.dataset import array_cells
from reparax.data.facts import Facts
from reparax.data.frames import Frame, cells_of, columns_of, examined
from reparax.data.gaps import with_gaps_of
from reparax.data.match import refuse_infinite
from reparax.data.overrides import Overrides
from reparax.data.schema import Schema
from reparax.data.sources.assemble import Told, as_counts, mixed_schema, plain_schema
from reparax.data.sources.tally import Counts, NumberTally, TextTally, with_codes
from reparax.data.text import refuse_misread
from reparax.data.values import Cells, Levels
from reparax.errors import DataError
from reparax.summary import Column

if TYPE_CHECKING:
    import narwhals as nw

MOST_LEVELS = 1 << 16
MOST_LEVELS_IN_ALL = 1 << 22
"""Distinct numbers that are counted, of a column and of all columns."""
FEWEST_LEVELS = 1 << 10
HUGE = "whole numbers beyond 2**53, which are names and not amounts"
NOTHING = Facts("number", "float64", 1.0, Levels(np.zeros(0), np.zeros(0, np.int64)))


class TableAccount:
    """What is counted of the columns of a table, piece by piece.

    Args:
        kept: The names of the columns that are counted.
    """

    def __init__(self, kept: tuple[str, ...]) -> None:
        self._kept = kept
        self._most = max(FEWEST_LEVELS, min(MOST_LEVELS, MOST_LEVELS_IN_ALL // max(1, len(kept))))
        self._tallies: dict[str, NumberTally | TextTally] = {}
        self.rows = 0

    def add(self, loaded: Arrays | Frame, before: int) -> None:
        """Counts the rows of a piece.

        Args:
            loaded: The piece.
            before: The number of rows before it.

        Raises:
            DataError: Infinities, or cells of an unsupported type.
        """
        self.rows += len(loaded.array) if isinstance(loaded, Arrays) else len(loaded.table)
        if isinstance(loaded, Arrays):
            for place, name in enumerate(loaded.columns):
                if name in self._kept:
                    self._add_numbers(name, array_cells(loaded.array[:, place]), before)
            return
        for name, column in columns_of(loaded).items():
            if name not in self._kept:
                continue
            if not (is_text := _is_text(column)) and not _is_declared(column):
                self._add_numbers(name, cells_of(column, name), before)
                continue
            tally = self._tallies.setdefault(name, TextTally(name, declared=not is_text))
            assert isinstance(tally, TextTally)
            tally.add_texts(column.to_polars()) if is_text else tally.add_declared(cells_of(column, name))

    def _add_numbers(self, name: str, cells: Cells, before: int) -> None:
        refuse_infinite(cells, name, before)
        tally = self._tallies.setdefault(name, NumberTally(name, self._most))
        assert isinstance(tally, NumberTally)
        tally.add(cells)

    @property
    def checksum(self) -> str:
        """A checksum of all cells."""
        return " ".join(f"{tally.checksum:x}" for tally in self._tallies.values())

    def described(self, sample: Arrays | Frame, overrides: Overrides) -> tuple[Schema, tuple[str, ...]]:
        """The schema of all rows, and notes.

        Args:
            sample: A uniform sample of the rows.
            overrides: What the user said of columns.

        Raises:
            DataError: Columns are no numbers but look so, cannot be of their kind, or none is left.
        """
        cells = self._sampled(sample)
        told = {name: self._told(name, cells.get(name)) for name in self._tallies}
        excluded = self._excluded(told, cells, overrides)
        kept = {name: each for name, each in told.items() if name not in excluded}
        self._refuse_misread(overrides)
        if not kept:
            raise DataError(
                expected="columns to learn from", got=f"none: {'; '.join(notes_on(excluded, 3))}", cure="check the data"
            )
        kinds, hints = self._kinds(kept, overrides)
        columns = tuple(described_column(name, each.facts, kinds.get(name)) for name, each in kept.items())
        pairs = list(zip(kept.values(), columns, strict=True))
        is_named = sample.named if isinstance(sample, Frame) else sample.names is not None
        names, label = tuple(kept) if is_named else None, sample.label
        if all(_is_plain(each.facts, column) for each, column in pairs):
            schema, notes = plain_schema(pairs, names, label, self.rows)
        else:
            schema, notes = mixed_schema(pairs, names, label, self.rows)
        schema = msgspec.structs.replace(schema, excluded=tuple(excluded.items()))
        values = sample.matched(schema).values
        schema, more = as_counts(schema, pairs, values)
        if schema.value_kind == "mixed":
            columns = with_gaps_of(columns, values, [each.gaps for each in kept.values()])
            schema = msgspec.structs.replace(schema, columns=columns)
        of_columns = [f"column {name!r}: {note}" for name, each in kept.items() for note in each.notes]
        return schema, (*hints, *notes_on(excluded), *of_columns, *notes, *more)

    def without(self, other: "TableAccount", sample: Arrays | Frame, schema: Schema) -> Schema:
        """The schema with the shares, moments and quantiles of the other rows; kinds, ranges and levels stay.

        Args:
            other: The account of some of the rows.
            sample: A sample of the other rows.
            schema: The schema of all rows.
        """
        cells, found = self._sampled(sample), dict[str, Counts]()
        for column in schema.columns or ():
            mine, some = self._tallies[column.name], other._tallies[column.name]
            if isinstance(mine, NumberTally):
                assert isinstance(some, NumberTally)
                found[column.name] = mine.without(some, cells[column.name].present())
            else:
                assert isinstance(some, TextTally)
                found[column.name] = mine.without(some)
        columns = tuple(_refitted(column, found[column.name]) for column in schema.columns or ())
        if schema.value_kind == "mixed":
            moments = [(column.mean, column.std) for column in columns]
        else:
            moments = [each.moments or each.levels.moments() for each in found.values()]
        mean, std = zip(*moments, strict=True)
        rows = self.rows - other.rows
        return msgspec.structs.replace(schema, columns=columns, num_examples=rows, mean=mean, std=std)

    def _sampled(self, sample: Arrays | Frame) -> dict[str, Cells]:
        """The cells of numbers in a sample."""
        names = [name for name, tally in self._tallies.items() if isinstance(tally, NumberTally)]
        if isinstance(sample, Arrays):
            places = {name: place for place, name in enumerate(sample.columns)}
            return {name: array_cells(sample.array[:, places[name]]) for name in names}
        columns = columns_of(sample)
        return {name: cells_of(columns[name], name) for name in names}

    def _told(self, name: str, sample: Cells | None) -> Told:
        tally = self._tallies[name]
        if isinstance(tally, NumberTally):
            values = np.zeros(0) if sample is None else sample.present()
            facts = tally.facts(values) if tally.num_missing < tally.rows and not tally.is_huge else NOTHING
            return Told(facts, tally.lost, tally.gaps, ())
        cells, counts = tally.cells()
        facts = tally.facts(cells, counts) if len(counts) else NOTHING
        exact = cells.present()
        lost = float(np.abs(exact - exact.astype(np.float32)).max(initial=0.0))
        # A text may say that it is missing: the mark is then that of this column alone.
        is_marked = not np.isnan(cells.values).any()
        return Told(facts, lost, tally.gaps if is_marked else name.encode(), cells.notes)

    def _excluded(self, told: Mapping[str, Told], sample: Mapping[str, Cells], overrides: Overrides) -> dict[str, str]:
        reasons = dict[str, str | None]()
        for name, each in told.items():
            tally, stated = self._tallies[name], name in overrides.kinds
            if isinstance(tally, NumberTally) and tally.is_huge:
                reasons[name] = HUGE
            elif each.facts.missing == 1.0:
                reasons[name] = EMPTY
            elif isinstance(tally, NumberTally):
                reasons[name] = None if stated else _number_reason(name, tally, sample[name])
            elif not tally.declared and each.facts.kind == "category" and not stated:
                reasons[name] = text_reason(each.facts.categories, each.facts.levels.counts)
        return {name: reason for name, reason in reasons.items() if reason} | dict(overrides.excluded)

    def _kinds(self, kept: Mapping[str, Told], overrides: Overrides) -> tuple[dict[str, str], list[str]]:
        """The kinds that are known, and hints on columns that may be misread."""
        tallies = {name: tally for name, tally in self._tallies.items() if name in kept and name not in overrides.kinds}
        cells = {
            name: tally.cells()[0]
            for name, tally in tallies.items()
            if isinstance(tally, TextTally) and not tally.declared
        }
        kinds, hints = examined({name: each for name, each in cells.items() if each.is_text})
        return kinds | overrides.kinds, hints

    def _refuse_misread(self, overrides: Overrides) -> None:
        """Refuses columns that look like numbers, but are text.

        Raises:
            DataError: There is one; what is to be left out anyway is not asked.
        """
        for name, tally in self._tallies.items():
            if not isinstance(tally, TextTally) or tally.declared or name in {*overrides.kinds, *overrides.excluded}:
                continue
            cells = tally.cells()[0]
            try:
                if cells.is_text:
                    refuse_misread(name, cells)
            except DataError as error:  # these are distinct texts and not rows
                got = re.sub(r" in row \d+", "", error.got)
                raise DataError(expected=error.expected, got=got, cure=error.cure) from None


def _is_text(column: "nw.Series") -> bool:
    return str(column.dtype) == "String"


def _is_declared(column: "nw.Series") -> bool:
    return str(column.dtype).startswith(("Categorical", "Enum"))


def _is_plain(facts: Facts, column: Column) -> bool:
    """As `reparax.data.dataset.is_plain`."""
    if facts.missing or facts.kind not in {"number", "boolean"}:
        return False
    return not column.is_category or facts.kind == "boolean" or column.categories == (0, 1)


def _number_reason(name: str, tally: NumberTally, sample: Cells) -> str | None:
    """Why a column of numbers is left out, if it is: those of many rows are distinct if those of a sample are."""
    if sample.kind != "number" or tally.num_missing or not tally.is_whole:
        return None
    distinct = len(tally.levels.values) == tally.rows if tally.levels is not None else _are_distinct(sample.values)
    if not distinct:
        return None
    middle = (tally.low + tally.high) / 2
    if tally.high - tally.low == tally.rows - 1 and abs(float(tally.spread.mean) - middle) < 1e-9 * tally.rows:
        return "a count of the rows" if tally.low in {0.0, 1.0} else "a running number of the rows"
    return exclusions({name: sample}).get(name)


def _are_distinct(values: np.ndarray) -> bool:
    return len(np.unique(values)) == len(values)


def _refitted(column: Column, counts: Counts) -> Column:
    """A column with the cells of other rows."""
    levels = counts.levels
    if column.is_category:
        codes = {float(name): code for code, name in enumerate(column.categories) if isinstance(name, int | float)}
        if len(codes) == len(column.categories) and not isinstance(column.categories[0], bool):
            of_code = np.zeros(len(codes), np.int64)
            of_code[[codes[value] for value in levels.values.tolist()]] = levels.counts
        else:
            of_code = with_codes(levels, len(column.categories)).counts
        return with_fractions(column, counts.missing, of_code, int(of_code.sum()))
    column = with_levels(column, counts.missing, levels, dtype=np.dtype(np.float64))
    if counts.moments is None:
        return column
    return msgspec.structs.replace(column, mean=counts.moments[0], std=counts.moments[1])
