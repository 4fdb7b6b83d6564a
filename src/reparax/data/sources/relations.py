"""Relations between the columns of a stream: found in its sample, and then verified in all rows of the fit."""

from collections.abc import Iterator

import msgspec
import numpy as np

from reparax.data.constraints import held
from reparax.data.find import HOLDING
from reparax.data.related import related
from reparax.data.relations import Extension, Relation
from reparax.data.schema import Schema
from reparax.data.sources.stream import Stream
from reparax.summary import Column


def related_stream(stream: Stream) -> Schema:
    """The schema with the relations and constraints that hold in the rows of a fit.

    They are looked for in the sample. One more pass over all rows that are not held out then drops the relations that
    hold in less than 99 % of them and the constraints that one of them breaks, and widens the range of what a relation
    leaves; its quantiles are those of the sample.

    Args:
        stream: The rows of the fit.
    """
    found = related(stream.sample.schema, stream.sample.values, find=True)
    if stream.account is None or not (found.relations or found.constraints):
        return found
    columns = found.columns or ()
    extension = Extension.of(columns, found.relations)
    kept = np.zeros(len(extension.relations), np.int64)
    present = np.zeros(len(kept), np.int64)
    low, high = np.full(len(kept), np.inf), np.full(len(kept), -np.inf)
    unbroken = np.ones(len(found.constraints), bool)
    for rows, values in _fitted_rows(stream):
        unbroken &= held(found.constraints, columns, values[rows]).all(axis=0)
        left = extension.remainders(values[rows])
        known = ~np.isnan(left)
        present += known.sum(axis=0)
        low = np.minimum(low, np.where(known, left, np.inf).min(axis=0, initial=np.inf))
        high = np.maximum(high, np.where(known, left, -np.inf).max(axis=0, initial=-np.inf))
        for place, relation in enumerate(extension.relations):
            kept[place] += _holds(relation, left[:, place]).sum()
    places = [place for place in range(len(kept)) if kept[place] >= HOLDING * max(1, present[place])]
    relations = tuple(_widened(extension.relations[place], low[place], high[place]) for place in places)
    constraints = tuple(each for each, holds in zip(found.constraints, unbroken, strict=True) if holds)
    return msgspec.structs.replace(found, relations=relations, constraints=constraints)


def _fitted_rows(stream: Stream) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of each piece that are not held out, as a mask, and the values of the piece."""
    before = 0
    for piece in stream.pieces():
        numbers = np.arange(before, before + len(piece))
        before += len(piece)
        yield ~np.isin(numbers, stream.held_out), piece.values


def _holds(relation: Relation, left: np.ndarray) -> np.ndarray:
    """In which rows a relation holds; those that have none of it count as none."""
    if relation.rule == "after":
        return left >= 0
    if relation.rule == "before":
        return left <= 0
    return left == 0 if relation.rule == "exact" else ~np.isnan(left)


def _widened(relation: Relation, low: float, high: float) -> Relation:
    """The relation with the range of what it leaves in all rows; codes have theirs already."""
    column = relation.remainder
    if column.is_category:
        return relation
    return msgspec.structs.replace(relation, remainder=_with_range(column, float(low), float(high)))


def _with_range(column: Column, low: float, high: float) -> Column:
    ends = (low, *column.quantiles[1:-1], high) if column.quantiles else ()
    return msgspec.structs.replace(column, low=low, high=high, quantiles=ends)
