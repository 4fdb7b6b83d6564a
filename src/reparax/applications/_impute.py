"""Imputation: the missing cells of a table given the observed ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from reparax.applications._donors import donors_of
from reparax.applications._door import dataset_of
from reparax.applications._duplicates import from_duplicates
from reparax.applications._form import drawn_views, filled_views
from reparax.applications._impute_solved import (
    drawn_rows,
    expected_rows,
    open_relations,
    rows_that_may_hold,
    rows_to_solve,
)
from reparax.applications._left import RowsLeft
from reparax.applications._mixture import over_members
from reparax.applications._rows import importance_samples, map_with_samples, require_samples
from reparax.data import Column, Dataset, fill, rounded, unrounded
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.tables import Donors, adapter_of

Missing = Literal["at-random", "not-at-random"]
"""What is assumed of the cells that are missing; see `impute`."""
Duplicates = Literal["use", "ignore"]
"""What is done with rows that occur more than once; see `impute`."""
Neighbors = Literal["use", "ignore"]
"""What is done with rows that resemble each other; see `impute`."""
Impossible = Literal["refuse", "leave"] | Callable[[RowsLeft], None]
"""What is done with rows whose missing cells have no values that agree with the known ones; see `impute`."""
FOR_MEMBER, FOR_NEIGHBORS = 3, 5
"""Folded into the key of a row to choose members of an ensemble, and neighbors; the other numbers are those of its
draws."""


def impute(
    fitted: FittedModel,
    data: Any,
    *,
    num_samples: int = 400,
    seed: int = 0,
    context: Any = None,
    missing: Missing = "at-random",
    duplicates: Duplicates = "use",
    neighbors: Neighbors = "use",
    impossible: Impossible = "refuse",
    at_once: int | None = None,
) -> Any:
    """The table with its missing cells filled by E[x_j | observed cells], or by the most probable category.

    The expectation is over p(z | observed), by self-normalized importance sampling from the posterior q(z | observed):
    Mattei & Frellsen (2019), "MIWAE", equation 13. Observed cells are not changed. Expectations of columns of real
    numbers are not rounded, those of whole numbers and dates are; `impute_draws` gives values as they are in the data.

    That a cell is missing can itself say something of the missing cells. ``missing="at-random"`` ignores it: the weight
    of z is p(z) p(observed cells | z) / q(z | observed cells, gaps). It is right if, given the observed cells, a gap
    does not depend on the missing ones. ``missing="not-at-random"`` uses it, and multiplies the weight by P(gaps | z).
    It is right if gaps and cells are independent given z, and if cells go missing as they did in the fit: a gap may
    depend on the missing cells as far as z determines both. Which of the two holds cannot be seen from the data.
    Ipsen, Mattei & Frellsen (2021), "not-MIWAE".

    Of several views, missing ones are filled, and missing cells of tables, given those that an example has: the view
    ``protein`` given ``rna`` is ``rx.impute(fitted, rx.Views({"rna": data}))["protein"]``.

    Many tables have rows that occur more than once. What is missing of a row is first taken from other rows of the same
    table that agree with it in all that is known of both, in the columns in which this gives nine of ten known cells,
    left out in turn, and 95 % in all; the rest is given these cells. In most tables there are no such rows or columns.

    In a table of 20 rows or more, the expectation is mixed with that over its other rows as neighbors, with a share
    that rises with their number to 0.4: row i is the neighbor with a probability in proportion to
    (E_q(z | x_i)[p(observed cells | z)])^t, and lends its cells. t is 1, or as much less as leaves four effective
    neighbors. This follows Norouzi, Fleet & Norouzi (2020), "Exemplar VAE", whose prior is the mixture of the
    q(z | x_i). Of more than 2,000 rows, as many are taken at random. There are no neighbors of views, of models with a
    context or conditions, and of rows in which a relation is solved for a missing parent.

    ``duplicates="ignore", neighbors="ignore"`` leaves the rows independent of each other.

    An ensemble takes the mean over its members: of a row, they give 1/N sum_i p_i(missing cells | observed cells), of
    which these are the expected numbers and the most probable categories.

    Args:
        fitted: A model with the columns likelihood, or of several views.
        data: A table, as anything that `reparax.data.read` reads, or `reparax.data.Views`.
        num_samples: The number of importance samples for each row.
        seed: The seed of the importance samples.
        context: For a conditional model, one row of numbers for each row of the table.
        missing: ``"at-random"`` or ``"not-at-random"``: whether to ignore which cells are missing, or to use it.
        duplicates: ``"use"`` or ``"ignore"``: whether cells may be taken from rows that are the same. Of several views
            they are not.
        neighbors: ``"use"`` or ``"ignore"``: whether rows that resemble a row count, beside the model.
        impossible: ``"refuse"`` or ``"leave"``: what is done with rows in which stated relations between columns leave
            no values in the range of the fit for what is missing, such as a total below each of its parts. Left ones
            keep their gaps, and are named in a warning, `reparax.errors.RowsNotFilled`; a function is called with them
            instead, as `reparax.applications.RowsLeft`. Where only relations that were found do, rows are imputed
            without these.
        at_once: The most rows that are computed at once, as of `reparax.score`.

    Returns:
        The kind of frame or array that was given; a polars frame for files. Of several views, the modeled columns, or
        the array, of each by its name, with the examples in the order of ``rx.read(data)``.

    Raises:
        DataError: The data have other columns than in the fit, or rows are impossible.
        RecipeError: The model lacks the columns likelihood, the number of samples is below 1, or cells are said to be
            not missing at random for a model of a table whose gaps do not depend on the row.
    """
    _require_known(impossible)
    uses_gaps, dataset = _uses_gaps(fitted, missing), dataset_of(fitted, data, context)
    known, _ = _with_duplicates(dataset, duplicates)
    function = _Expect(num_samples, uses_gaps, _neighbors(fitted, known, seed, neighbors))
    values = _filled(fitted, known, function, num_samples, seed, at_once)
    _check_filled(fitted, known, values, impossible)
    return filled_views(dataset, values) if dataset.schema.views else fill(unrounded(dataset), values)


def impute_draws(
    fitted: FittedModel,
    data: Any,
    num_draws: int,
    *,
    num_samples: int = 400,
    seed: int = 0,
    context: Any = None,
    missing: Missing = "at-random",
    duplicates: Duplicates = "use",
    neighbors: Neighbors = "use",
    impossible: Impossible = "refuse",
) -> list[Any]:
    """Multiple imputation: tables whose missing cells are drawn from p(x_missing | observed).

    Each draw resamples one z by its importance weight and draws the cells given z (Mattei & Frellsen 2019, section
    3.2), so that the variation between the tables is the uncertainty of the cells. Each row of an ensemble is drawn
    from a random member. Cells of duplicates (see `impute`) are taken as often as such cells are right.

    Args:
        fitted: A model with the columns likelihood.
        data: A table, as anything that `reparax.data.read` reads.
        num_draws: The number of tables.
        num_samples: The number of importance samples for each row.
        seed: The seed of everything random.
        context: For a conditional model, one row of numbers for each row of the table.
        missing: Whether to ignore which cells are missing, or to use it, as in `impute`.
        duplicates: Whether cells may be taken from rows that are the same, as in `impute`.
        neighbors: Whether cells may be those of rows that resemble the row, as in `impute`.
        impossible: What is done with rows that no values agree with, as in `impute`.

    Raises:
        DataError: The data have other columns than in the fit, or rows are impossible.
        RecipeError: The model lacks the columns likelihood, one of the numbers is below 1, or ``missing`` is refused.
    """
    if num_draws < 1:
        raise RecipeError(expected="a number of draws from 1 up", got=f"{num_draws}", cure="ask for at least one")
    _require_known(impossible)
    uses_gaps, dataset = _uses_gaps(fitted, missing), dataset_of(fitted, data, context)
    function = _Draws(num_samples, uses_gaps, num_draws, _neighbors(fitted, dataset, seed, neighbors))
    values = _filled(fitted, dataset, function, num_samples * num_draws, seed)
    known, accuracy = _with_duplicates(dataset, duplicates)
    if known is not dataset:
        of_known = _filled(fitted, known, function, num_samples * num_draws, seed)
        takes = np.random.default_rng(seed).random((len(values), num_draws, 1)) < accuracy
        values = np.where(takes, of_known, values)
    _check_filled(fitted, dataset, values, impossible)
    filled = drawn_views if dataset.schema.views else fill
    return [filled(dataset, values[:, index]) for index in range(num_draws)]


class _Expect(eqx.Module):
    """Expected numbers and most probable categories of one row."""

    num_samples: int = eqx.field(static=True)
    uses_gaps: bool = eqx.field(static=True)
    donors: tuple[Donors, ...]

    def __call__(self, models: Sequence[Model], x: Array, key: Array) -> Array:
        adapter = adapter_of(models[0].likelihood)

        def statistics(member: tuple[Model, Donors | None]) -> PyTree[Array]:
            model, donors = member
            z, log_weights = _weighted(model, x, key, self.num_samples, self.uses_gaps)
            own = adapter.statistics(model.likelihood, z, log_weights)
            return own if donors is None else donors.mixed(x, own, uses_gaps=self.uses_gaps)

        members = _members(models, self.donors)
        if len(models) == 1:
            return adapter.typical(statistics(members[0]))
        return adapter.typical(jax.tree.map(lambda of_all: jnp.mean(of_all, axis=0), over_members(members, statistics)))


class _Draws(eqx.Module):
    """Draws of one row, shape (num_draws, columns), each from a random member."""

    num_samples: int = eqx.field(static=True)
    uses_gaps: bool = eqx.field(static=True)
    num_draws: int = eqx.field(static=True)
    donors: tuple[Donors, ...]

    def __call__(self, models: Sequence[Model], x: Array, key: Array) -> Array:
        for_z, *for_rows = jax.random.split(key, 3)
        adapter = adapter_of(models[0].likelihood)

        def drawn(member: tuple[Model, Donors | None]) -> Array:
            model, donors = member
            z, log_weights = _weighted(model, x, for_z, self.num_samples, self.uses_gaps)
            own = adapter.drawn(model.likelihood, z, log_weights, self.num_draws, for_rows)
            if donors is None:
                return own
            return donors.replaced(x, own, jax.random.fold_in(key, FOR_NEIGHBORS), uses_gaps=self.uses_gaps)

        members = _members(models, self.donors)
        if len(models) == 1:
            return drawn(members[0])
        which = jax.random.randint(jax.random.fold_in(key, FOR_MEMBER), (self.num_draws,), 0, len(models))
        return over_members(members, drawn)[which, jnp.arange(self.num_draws)]


def _members(models: Sequence[Model], donors: tuple[Donors, ...]) -> list[tuple[Model, Donors | None]]:
    """Each model with the rows that others may take cells from in it, if there are any."""
    return list(zip(models, donors or (None,) * len(models), strict=True))


def _weighted(model: Model, x: Array, key: Array, num_samples: int, uses_gaps: bool) -> tuple[Array, Array]:
    """Draws of z from the posterior given the observed cells, and their log importance weights."""
    z, kl = importance_samples(model, model.posterior(x), key, num_samples)
    adapter = adapter_of(model.likelihood)

    def log_likelihood(one: Array) -> Array:
        distribution = model.likelihood(one)
        return distribution.log_prob(x) if uses_gaps else adapter.log_prob_of_cells(distribution, x)

    return z, jax.vmap(log_likelihood)(z) - kl


def _with_duplicates(dataset: Dataset, duplicates: Duplicates) -> tuple[Dataset, float]:
    """The rows with cells of their duplicates, the same ones if there are none, and how often such cells are right.

    Raises:
        RecipeError: The choice is unknown.
    """
    _require_one_of("duplicates", get_args(Duplicates), duplicates)
    schema = dataset.schema
    if duplicates == "ignore" or schema.views or schema.columns is None or dataset.values.dtype.kind != "f":
        return dataset, 1.0
    ignored = frozenset(at for at, column in enumerate(schema.columns) if column.name in schema.keys)
    copied = from_duplicates(dataset.values, dataset.context, ignored)
    taken = np.isnan(dataset.values) & ~np.isnan(copied.values)
    if not taken.any():
        return dataset, 1.0
    values = np.stack([_exact(copied.values[:, at], column) for at, column in enumerate(schema.columns)], axis=1)
    return replace(dataset, values=np.where(taken, values, dataset.values)), copied.accuracy


def _neighbors(fitted: FittedModel, dataset: Dataset, seed: int, neighbors: Neighbors) -> tuple[Donors, ...]:
    """The rows that others may take cells from, if they may.

    Raises:
        RecipeError: The choice is unknown.
    """
    _require_one_of("neighbors", get_args(Neighbors), neighbors)
    return donors_of(fitted, dataset, seed) if neighbors == "use" else ()


def _check_filled(fitted: FittedModel, dataset: Dataset, values: np.ndarray, impossible: Impossible) -> None:
    """Refuses rows that relations leave no values for, or warns that they keep their gaps.

    Raises:
        DataError: There are such rows, and they are refused.
    """
    places = np.flatnonzero(_keeps_gaps(values))
    if len(places):
        places = places[rows_to_solve(fitted, dataset.values[places])]
    if not len(places):
        return
    left = RowsLeft.of(fitted, dataset, places)
    if impossible == "refuse":
        left.refuse()
    elif impossible == "leave":
        left.warn()
    else:
        impossible(left)


def _keeps_gaps(values: np.ndarray) -> np.ndarray:
    """Of which rows, or of any of their draws, cells are missing."""
    return np.asarray(np.isnan(values).reshape(len(values), -1).any(axis=1))


def _require_known(impossible: Impossible) -> None:
    """Refuses an unknown choice about impossible rows.

    Raises:
        RecipeError: The choice is unknown.
    """
    if not callable(impossible):
        _require_one_of("impossible", ("refuse", "leave"), impossible)


def _require_one_of(name: str, known: Sequence[str], got: str) -> None:
    """Refuses an unknown choice.

    Raises:
        RecipeError: The choice is unknown.
    """
    if got not in known:
        raise RecipeError(expected=f"{name} to be {' or '.join(known)}", got=repr(got), cure="choose one of them")


def _exact(values: np.ndarray, column: Column) -> np.ndarray:
    """Numbers with their decimals, which single precision cuts off."""
    return values if column.is_category or column.kind == "datetime" else rounded(values, column.step)


def _uses_gaps(fitted: FittedModel, missing: Missing) -> bool:
    """Whether importance weights contain the probability of the gaps.

    Raises:
        RecipeError: The assumption is unknown, or gaps do not depend on z, so that it makes no difference.
    """
    _require_one_of("missing", get_args(Missing), missing)
    if missing == "at-random":
        return False
    if not any(column.missing_depends for column in fitted.schema.columns or ()):
        raise RecipeError(
            expected="a model of a table whose gaps depend on the row, to say that cells are not missing at random",
            got="one that was fitted to a table without gaps, or with gaps that no other column says anything of",
            cure="leave it at --missing at-random, or fit the model to the table with its gaps",
        )
    return True


def _filled(
    fitted: FittedModel, dataset: Dataset, function: Any, work: int, seed: int, at_once: int | None = None
) -> np.ndarray:
    """The rows with a function of all members applied to those that have missing cells."""
    require_samples(work)
    adapter_of(fitted.model.likelihood).require_gaps()
    values = dataset.values
    has_gaps = np.isnan(values).any(axis=1) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    inner = (function.num_draws,) if isinstance(function, _Draws) else ()
    result = np.broadcast_to(
        values.astype(np.float64).reshape(len(values), *(1 for _ in inner), values.shape[1]),
        (len(values), *inner, values.shape[1]),
    ).copy()

    def alone(which: np.ndarray, whole: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        if which.any():
            given = result[which].reshape(-1, values.shape[1])
            rows = _of_model(fitted, dataset.take(np.flatnonzero(which)), function, work, seed, at_once)
            result[which] = whole(rows.reshape(len(given), -1), given).reshape(-1, *result.shape[1:])

    solve = rows_to_solve(fitted, values)
    may_hold = rows_that_may_hold(fitted, values)
    alone(has_gaps & ~solve | may_hold, fitted.units.restored)
    solve &= ~(may_hold & _holds(fitted, result))
    if solve.any():
        result[solve] = _with_relations(fitted, dataset.take(np.flatnonzero(solve)), function, seed, at_once)
    alone(_only_found(fitted, values, solve & _keeps_gaps(result)), fitted.units.reconciled)
    return result


def _of_model(
    fitted: FittedModel, some: Dataset, function: Any, work: int, seed: int, at_once: int | None
) -> np.ndarray:
    """A function of all members applied to rows: what the model says of each cell."""
    models = tuple(member.model for member in fitted.members)
    work = max([work, *(donors.num_draws for donors in function.donors)])
    return map_with_samples(function, fitted, some, work * len(models), seed, at_once, model=models)


def _with_relations(fitted: FittedModel, some: Dataset, function: Any, seed: int, at_once: int | None) -> np.ndarray:
    """Rows whose parents are solved for."""
    if isinstance(function, _Draws):
        return drawn_rows(fitted, some, function.num_samples, seed, function.num_draws, uses_gaps=function.uses_gaps)
    return expected_rows(fitted, some, function.num_samples, seed, at_once, uses_gaps=function.uses_gaps)


def _holds(fitted: FittedModel, rows: np.ndarray) -> np.ndarray:
    """In which rows, in all of their draws, all relations hold."""
    if fitted.units.extension is None:
        return np.ones(len(rows), bool)
    held = fitted.units.extension.holds(rows.reshape(-1, rows.shape[-1]))
    return np.asarray(held.reshape(len(rows), -1).all(axis=1))


def _only_found(fitted: FittedModel, values: np.ndarray, impossible: np.ndarray) -> np.ndarray:
    """Which impossible rows break found relations alone, which hold in most rows: these are imputed without them."""
    result = np.zeros(len(values), bool)
    for place in np.flatnonzero(impossible):
        result[place] = not any(relation.stated for relation in open_relations(fitted, values[place]))
    return result
