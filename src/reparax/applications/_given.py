"""What is given of examples: from names and values to the numbers that the networks take, and draws of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from reparax.data import Dataset, Schema, cell_text, conditions_as, possible_value
from reparax.errors import DataError
from reparax.recipe import FittedModel

FOR_CONDITIONS = (1 << 31) - 1
"""Folded into the key of a sample to draw what is given, so that the other noise does not depend on what that is."""


def conditions_named(fitted: FittedModel, context: Any, count: int) -> Dataset:
    """What is given, by name.

    Raises:
        DataError: Nothing is named, something is missing or unknown, or did not occur in the fit.
    """
    given = _schema(fitted)
    if context is None:
        listed = ", ".join(repr(column.name) for column in given.columns or ())
        raise DataError(
            expected=f"what is given: {listed}", got="nothing", cure="pass context={'name': value, ...}"
        )  # fmt: skip
    conditions = conditions_as(context, given, count)
    _refuse_beyond(given, conditions.values)
    return conditions


def _refuse_beyond(schema: Schema, values: Float[np.ndarray, "n g"]) -> None:
    """Refuses numbers outside the range of the fit for new examples, which would be mere guesses.

    Raises:
        DataError: There is such a number.
    """
    for column, cells in zip(schema.columns or (), values.T, strict=True):
        low, high = (np.asarray(end, schema.dtype) for end in (column.low, column.high))
        wrong = cells[(cells < low) | (cells > high)]
        if not column.is_category and len(wrong):
            ends = " to ".join(cell_text(column, float(end)) for end in (low, high))
            raise DataError(
                expected=f"a value of {column.name!r} in the range of the fit, {ends}",
                got=cell_text(column, float(wrong[0])),
                cure="choose one in this range, of which the model knows something",
            )


def notes_on_where(fitted: FittedModel, where: Mapping[str, Any]) -> list[str]:
    """A sentence if no row of the fit has the chosen values of given columns together.

    Args:
        fitted: The fitted model.
        where: Values of columns by name, as of `sample`.
    """
    schema = fitted.schema.given
    if schema is None or sum(schema.row_counts) < schema.num_examples:  # not all combinations are kept
        return []
    chosen = _chosen(schema, where)
    rows = np.asarray(schema.rows)
    wanted = np.asarray(list(chosen.values()), schema.dtype).astype(np.float64)
    if len(chosen) < 2 or (rows[:, list(chosen)] == wanted).all(axis=1).any():
        return []
    names = [column.name for column in schema.columns or () if column.name in where]
    said = ", ".join(f"{name}={where[name]}" for name in names)
    return [f"no row of the fit has {said} together, so that the model can only guess"]


def _chosen(schema: Schema, where: Mapping[str, Any]) -> dict[int, float]:
    """The given columns that have a chosen value, by their places, and that value as a cell."""
    columns = enumerate(schema.columns or ())
    return {place: possible_value(column, str(where[column.name])) for place, column in columns if column.name in where}


def _schema(fitted: FittedModel) -> Schema:
    assert fitted.schema.given is not None
    return fitted.schema.given


def given_of(fitted: FittedModel, count: int, key: jax.Array, where: Mapping[str, Any], context: Any) -> Dataset:
    """What is given of new examples: as named, or drawn from the rows of the fit.

    Raises:
        DataError: It is named twice; or as for `conditions_named` and `conditions_where`.
    """
    if context is None:
        conditions, modeled = conditions_where(fitted, where)
        _refuse_where("what is given, with means", modeled)
        return conditions.at(conditions.places(count, key))
    _refuse_where("what is given in the context alone", where)
    return conditions_named(fitted, context, count)


def _refuse_where(expected: str, where: Mapping[str, Any]) -> None:
    if where:
        raise DataError(
            expected=expected, got=f"values of {', '.join(map(repr, where))}", cure="leave these out"
        )  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """What may be given of new examples.

    Attributes:
        schema: The schema of what is given.
        rows: The combinations of values that may be drawn, or the only one.
        weights: The probability of each.
    """

    schema: Schema
    rows: Float[np.ndarray, "r g"]
    weights: Float[np.ndarray, " r"]

    def places(self, count: int, key: jax.Array) -> Int[np.ndarray, " n"]:
        """The places of as many rows, drawn at random."""
        seed = np.asarray(jax.random.key_data(jax.random.fold_in(key, FOR_CONDITIONS))).ravel().tolist()
        return np.random.default_rng(seed).choice(len(self.rows), count, p=self.weights)

    def at(self, places: Int[np.ndarray, " n"]) -> Dataset:
        """The rows at some places."""
        return Dataset(np.ascontiguousarray(self.rows[places], dtype=self.schema.dtype), self.schema)


def conditions_where(fitted: FittedModel, where: Mapping[str, Any]) -> tuple[Conditions, dict[str, Any]]:
    """What may be given where some columns have chosen values, and the rest of the choice, of modeled columns.

    If everything that is given is chosen, that is all; else the rest is drawn from the rows of the fit that have the
    chosen values.

    Args:
        fitted: The fitted model.
        where: Values of columns, given or modeled, by name.

    Raises:
        DataError: A category did not occur in the fit, a value cannot be read, or no row of the fit has the values.
    """
    schema = _schema(fitted)
    columns = schema.columns or ()
    chosen = _chosen(schema, where)
    modeled = {name: value for name, value in where.items() if name not in {column.name for column in columns}}
    if len(chosen) == len(columns):
        only = np.asarray([[chosen[place] for place in range(len(columns))]], schema.dtype)
        _refuse_beyond(schema, only)
        return Conditions(schema, only.astype(np.float64), np.ones(1)), modeled
    rows, counts = np.asarray(schema.rows, np.float64), np.asarray(schema.row_counts, np.float64)
    meet = np.ones(len(rows), bool)
    for place, value in chosen.items():
        meet &= rows[:, place] == np.asarray(value, schema.dtype).astype(np.float64)
    if not meet.any():
        said = ", ".join(f"{columns[place].name}={cell_text(columns[place], value)}" for place, value in chosen.items())
        others = ", ".join(column.name for place, column in enumerate(columns) if place not in chosen)
        raise DataError(
            expected=f"values that a row of the fit has, from which {others} can be drawn",
            got=f"{said}, which none of those that the model keeps has",
            cure=f"choose values of {others} too",
        )
    return Conditions(schema, rows[meet], counts[meet] / counts[meet].sum()), modeled
