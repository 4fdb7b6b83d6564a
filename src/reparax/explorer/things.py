"""Examples in the form in which a page shows them: images, curves, and rows of tables."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.data import Dataset, cell_text, cell_texts, dense, joint_values
from reparax.explorer.cells import DRAWS, DRAWS_OF_RELATED, Columns, Draws, Found, found_at, log_prob_of_cells
from reparax.explorer.frames import Answer
from reparax.explorer.subject import Subject
from reparax.model import Model
from reparax.summary import Column
from reparax.tables import adapter_of

LONGEST_ROW = 60
"""Plain numbers that are shown as a row of a table; more are shown as a curve."""
LONGEST_CURVE = 20_000


class Things:
    """Shows examples of a model.

    Args:
        subject: The model and its data.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.schema = subject.fitted.schema
        self.units = subject.fitted.units
        self.is_table = adapter_of(subject.model.likelihood).is_table
        self.kind = _kind(subject, is_table=self.is_table)
        self.has_densities = self._has_densities()
        self.columns = Columns(subject.first) if self.kind == "row" and self.has_densities else None

    def _has_densities(self) -> bool:
        """Whether the values of an example have densities one by one."""
        model, context = self.subject.model, self.subject.context(None)
        plain = model if context is None else model.given(jnp.asarray(context))
        shape = self.units.summary.event_shape

        def densities(z: Array, x: Array) -> Array:
            return log_prob_of_cells(plain.likelihood(z), x)

        z, x = (jax.ShapeDtypeStruct(s, jnp.float32) for s in (model.posterior.latent_shape, shape))
        try:
            return jax.eval_shape(densities, z, x).shape == shape
        except TypeError:
            return False

    def of_values(self, values: np.ndarray, *, of_model: bool) -> Answer:
        """Images or curves.

        Args:
            values: Examples, or one of them, in the user's units.
            of_model: Whether they come from the model, whose binarized images are bits.
        """
        if self.kind == "image":
            return Answer({"kind": "image"}, {"pixels": self.pixels(values, of_model=of_model)})
        shape = values.shape[: values.ndim - len(self.schema.event_shape)]
        flat = np.asarray(values, np.float32).reshape(*shape, -1)
        return Answer({"kind": "curve"}, {"values": flat[..., :LONGEST_CURVE]})

    def pixels(self, values: np.ndarray, *, of_model: bool) -> np.ndarray:
        """Values of images as bytes; channels that are no colors are averaged."""
        levels = np.asarray(values, np.float64)
        if not (of_model and self.subject.fitted.binarize != "none"):
            low, high = float(np.min(self.schema.low)), float(np.max(self.schema.high))
            levels = (levels - low) / (high - low if high > low else 1.0)
        levels = np.rint(255 * np.clip(np.nan_to_num(levels), 0, 1))
        channels = levels.shape[-1]
        if channels == 4:
            levels = levels[..., :3]
        elif channels not in {1, 3}:
            levels = np.rint(levels.mean(axis=-1, keepdims=True))
        return levels.astype(np.uint8)

    def of_row(self, data: Dataset) -> Answer:
        """One row of the data."""
        if self.kind != "row":
            return self.of_values(dense(data.values)[0], of_model=False)
        columns = shown_columns(self.schema)
        values = np.asarray(joint_values(data), np.float64)[0]
        cells = [
            {"column": column.name, "text": cell_text(column, float(value)), "missing": bool(np.isnan(value))}
            for column, value in zip(columns, values, strict=True)
        ]
        return Answer({"kind": "row", "cells": cells})

    def decoded(self, z: Float[np.ndarray, " k"], given: Mapping[str, str] | None) -> Answer:
        """What the model makes of one latent vector."""
        shaped = self._shaped(z[None])[0]
        context = self.subject.context(given)
        if self.kind != "row" or self.columns is None:
            mean, std = self.subject.programs(_decoded, context, shaped[None])
            answer = self.of_model(self.units.restored(mean), None if std is None else std)
            return Answer(answer.fields, {name: array[0] for name, array in answer.arrays.items()})
        children = self.columns.children
        program = _decoded_related_row if children else _decoded_row
        found = self.subject.programs(program, context, shaped, self.columns.probes.points)
        typical = self.units.restored(np.asarray(found.typical)[None])[0]
        rows = self.units.restored(np.asarray(found.draws)) if children else found.draws
        draws = {place: Draws(rows[:, place], found.weights[place]) for place in children}
        shown = self.columns.shown(found, typical, draws, gaps=True)
        return Answer({"kind": "row", "columns": shown})

    def series(self, points: Float[np.ndarray, "s k"], given: Mapping[str, str] | None) -> Answer:
        """What the model makes of several latent vectors: expectations only."""
        padded = np.concatenate([points, np.repeat(points[-1:], _padding(len(points)), axis=0)])
        mean, _ = self.subject.programs(_decoded, self.subject.context(given), self._shaped(padded))
        return self.of_model(self.units.restored(mean)[: len(points)], None)

    def of_model(self, values: np.ndarray, std: np.ndarray | None) -> Answer:
        """Examples from the model: images, curves, or rows as lists of texts."""
        if self.kind != "row":
            answer = self.of_values(values, of_model=True)
            if std is None or self.kind != "curve":
                return answer
            flat = np.asarray(std, np.float32).reshape(len(std), -1)[:, :LONGEST_CURVE]
            return Answer(answer.fields, {**answer.arrays, "std": flat})
        columns = self.schema.columns or plain_columns(self.schema.event_shape[0])
        return Answer({"kind": "row", **rows_of(values, columns)})

    def _shaped(self, z: np.ndarray) -> np.ndarray:
        return np.asarray(z, np.float32).reshape(len(z), *self.subject.model.posterior.latent_shape)


