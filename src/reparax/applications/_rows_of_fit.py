"""The rows of a fit: trimmed, drawn, described and related as a recipe says, and those that are held out."""

from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from reparax import registry
from reparax.applications._stream import require_columns, rows_of_stream
from reparax.data import (
    Dataset,
    Stream,
    described,
    described_rows,
    marginal_oddity,
    related,
    split,
    with_classes,
    with_schema,
)
from reparax.errors import RecipeError
from reparax.recipe import Recipe, choice, given_numbers, name_of
from reparax.tables import is_for_rows


class RowsOfFit(NamedTuple):
    """The rows of a fit.

    Attributes:
        part: The rows to fit to.
        held_out: Those that are held out, if any; described by those of the fit.
        known: The held-out rows, or all if none are, before they are trimmed or drawn: the fit is recognized by them.
            Which rows are trimmed depends on scales that a fitted model no longer has.
    """

    part: Dataset | Stream
    held_out: Dataset | None
    known: Dataset


def rows_of(dataset: Dataset | Stream, recipe: Recipe) -> RowsOfFit:
    """The rows of a fit.

    They depend on `row_settings` of the recipe alone.

    Raises:
        DataError: The objective takes labels, and there are none.
        RecipeError: The data are a stream, and the recipe asks for what needs all rows in memory.
    """
    if isinstance(dataset, Stream):
        stream, rest = rows_of_stream(dataset, recipe)
        return RowsOfFit(stream, rest, stream.sample if rest is None else rest)
    dataset = classified(dataset, recipe.objective)
    part, held_out = (dataset, None) if recipe.valid == 0 else split(dataset, recipe.valid, recipe.seed)
    known = dataset if held_out is None else held_out
    if recipe.trim:
        part, held_out = trimmed(part, recipe.trim), None if held_out is None else trimmed(held_out, recipe.trim)
        # The scales and shares of all rows would be those of the anomalies too.
        schema = msgspec.structs.replace(described(part), num_examples=part.schema.num_examples)
        part, held_out = with_schema(part, schema), None if held_out is None else with_schema(held_out, schema)
    return RowsOfFit(*with_given_numbers(drawn_rows(related_rows(part, recipe), recipe), held_out), known)


def row_settings(recipe: Recipe) -> tuple[Any, ...]:
    """The fields of a recipe on which `rows_of` depends."""
    parts = recipe.name("likelihood"), recipe.name("objective")
    return recipe.valid, recipe.seed, recipe.trim, recipe.rows, recipe.relations, *parts


def classified(dataset: Dataset, objective: Any) -> Dataset:
    """The data with their labels as classes, if the objective takes labels.

    Raises:
        DataError: It does, but there are none.
    """
    takes = registry.load("objectives", name_of(choice("objective", "elbo" if objective is None else objective)))
    return with_classes(dataset) if takes.takes_labels and dataset.classes is None else dataset


def trimmed(dataset: Dataset, fraction: float) -> Dataset:
    """The rows without the fraction with the most anomalous single columns, in their order; the schema is unchanged.

    Raises:
        RecipeError: The data are not a table.
    """
    if fraction == 0:
        return dataset
    columns = dataset.schema.columns
    if columns is None:
        raise RecipeError(
            expected="a table to trim", got=f"data of kind {dataset.schema.kind}", cure="leave --trim out"
        )
    oddity = marginal_oddity(dataset.values.astype(np.float64), columns)
    kept = np.argsort(oddity, kind="stable")[: max(1, round(len(dataset) * (1 - fraction)))]
    return dataset.take(np.sort(kept))


def related_rows(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The data with the relations between their columns that the recipe asks for in their schema.

    Raises:
        RecipeError: Relations are asked for, but the data are not modeled column by column.
    """
    require_columns(dataset.schema, recipe)
    if dataset.schema.columns is None:
        return dataset
    if recipe.relations == "none":
        return replace(dataset, schema=msgspec.structs.replace(dataset.schema, relations=(), constraints=()))
    if not is_for_rows(registry.load("likelihoods", recipe.name("likelihood"))):
        raise RecipeError(
            expected="the columns likelihood to keep relations between columns",
            got=f"the {recipe.name('likelihood')} likelihood with relations={recipe.relations}",
            cure="leave --relations out",
        )
    return replace(dataset, schema=related(dataset.schema, dataset.values, find=recipe.relations == "found"))


def with_given_numbers(part: Dataset, held_out: Dataset | None) -> tuple[Dataset, Dataset | None]:
    """The rows of the fit, and those held out, with what is given of them as numbers, described by those of the fit."""
    if part.conditions is None:
        return part, held_out
    given = described_rows(part.conditions).schema

    def with_numbers(dataset: Dataset) -> Dataset:
        assert dataset.conditions is not None
        described = with_schema(dataset, msgspec.structs.replace(dataset.schema, given=given))
        return replace(described, context=given_numbers(given, dataset.conditions.values))

    return with_numbers(part), None if held_out is None else with_numbers(held_out)


def drawn_rows(dataset: Dataset, recipe: Recipe) -> Dataset:
    """At most as many rows as the recipe says, drawn at random, in their order; the schema is unchanged."""
    if not 0 < recipe.rows < len(dataset):
        return dataset
    order = np.random.default_rng(recipe.seed).permutation(len(dataset))
    return dataset.take(np.sort(order[: recipe.rows]))
