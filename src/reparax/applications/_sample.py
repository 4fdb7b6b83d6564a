"""Sampling new examples from the prior and the likelihood."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from reparax.applications._door import contexts_of, in_context, some_of
from reparax.applications._form import by_name, in_form_of_data
from reparax.applications._given import conditions_where, given_of
from reparax.applications._rows import batch_size, batches, require_samples
from reparax.applications._where import SAME_LATENT, by_member, drawn_where, keys_at, members_of
from reparax.compiler import in_float32
from reparax.data import Column, Dataset, FrameKind, cell_text, possible_value
from reparax.errors import DataError, FewDraws, RecipeError
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel, given_numbers

Draw = Callable[[np.ndarray, int], np.ndarray]
"""Draws rows by their indices; for a number of attempts above 0, other ones."""

MOST_ATTEMPTS = 200
"""How often a row that breaks a constraint is drawn again."""


def sample(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    like: FrameKind | None = None,
    context: Any = None,
) -> Any:
    """Examples drawn from p(z) p(x | z), in the user's units; samples, not means or most probable values.

    Rows of a table have the names, data types, categories, rounding and range of the data. Which cells are missing is
    drawn with the rest of the row, from P(gaps | z): `reparax.tables.Gaps`.

    Each example of an ensemble is drawn from a random member.

    Args:
        fitted: The fitted model.
        num_samples: The number of examples.
        key: The random key; the same key gives the same examples.
        where: For tables, the values of some columns in every row: z is then drawn from p(z | those cells, which are
            observed) by importance resampling of draws from the prior. Columns and labels that are given have these
            values exactly; what is given but not named is drawn from the rows of the fit that have the named values.
        context: For a conditional model, one row of numbers for each example, or one row for all. For one of which
            something is given by name, a mapping to one value or one for each example, or a frame.
        like: For tables, the library of the frame; by default an array if the data were an array of plain numbers, else
            that of the frame that was fitted, or polars.

    Returns:
        An array for images and plain numbers, else a data frame, with the given columns in their places. Of several
        views, these by the names of the views.

    Raises:
        RecipeError: The number of samples is below 1, or there is a condition but no table.
        DataError: A condition names an unknown column or category, or is too rare to sample from.

    Warns:
        FewDraws: Few draws from the prior meet the condition, so that rows resemble each other.
    """
    drawn = sample_dataset(fitted, num_samples, key=key, where=where, context=context)
    for note in drawn.notes:
        warnings.warn(note, FewDraws, stacklevel=2)
    return in_form_of_data(replace(drawn, frame_kind=fitted.frame_kind, frame_labels=fitted.frame_labels), like)


def sample_values(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    context: Any = None,
) -> np.ndarray:
    """`sample` as the matrix that `reparax.data.to_frame` takes: codes for categories, NaN for missing cells.

    Of several views, the rows hold all of them, one after the other.
    It holds what is modeled, without the columns that are given: `sample_dataset` has both.
    """
    return sample_dataset(fitted, num_samples, key=key, where=where, context=context).values


def sample_dataset(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Dataset:
    """`sample` as a dataset: the values, what is given, and notes; the arguments are those of `sample`."""
    return next(sample_pieces(fitted, num_samples, key=key, where=where, context=context, rows=num_samples))


def sample_pieces(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    rows: int,
    where: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Iterator[Dataset]:
    """The examples of `sample_dataset`, a few at a time, so that memory need not hold all of them.

    Args:
        fitted: The fitted model.
        num_samples: The number of all examples.
        key: The random key.
        rows: The number of examples of a piece. There is one piece if the schema states that a column has no value
            twice, which depends on all examples.
        where: As of `sample`.
        context: As of `sample`.

    Raises:
        RecipeError: As for `sample`.
        DataError: As for `sample`.
    """
    size = fitted.units.summary.size
    require_samples(num_samples)
    rows = num_samples if fitted.schema.compares_rows else min(rows, num_samples)
    require_samples(rows, size)
    draw, given_at, notes = _drawing(fitted, num_samples, key, where or {}, context)
    for start in range(0, num_samples, rows):
        places = np.arange(start, min(start + rows, num_samples))
        values = _until_held(fitted, draw(places, 0), lambda some, attempt, of=places: draw(of[some], attempt))
        yield Dataset(values, fitted.schema, conditions=given_at(places), notes=notes)


def _drawing(
    fitted: FittedModel, num_samples: int, key: jax.Array, where: Mapping[str, Any], context: Any
) -> tuple[Draw, Callable[[np.ndarray], Dataset | None], tuple[str, ...]]:
    """What draws examples by their indices, what is given of these once they are drawn, and notes for the user."""
    where = {str(name): value for name, value in where.items()}
    if fitted.schema.given is None:
        if not where:
            return _drawn(fitted, num_samples, key, contexts_of(fitted, context, num_samples)), lambda places: None, ()
        _refuse_both(fitted)
        met = drawn_where(fitted, num_samples, _conditions(fitted, where), key)
        return met.draw, lambda places: None, met.notes
    if context is None and (conditioned := conditions_where(fitted, where))[1]:
        # What is given and not chosen is resampled along with z: it is drawn from p(given, z | cells).
        conditions, modeled = conditioned
        met = drawn_where(fitted, num_samples, _conditions(fitted, modeled), key, conditions)
        return met.draw, lambda places: conditions.at(met.used[places]), met.notes
    given = given_of(fitted, num_samples, key, where, context)
    return _drawn(fitted, num_samples, key, given_numbers(given.schema, given.values)), given.take, ()


def sample_means(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Any:
    """E[x | z] for z drawn from the prior, in the user's units: smoother than the output of `sample`, but not samples.

    No cell of a table is missing. Of several views, the means of each by its name.

    Args:
        fitted: The fitted model.
        num_samples: The number of examples.
        key: The random key.
        where: Values of what is given, by name, as of `sample`.
        context: As of `sample`.

    Raises:
        RecipeError: The number of samples is below 1.
    """
    return by_name(means_dataset(fitted, num_samples, key=key, where=where, context=context))


def means_dataset(
    fitted: FittedModel,
    num_samples: int,
    *,
    key: jax.Array,
    where: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Dataset:
    """`sample_means` as a dataset: the values, and what is given of each example."""
    require_samples(num_samples, fitted.units.summary.size)
    given = None
    if fitted.schema.given is not None:
        named = {str(name): value for name, value in (where or {}).items()}
        given = given_of(fitted, num_samples, key, named, context)
        contexts = given_numbers(given.schema, given.values)
    else:
        if where:
            raise RecipeError(
                expected="means without a condition, or with one on what is given",
                got="a condition on modeled columns", cure="leave where out, or leave means out",
            )  # fmt: skip
        contexts = contexts_of(fitted, context, num_samples)

    def of_member(model: Model, rows: np.ndarray) -> np.ndarray:
        return np.concatenate([
            np.asarray(_expected(model, keys_at(key, rows[some], size), some_of(contexts, rows[some])))[:kept]
            for _, some, kept in batches(len(rows), size)
        ])  # fmt: skip

    size = batch_size(fitted)
    means = by_member(fitted, members_of(fitted, num_samples, key), np.arange(num_samples), of_member)
    return Dataset(fitted.units.restored(means), fitted.schema, conditions=given)


def _refuse_both(fitted: FittedModel) -> None:
    if context_size(fitted.model):
        raise RecipeError(
            expected="either a condition on columns or a context",
            got="a condition on columns of a conditional model",
            cure="leave where out, and pass the context",
        )


def _conditions(fitted: FittedModel, where: Mapping[str, Any]) -> dict[int, float]:
    """The columns of a condition, by index, and the values of their cells in the matrix."""
    columns = fitted.schema.columns
    if columns is None and fitted.schema.given is not None:
        known = ", ".join(column.name for column in fitted.schema.given_columns)
        raise DataError(
            expected=f"a condition on what is given: {known}", got=", ".join(map(repr, where)), cure="name one of these"
        )
    if fitted.schema.views:
        raise RecipeError(
            expected="no condition on columns for a model of several views", got=", ".join(map(repr, where)),
            cure="give the known views: reparax impute MODEL --view NAME=FILE; rx.impute(fitted, rx.Views({...}))",
        )  # fmt: skip
    if columns is None:
        raise RecipeError(
            expected="a table for a condition", got=f"a model of {fitted.schema.kind}", cure="leave the condition out"
        )
    places = {column.name: index for index, column in enumerate(columns)}
    unknown = [name for name in where if name not in places]
    if unknown:
        known = [column.name for column in fitted.schema.joint.columns or ()]
        raise DataError(
            expected=f"columns of the data: {', '.join(known[:12])}",
            got=", ".join(map(repr, unknown)),
            cure="name a column that the model was fitted on",
        )
    cells = {places[name]: possible_value(columns[places[name]], str(value)) for name, value in where.items()}
    _refuse_contradictory(fitted, cells)
    return cells


def _refuse_contradictory(fitted: FittedModel, cells: Mapping[int, float]) -> None:
    """Refuses values of a child and of all its parents that are not as their relation says.

    Raises:
        DataError: The values contradict each other.
    """
    columns, extension = fitted.schema.columns or (), fitted.schema.extension
    row = np.full((1, len(columns)), np.nan)
    row[0, list(cells)] = list(cells.values())
    left = extension.remainders(row)[0]
    for relation, held, y in zip(extension.relations, extension.holds(row)[0], left, strict=True):
        # What was found may have exceptions in the data: these have occurred.
        if not held and (relation.stated or not _has_occurred(relation.remainder, y)):
            places = (extension.places[relation.child], *extension.parents(relation))
            raise DataError(
                expected=f"values that can occur together: {relation}",
                got=", ".join(f"{columns[place].name}={cell_text(columns[place], row[0, place])}" for place in places),
                cure=f"leave one of {', '.join(columns[place].name for place in places)} out, which then follows",
            )


def _has_occurred(column: Column, value: float) -> bool:
    """Whether a value is a category, or in the range, of the fit."""
    if column.is_category:
        return value in column.categories
    return column.low <= value <= column.high


def _until_held(fitted: FittedModel, rows: np.ndarray, draw_again: Draw) -> np.ndarray:
    """Rows in which the constraints of the schema hold: those that break one are drawn again.

    Args:
        fitted: The fitted model.
        rows: Rows in the user's units.
        draw_again: Gives other rows in place of some, by their indices and the number of the attempt.

    Raises:
        DataError: Constraints that the user stated cannot be met.
    """
    schema = fitted.schema
    if not (schema.constraints or schema.relations):
        return rows
    broken = np.flatnonzero(~schema.holds(rows))
    for attempt in range(1, MOST_ATTEMPTS + 1):
        if not len(broken):
            return rows
        rows[broken] = draw_again(broken, attempt)
        asked = np.arange(len(rows)) if schema.compares_rows else broken
        broken = asked[~schema.holds(rows[asked])]
    broken = np.flatnonzero(~schema.stated().holds(rows))
    if len(broken):
        raise DataError(
            expected=f"rows that meet what the schema states, within {MOST_ATTEMPTS} attempts each",
            got=f"{len(broken)} of {len(rows)} that do not",
            cure="ask for fewer rows or another condition, or state less",
        )
    return rows


def _drawn(fitted: FittedModel, num_samples: int, key: jax.Array, contexts: np.ndarray | None) -> Draw:
    """Draws rows by their indices; in later attempts with other noise for x, and after some with another z too."""
    size, member = batch_size(fitted), members_of(fitted, num_samples, key)

    def draw(places: np.ndarray, attempt: int) -> np.ndarray:
        def of_member(model: Model, rows: np.ndarray) -> np.ndarray:
            of_rows = keys_at(key, rows, size)
            pieces = [
                np.asarray(_batch(model, of_rows[some], jnp.int32(attempt), some_of(contexts, rows[some])))[:kept]
                for _, some, kept in batches(len(rows), size)
            ]
            return np.concatenate(pieces)

        return fitted.units.restored(by_member(fitted, member, places, of_member))

    return draw


@eqx.filter_jit
@in_float32
def _batch(model: Model, keys: Array, attempt: Array, contexts: Array | None) -> Array:
    """Draws from the model; those of the first attempt are those of `Model.sample`."""

    def one(key: Array, context: Array | None) -> Array:
        plain = in_context(model, context)
        for_z, for_x = jax.random.split(key)
        z = plain.prior(plain.posterior).sample(_other_if(attempt > SAME_LATENT, for_z, attempt))
        return plain.likelihood(z).sample(_other_if(attempt > 0, for_x, attempt))

    return jax.vmap(one)(keys, contexts)


def _other_if(condition: Array, key: Array, attempt: Array) -> Array:
    """The key, or that of an attempt."""
    other = jax.random.key_data(jax.random.fold_in(key, attempt))
    return jax.random.wrap_key_data(
        jnp.where(condition, other, jax.random.key_data(key)), impl=jax.random.key_impl(key)
    )


@eqx.filter_jit
@in_float32
def _expected(model: Model, keys: Array, contexts: Array | None) -> Array:
    """E[x | z] for draws of z from the prior."""

    def one(key: Array, context: Array | None) -> Array:
        plain = in_context(model, context)
        return plain.expected(plain.prior(plain.posterior).sample(key))

    return jax.vmap(one)(keys, contexts)