def rows_of(values: np.ndarray, columns: tuple[Column, ...]) -> dict[str, Any]:
    """Rows of a table as texts: the names of the columns, and a list of cells for each row."""
    texts = [cell_texts(column, np.asarray(values[:, place], np.float64)) for place, column in enumerate(columns)]
    return {"columns": [column.name for column in columns], "rows": [list(row) for row in zip(*texts, strict=True)]}


def shown_columns(schema: Any) -> tuple[Column, ...]:
    """The columns of a table with the given ones in their places."""
    return schema.joint.columns or plain_columns(schema.event_shape[0])


def plain_columns(count: int) -> tuple[Column, ...]:
    """Columns of numbers of which nothing else is known."""
    return tuple(
        Column(name=f"column_{index}", kind="continuous", dtype="float32", low=0.0, high=0.0, mean=0.0, std=1.0,
               spread=1.0)
        for index in range(count)
    )  # fmt: skip


def _kind(subject: Subject, *, is_table: bool) -> str:
    schema = subject.fitted.schema
    if schema.kind == "images":
        return "image"
    binarized = subject.fitted.binarize != "none"
    if is_table or (schema.columns and not binarized and schema.event_shape[0] <= LONGEST_ROW):
        return "row"
    return "curve"


def _padding(count: int) -> int:
    """How many more make a power of two, so that few programs are compiled."""
    return (1 << (count - 1).bit_length()) - count


def _plain(model: Model, context: Array | None) -> Model:
    return model if context is None else model.given(context)


def _decoded(model: Model, context: Array | None, z: Array) -> tuple[Array, Array | None]:
    """E[x | z] of each z, and the standard deviations of the values, where both have a closed form."""
    plain = _plain(model, context)
    mean = jax.vmap(plain.expected)(z)
    if adapter_of(model.likelihood).is_table:
        return mean, None
    try:
        variance = jax.vmap(lambda one: plain.likelihood(one).variance)(z)
    except NotImplementedError:  # of which NoClosedForm is one
        return mean, None
    return mean, jnp.sqrt(variance) if jnp.shape(variance) == jnp.shape(mean) else None


def _decoded_row(model: Model, context: Array | None, z: Array, points: Array) -> Found:
    found = found_at(_plain(model, context), z, points, DRAWS)
    return found._replace(draws=jnp.zeros((0, points.shape[1])), weights=jnp.zeros((points.shape[1], 0)))


def _decoded_related_row(model: Model, context: Array | None, z: Array, points: Array) -> Found:
    return found_at(_plain(model, context), z, points, DRAWS_OF_RELATED)
