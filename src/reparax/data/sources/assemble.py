"""The schema of a table from what a pass found of its columns, as `reparax.data.dataset` makes it from all rows."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from reparax.data.columns import described_column
from reparax.data.counts import are_counts
from reparax.data.dataset import WIDE, notes_on_mixed
from reparax.data.facts import Facts
from reparax.data.schema import Schema
from reparax.data.values import LARGEST_INTEGER, LOST_DIGITS
from reparax.summary import Column, Kind


class Told(NamedTuple):
    """A column as a pass found it.

    Attributes:
        facts: What is known of its cells.
        lost: The largest rounding error of float32.
        gaps: A mark of the rows in which cells are missing.
        notes: Notes on reading it.
    """

    facts: Facts
    lost: float
    gaps: bytes
    notes: tuple[str, ...]


Pairs = Sequence[tuple[Told, Column]]


def mixed_schema(pairs: Pairs, names: tuple[str, ...] | None, label: str | None, rows: int) -> tuple[Schema, list[str]]:
    """The schema of a table with categories, dates or missing cells, and notes."""
    columns = tuple(column for _, column in pairs)
    wide = [column.name for each, column in pairs if _loses_digits(each, column)]
    schema = Schema(
        kind="table", event_shape=(len(columns),), value_kind="mixed",
        low=tuple(column.low for column in columns), high=tuple(column.high for column in columns),
        mean=tuple(column.mean for column in columns), std=tuple(column.std for column in columns),
        num_examples=rows, dtype="float64" if wide else "float32", names=names, label=label, columns=columns,
    )  # fmt: skip
    return schema, notes_on_mixed(columns, rows, wide)


def plain_schema(pairs: Pairs, names: tuple[str, ...] | None, label: str | None, rows: int) -> tuple[Schema, list[str]]:
    """The schema of a table of numbers, and notes."""
    ends = np.asarray([_ends(each.facts) for each, _ in pairs])
    moments = np.asarray([each.facts.moments() for each, _ in pairs])
    constant = ends[:, 0] == ends[:, 1]
    kind = _kind(ends) if all(each.facts.levels.whole for each, _ in pairs) else "real"
    notes = []
    if same := [repr(column.name) for (_, column), is_same in zip(pairs, constant, strict=True) if is_same]:
        more = f" and {len(same) - 5} more" if len(same) > 5 else ""
        listed = ", ".join(same[:5]) + more
        notes.append(f"constant columns carry no information; their standard deviation is set to 1: {listed}")
    if kind == "real":
        lost = [
            each.lost > LOST_DIGITS * std and not is_same and each.facts.dtype not in {"float16", "float32"}
            for (each, _), std, is_same in zip(pairs, moments[:, 1], constant, strict=True)
        ]
        dtype = "float64" if any(lost) else "float32"
        if any(lost):
            notes.append(WIDE)
    else:
        dtype = "uint8" if kind == "binary" else "int32"
    low, high = ends.astype(dtype).astype(np.float64).T.tolist()
    schema = Schema(
        kind="table", event_shape=(len(pairs),), value_kind=kind, low=tuple(low), high=tuple(high),
        mean=tuple(moments[:, 0].tolist()), std=tuple(np.where(constant, 1.0, moments[:, 1]).tolist()),
        num_examples=rows, dtype=dtype, names=names, label=label, columns=tuple(column for _, column in pairs),
    )  # fmt: skip
    return schema, notes


def as_counts(schema: Schema, pairs: Pairs, sample: np.ndarray) -> tuple[Schema, list[str]]:
    """The schema of a matrix of counts, if a sample of its rows looks like one; else unchanged; and notes."""
    if schema.value_kind != "integer" or not are_counts(sample) or min(np.ravel(schema.low)) < 0:
        return schema, []
    columns = tuple(
        msgspec.structs.replace(described_column(column.name, each.facts, "count"), dtype=column.dtype)
        for each, column in pairs
    )
    note = f"{len(columns)} columns of counts are modeled as such; for other densities choose --likelihood columns"
    return msgspec.structs.replace(schema, value_kind="counts", columns=columns), [note]


def _kind(ends: np.ndarray) -> Kind:
    """The kind of whole numbers; see `reparax.data.values.kind_of`."""
    if ends.min() >= 0 and ends.max() <= 1:
        return "binary"
    return "integer" if np.abs(ends).max() <= LARGEST_INTEGER else "real"


def _ends(facts: Facts) -> tuple[float, float]:
    """The least and the greatest value."""
    seen = facts.levels.values[facts.levels.counts > 0]
    return float(seen[0]), float(seen[-1])


def _loses_digits(told: Told, column: Column) -> bool:
    """As `reparax.data.values.loses_digits`."""
    if column.is_category:
        return False
    return told.lost > LOST_DIGITS * column.std or (column.step > 0 and told.lost > column.step / 4)
