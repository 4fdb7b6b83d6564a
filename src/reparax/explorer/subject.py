"""What is explored: a model, and the data it is shown on; numbers are computed when they are first needed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from reparax import applications
from reparax.data import Dataset, cell_text, cell_value, dense
from reparax.errors import DataError, RecipeError
from reparax.explorer.plane import Plane, plane_of
from reparax.explorer.programs import Programs
from reparax.explorer.space import Space, space_of
from reparax.model import Model
from reparax.networks import context_size
from reparax.recipe import FittedModel

MOST_ON_MAP = 200_000
ROWS_FOR_LATENTS = 2000
"""Rows from which the ranges and the information of latent dimensions are computed."""


@dataclass(frozen=True)
class Subject:
    """A model and its data.

    Attributes:
        fitted: The fitted model.
        dataset: The rows; None without data.
        data: The name of the data.
        command: The command that shows them; empty in Python.
    """

    fitted: FittedModel
    dataset: Dataset | None
    data: str = ""
    command: str = ""

    @property
    def first(self) -> FittedModel:
        """The model whose latent variables are shown: of an ensemble, its first member."""
        return self.fitted.members[0]

    @property
    def model(self) -> Model:
        """Its three parts."""
        return self.first.model

    @cached_property
    def programs(self) -> Programs:
        """Compiled functions of the first member."""
        return Programs(self.model)

    @cached_property
    def member_programs(self) -> tuple[Programs, ...]:
        """Compiled functions of all members."""
        return (self.programs, *(Programs(member.model) for member in self.fitted.others))

    @property
    def size(self) -> int:
        """How many numbers a code has."""
        return math.prod(self.model.posterior.latent_shape)

    @cached_property
    def space(self) -> Space:
        """The geometry of the latent space."""
        posterior = self.model.posterior
        return space_of(posterior.latent_space, posterior.latent_shape, getattr(posterior, "num_classes", 0))

    @cached_property
    def on_map(self) -> Int[np.ndarray, " n"]:
        """The rows that are shown on the map."""
        return evenly(0 if self.dataset is None else len(self.dataset), MOST_ON_MAP)

    @cached_property
    def some_rows(self) -> Int[np.ndarray, " n"]:
        """A few rows of the data, evenly spaced."""
        return evenly(0 if self.dataset is None else len(self.dataset), ROWS_FOR_LATENTS)

    @cached_property
    def some_codes(self) -> Float[np.ndarray, "n k"]:
        """The codes of a few rows; without data, draws from the prior."""
        if self.dataset is not None:
            return applications.encode(self.first, self.dataset.take(self.some_rows)).astype(np.float64)
        keys = jax.random.split(jax.random.key(0), ROWS_FOR_LATENTS)
        drawn = self.programs(_prior_draws, self.context(None), jax.random.key_data(keys))
        return np.asarray(drawn, np.float64).reshape(ROWS_FOR_LATENTS, -1)

    @cached_property
    def codes(self) -> Float[np.ndarray, "n k"]:
        """The codes of all rows of the data."""
        if self.dataset is None:
            raise DataError(expected="data to encode", got="none", cure="name data: reparax explore MODEL DATA")
        return applications.encode(self.first, self.dataset)

    @cached_property
    def information(self) -> tuple[Float[np.ndarray, " k"], bool] | None:
        """The information in each latent dimension, and whether it is the KL to the prior; None without data."""
        if self.dataset is None:
            return None
        return applications.information(self.first, self.dataset.take(self.some_rows), self.some_codes)

    @cached_property
    def plane(self) -> Plane:
        """The map; it is made from a few codes, so that it is there before all rows are encoded."""
        return plane_of(self.space, self.some_codes)

    def context(self, given: Mapping[str, str] | None) -> Float[np.ndarray, " c"] | None:
        """What is given as the numbers that the model takes; None for a model of which nothing is.

        Args:
            given: By name; what is not named is as in most rows of the fit.

        Raises:
            DataError: A name or a value is unknown.
        """
        schema = self.fitted.schema.given
        if schema is None:
            if given:
                raise DataError(expected="nothing to be given", got=", ".join(map(repr, given)), cure="leave it out")
            return None
        columns = schema.columns or ()
        usual = schema.rows[int(np.argmax(schema.row_counts))]
        named = {column.name: cell_text(column, value) for column, value in zip(columns, usual, strict=True)}
        known = {column.name: column for column in columns}
        for name, text in (given or {}).items():
            if name not in known:
                raise DataError(
                    expected=f"what is given: {', '.join(map(repr, known))}",
                    got=repr(name),
                    cure="leave the others out",
                )
            cell_value(known[name], text)  # says what is wrong with it
            named[name] = text
        contexts = applications.contexts_of(self.first, named, 1)
        return None if contexts is None else np.asarray(contexts[0], np.float32)

    def example(self, index: int) -> np.ndarray:
        """One example in the user's units.

        Raises:
            DataError: There is no such row.
        """
        return dense(self.row(index).values)[0]

    def row(self, index: int) -> Dataset:
        """One row as a dataset.

        Raises:
            DataError: There is no such row, or there are no data.
        """
        count = 0 if self.dataset is None else len(self.dataset)
        if self.dataset is None or not 0 <= index < count:
            raise DataError(
                expected=f"a row from 0 to {count - 1}" if count else "data, to have rows", got=f"row {index}",
                cure="choose another" if count else "name data: reparax explore MODEL DATA",
            )  # fmt: skip
        return self.dataset.take(np.asarray([index]))

    def point(self, z: Any) -> Float[np.ndarray, " k"]:
        """A point of the latent space from the numbers of a message.

        Raises:
            DataError: Their number is wrong, or one is not finite.
        """
        values = np.asarray(z, np.float64)
        if values.shape != (self.size,) or not np.isfinite(values).all():
            raise DataError(
                expected=f"{self.size} finite latent numbers", got=f"{values.size} numbers",
                cure="send as many as describe lists",
            )  # fmt: skip
        return self.space.onto(values)


def _prior_draws(model: Model, context: Array | None, keys: Array) -> Array:
    plain = model if context is None else model.given(context)
    prior = plain.prior(plain.posterior)
    return jax.vmap(lambda key: prior.sample(jax.random.wrap_key_data(key)))(jnp.asarray(keys))


def evenly(count: int, most: int) -> Int[np.ndarray, " n"]:
    """Indices below a count, at most so many of them and evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def subject_of(fitted: FittedModel, data: Any = None, *, name: str = "", command: str = "") -> Subject:
    """A model and its data, checked.

    Args:
        fitted: The fitted model.
        data: Anything that `reparax.data.read` reads, or a `Dataset`; None for no data.
        name: The name of the data.
        command: The command that shows them.

    Raises:
        DataError: The data do not match the model.
        RecipeError: The model has a context without names, which a page could not set.
    """
    fitted.refuse_views("to explore", "use encode, sample, impute and evaluate, or explore a model of one of the views")
    if context_size(fitted.model) and fitted.schema.given is None:
        raise RecipeError(
            expected="a model without a context, or one to which columns are given by name",
            got="a conditional model with a context of numbers",
            cure="fit with given=[...], or use the functions of Python with context=...",
        )
    return Subject(fitted, None if data is None else applications.dataset_of(fitted, data), name, command)
