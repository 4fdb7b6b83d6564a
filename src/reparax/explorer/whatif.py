"""What if a cell were another one: the score, the imputation and the conditional distributions of a changed row."""

import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from reparax import applications
from reparax.data import Dataset, cell_value
from reparax.errors import DataError, RowsNotFilled
from reparax.explorer.cells import Columns, Draws, Found, density, kind_of
from reparax.explorer.conditional import Conditional, Weighted, effective
from reparax.explorer.conditional import typical as of_weighted
from reparax.explorer.frames import Answer
from reparax.explorer.messages import WhatIf
from reparax.explorer.scores import SAMPLES, SEED, Scoring
from reparax.explorer.solved import SolvedCell, solved_cells, solved_places
from reparax.explorer.subject import Subject
from reparax.model import Model

AT_ONCE = 16
"""Rows that are computed at once, so that the answer on one row does not take as long as that on many."""
FEW_DRAWS = 20.0
"""With a smaller effective number of draws, a distribution is said to be uncertain."""

Context = Float[np.ndarray, " c"] | None


class Questions:
    """Answers to what if.

    Args:
        subject: A model of a table, and its data.
        columns: Shows distributions of cells.
        scoring: Says how unusual a score is.
    """

    def __init__(self, subject: Subject, columns: Columns, scoring: Scoring) -> None:
        self.subject, self.columns, self.scoring = subject, columns, scoring
        context = subject.context(None)
        self._conditional = Conditional.of(subject.model if context is None else subject.model.given(context))  # ty: ignore[invalid-argument-type]

    def whatif(self, message: WhatIf) -> Answer:
        """The score, the code, the imputation and the conditional distributions of a row with changed cells."""
        subject = self.subject
        data = applications.dataset_of(subject.fitted, self.changed(message.index, message.cells))
        scores = applications.score(subject.fitted, data, num_samples=SAMPLES, seed=SEED, at_once=AT_ONCE)
        value = float(scores.anomaly_score[0])
        code = applications.encode(subject.first, data)[0].astype(np.float64)
        fields: dict[str, Any] = {
            "score": value, "percentile": self.scoring.percentile(value), "code": code.tolist(),
            "columns": self.distributions(data), "imputed": self._imputed(data),
        }  # fmt: skip
        if scores.shares is not None:
            shares = zip(scores.names, scores.shares[0].tolist(), strict=True)
            fields["shares"] = [{"column": name, "share": share} for name, share in shares]
        if scores.log_density is not None:
            fields["log_density"] = float(scores.log_density[0])
        if subject.dataset is not None:
            fields["position"] = subject.plane.positions(code[None])[0].tolist()
        return Answer(fields)

    def changed(self, index: int | None, cells: Mapping[str, str | None]) -> Dataset:
        """A row of the data with other cells, or one of which nothing else is known.

        Raises:
            DataError: A column is unknown, a cell cannot be read, or something that is given would be missing.
        """
        schema = self.subject.fitted.schema
        row = self._empty() if index is None else self.subject.row(index)
        values = np.array(row.values, np.float64)
        given = None if row.conditions is None else np.array(row.conditions.values, np.float64)
        modeled = {column.name: place for place, column in enumerate(schema.columns or ())}
        outside = {column.name: place for place, column in enumerate(schema.given_columns)}
        for name, text in cells.items():
            if name in modeled:
                column = self.columns.columns[modeled[name]]
                values[0, modeled[name]] = np.nan if text is None else cell_value(column, text)
            elif name in outside and given is not None and text is not None:
                given[0, outside[name]] = cell_value(schema.given_columns[outside[name]], text)
            elif name in outside:
                raise DataError(
                    expected=f"a value of {name!r}, which the model is given", got="none", cure="choose one"
                )
            else:
                listed = ", ".join([*modeled, *outside][:12])
                raise DataError(expected=f"columns of the model: {listed}", got=repr(name), cure="name one of these")
        conditions = row.conditions
        if conditions is not None and given is not None:
            conditions = replace(conditions, values=given.astype(conditions.values.dtype))
        return replace(row, values=values, conditions=conditions, context=None, native=None, labels=None)

    def _empty(self) -> Dataset:
        """A row of which nothing is known, but what is given of most rows."""
        schema = self.subject.fitted.schema
        conditions = None
        if schema.given is not None:
            usual = schema.given.rows[int(np.argmax(schema.given.row_counts))]
            conditions = Dataset(np.asarray([usual], schema.given.dtype), schema.given)
        return Dataset(np.full((1, len(self.columns.columns)), np.nan), schema, conditions=conditions)

    def distributions(self, data: Dataset) -> list[dict[str, Any]]:
        """The distribution of each cell of a row given the others; of an ensemble, the mean of the members'.

        Args:
            data: One row, as `reparax.applications.dataset_of` gives it.
        """
        fitted = self.subject.fitted
        stored = np.asarray(fitted.units.stored(data.values), np.float32)[0]
        context = None if data.context is None else np.asarray(data.context[0], np.float32)
        drawn: list[Weighted] = [member(self._conditional, context, stored) for member in self.subject.member_programs]
        places = solved_places(fitted, data)
        if not self.subject.model.posterior.has_density:  # one z, of which many rows are drawn
            places = np.union1d(places, np.asarray(sorted(self.columns.related), np.int64))
        shown = self._shown(data, context, drawn, self.columns.related - set(places.tolist()))
        for place, cell in solved_cells(fitted, data, places, drawn).items():
            shown[place] = self._of_solved(place, cell, context)
        return shown

    def _shown(
        self, data: Dataset, context: Context, drawn: list[Weighted], related: Collection[int]
    ) -> list[dict[str, Any]]:
        """The distributions where no relation is solved for a cell.

        Args:
            data: One row.
            context: What is given of it as numbers, if anything is.
            drawn: Draws of z for each member.
            related: The columns that relations change.
        """
        columns = self.columns
        rows = np.concatenate([each.rows for each in drawn])
        weights = np.concatenate([each.weights for each in drawn], axis=1) / len(drawn)
        whole = _padded(weights, rows.shape[1])
        points = columns.points_for(rows, whole)
        densities = [
            member(_density, context, each.z, _padded(each.weights, len(whole)), points)
            for member, each in zip(self.subject.member_programs, drawn, strict=True)
        ]
        typical = self._typical([each.typical for each in drawn])
        draws = {place: Draws(self._restored(rows, data, place), whole[place]) for place in related}
        for place, of_column in draws.items():
            typical[place] = _mean(*of_column)
        found = Found(typical, points, np.mean(densities, axis=0), np.ones(len(whole)), rows, whole)
        counts = np.sum([effective(each.weights) for each in drawn], axis=0)
        shown = columns.shown(found, typical, draws, gaps=False)
        for entry, count in zip(shown, counts.tolist(), strict=True):
            entry |= _certainty(count, can_be_few=self.subject.model.posterior.has_density)
        return shown

    def _of_solved(self, place: int, cell: SolvedCell, context: Context) -> dict[str, Any]:
        """The distribution of one cell for which relations are solved; a text alone if no value is possible."""
        columns = self.columns
        draws = Draws(*cell.draws(place))
        counts = [effective(member.weights[None]).item() for member in cell.members]
        certainty = _certainty(sum(counts), can_be_few=True)
        if cell.contradiction:
            column = columns.columns[place]
            text = f"none was found that gives {cell.contradiction}"
            return {"name": column.name, "kind": kind_of(column), "text": text, **_certainty(0.0, can_be_few=True)}
        if place in columns.related:
            return columns.entry(place, draws, _mean(*draws)) | certainty
        programs = self.subject.member_programs
        rows = np.asarray(self.subject.fitted.units.stored(np.concatenate([each.rows for each in cell.members])))
        size, weights = rows.shape[1], [each.weights.astype(np.float32) for each in cell.members]
        points = columns.points_for(rows, np.tile(draws.weights, (size, 1)))
        densities = [
            member(_density, context, each.z, np.tile(own, (size, 1)), points)
            for member, each, own in zip(programs, cell.members, weights, strict=True)
        ]
        typical = self._typical([
            member(of_weighted, context, each.z, own)[: len(columns.columns)]
            for member, each, own in zip(programs, cell.members, weights, strict=True)
        ])  # fmt: skip
        found = Found(typical, points, np.mean(densities, axis=0), np.ones(size), rows, draws.weights)
        return columns.entry(place, found, float(typical[place])) | certainty

    def _typical(self, of_members: list[Float[np.ndarray, " d"]]) -> Float[np.ndarray, " d"]:
        """The expected cells in the user's units.

        Of an ensemble, expected numbers are averaged; directions, which cannot be, are those of the first member.
        """
        columns = self.columns
        mean = np.mean(of_members, axis=0, dtype=np.float64)
        cyclic = np.asarray([column.kind in CYCLIC for column in columns.columns])
        return np.where(cyclic, of_members[0], mean) + columns.offset[: len(columns.columns)]

    def _restored(self, rows: Float[np.ndarray, "m e"], data: Dataset, place: int) -> Float[np.ndarray, " m"]:
        """Draws of a cell that relations change, with the other cells as they are in the row."""
        known = np.array(data.values, np.float64)
        known[0, place] = np.nan
        return self.subject.fitted.units.restored(rows, np.repeat(known, len(rows), axis=0))[:, place]

    def _imputed(self, data: Dataset) -> dict[str, str]:
        """The cells that ``reparax impute`` fills in."""
        missing = np.isnan(np.asarray(data.values, np.float64))[0]
        if not missing.any():
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RowsNotFilled)  # which is said beside the cell
            frame = applications.impute(
                self.subject.fitted, replace(data, frame_kind="polars"), duplicates="ignore", neighbors="ignore",
                impossible="leave", at_once=AT_ONCE,
            )  # fmt: skip
        cells = frame.row(0, named=True)
        names = [column.name for column, gap in zip(self.columns.columns, missing, strict=True) if gap]
        return {name: _text(cells[name]) for name in names}


CYCLIC = frozenset({"degrees", "hours", "radians"})


def _mean(values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> float:
    """The weighted mean of the values that are there."""
    kept = ~np.isnan(values)
    return float(np.average(values[kept], weights=weights[kept])) if weights[kept].sum() > 0 else float("nan")


def _certainty(count: float, *, can_be_few: bool) -> dict[str, Any]:
    """The effective number of draws, and whether they are too few."""
    return {"effective_draws": round(count, 1), "uncertain": can_be_few and count < FEW_DRAWS}


def _text(cell: Any) -> str:
    return f"{cell:.6g}" if isinstance(cell, float) else "" if cell is None else str(cell).strip()


def _padded(weights: Float[np.ndarray, "d n"], size: int) -> Float[np.ndarray, "e n"]:
    """Weights of all columns of the model; none for remainders."""
    return np.concatenate([weights, np.zeros((size - len(weights), weights.shape[1]), weights.dtype)])


def _density(model: Model, context: Array | None, z: Array, weights: Array, points: Array) -> Array:
    return density(model if context is None else model.given(context), jax.numpy.asarray(z), weights, points)
