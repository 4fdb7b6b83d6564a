"""What there is: the description of model and data, the map, its colors, and single rows."""

from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from reparax.data import cell_text, dense, joint_values, label_text
from reparax.errors import DataError
from reparax.explorer.cells import kind_of
from reparax.explorer.frames import Answer
from reparax.explorer.latents import latents_of
from reparax.explorer.messages import Color, Describe, Map, Row
from reparax.explorer.scores import Scoring
from reparax.explorer.subject import Subject
from reparax.explorer.things import Things, shown_columns
from reparax.summary import Column
from reparax.training import kept_record

MOST_COLORS = 300
MOST_NAMES = 256
"""Categories with a color of their own; the others are one."""
MOST_DESCRIBED = 2000


class Look:
    """Answers to what there is.

    Args:
        subject: The model and its data.
        things: Shows examples.
        scoring: Scores rows.
        can: The names of the operations.
        reasons: Why an operation is not there, by its name.
    """

    def __init__(
        self, subject: Subject, things: Things, scoring: Scoring, can: tuple[str, ...], reasons: dict[str, str]
    ) -> None:
        self.subject, self.things, self.scoring, self.can, self.reasons = subject, things, scoring, can, reasons

    def describe(self, message: Describe) -> Answer:
        """What the model and the data are."""
        return Answer(self._description)

    @cached_property
    def _description(self) -> dict[str, Any]:
        subject, schema = self.subject, self.subject.fitted.schema
        kinds = {"row": "table", "image": "image", "curve": "curve"}
        columns = [_described(column) for column in (schema.columns or ())[:MOST_DESCRIBED]]
        columns += [{**_described(column), "given": True} for column in schema.given_columns]
        return {
            "model": _about(subject),
            "data": None if subject.dataset is None else kinds[self.things.kind],
            "shown": kinds[self.things.kind],
            "num_rows": 0 if subject.dataset is None else len(subject.dataset),
            "latent": latents_of(subject),
            "space": subject.space.name,
            "map": self._map(),
            "colors": self._colors() if subject.dataset is not None else [],
            "can": [name for name in self.can if name not in self.reasons],
            "columns": columns,
            "given": [_given(subject, place) for place in range(len(schema.given_columns))],
            "reasons": self.reasons,
            "command": subject.command or None,
        }

    def _map(self) -> dict[str, Any] | None:
        subject = self.subject
        if subject.dataset is None:
            return None
        shown, count = len(subject.on_map), len(subject.dataset)
        note = subject.plane.note
        note += f" {shown:,} of {count:,} rows are shown, evenly spaced." if shown < count else ""
        if subject.fitted.others:
            note += f" Of the ensemble of {len(subject.fitted.members)}, this is the first member."
        return {"method": subject.plane.method, "axes": list(subject.plane.axes), "shown": shown, "note": note}

    def _colors(self) -> list[dict[str, str]]:
        dataset = self.subject.dataset
        assert dataset is not None
        colors = []
        if dataset.labels is not None:
            kind = "category" if _are_categories(dataset.labels) else "number"
            colors.append({"id": "label", "name": self.subject.fitted.schema.label or "label", "kind": kind})
        if "explain" not in self.reasons:
            colors.append({"id": "score", "name": "anomaly score", "kind": "number"})
            if self.subject.model.posterior.has_density:
                colors.append({"id": "density", "name": "log density", "kind": "number"})
        if self.things.kind == "row" or self.subject.fitted.schema.columns:
            columns = shown_columns(self.subject.fitted.schema)[:MOST_COLORS]
            colors += [
                {"id": f"column:{place}", "name": column.name, "kind": "category" if column.is_category else "number"}
                for place, column in enumerate(columns)
            ]
        elif self.subject.fitted.schema.given_columns:
            colors += [
                {"id": f"given:{place}", "name": column.name, "kind": "category" if column.is_category else "number"}
                for place, column in enumerate(self.subject.fitted.schema.given_columns)
            ]
        return colors

    def map(self, message: Map) -> Answer:
        """Where the rows are."""
        subject = self.subject
        places = subject.on_map
        positions = subject.plane.positions(subject.codes[places].astype(np.float64)).astype(np.float32)
        arrays = {"positions": np.nan_to_num(positions)}
        assert subject.dataset is not None
        if len(places) < len(subject.dataset):
            arrays["rows"] = places.astype(np.int32)
        return Answer({}, arrays)

    def color(self, message: Color) -> Answer:
        """A number or a category of each row on the map."""
        known = [color["id"] for color in self._description["colors"]]
        if message.by not in known:
            raise DataError(
                expected=f"a color: {', '.join(known[:12]) or 'none, as there are no data'}",
                got=repr(message.by[:80]), cure="choose one that describe lists",
            )  # fmt: skip
        places = self.subject.on_map
        dataset = self.subject.dataset
        assert dataset is not None
        what, _, number = message.by.partition(":")
        if what == "label":
            assert dataset.labels is not None
            return _of_labels(dataset.labels[places])
        if what in {"score", "density"}:
            values, progress = self.scoring.so_far(what)
            answer = _graded(values[places], "nats" if what == "density" or not self._is_table_score() else "")
            return Answer({**answer.fields, "progress": progress}, answer.arrays)
        if what == "given":
            assert dataset.conditions is not None
            column = self.subject.fitted.schema.given_columns[int(number)]
            return _of_column(column, np.asarray(dataset.conditions.values[places, int(number)], np.float64))
        column = shown_columns(self.subject.fitted.schema)[int(number)]
        return _of_column(column, self._column(int(number), places))

    def _is_table_score(self) -> bool:
        return self.things.columns is not None and self.things.columns.is_table

    def _column(self, number: int, places: np.ndarray) -> np.ndarray:
        """One column of the data."""
        dataset = self.subject.dataset
        assert dataset is not None
        if dataset.is_sparse:
            return np.asarray(dense(dataset.values[:, [number]])[:, 0], np.float64)[places]
        values = dataset.values if dataset.conditions is None else joint_values(dataset)
        return np.asarray(values[places, number], np.float64)

    def row(self, message: Row) -> Answer:
        """One row, with its code, and its score as far as it is known."""
        subject = self.subject
        data = subject.row(message.index)
        shown = self.things.of_row(data)
        code = subject.codes[message.index].astype(np.float64)
        fields: dict[str, Any] = {
            **shown.fields, "code": code.tolist(),
            "position": subject.plane.positions(subject.codes[message.index][None].astype(np.float64))[0].tolist(),
            **self.scoring.of_row(message.index),
        }  # fmt: skip
        assert subject.dataset is not None
        if subject.dataset.labels is not None:
            fields["label"] = str(subject.dataset.labels[message.index])
        if subject.dataset.ids is not None:
            fields["name"] = str(subject.dataset.ids[message.index])
        return Answer(fields, shown.arrays)


def _about(subject: Subject) -> dict[str, Any]:
    """What the model is, and how good it is."""
    fitted, recipe = subject.fitted, subject.fitted.recipe
    kind = {"images": "images", "table": "a table", "array": "arrays"}[fitted.schema.kind]
    about: dict[str, Any] = {
        "title": f"A model of {kind}", "rows": fitted.schema.num_examples, "version": version("reparax"),
        "data": subject.data,
    }  # fmt: skip
    parts = [f"{part} {recipe.name(part)}" for part in ("posterior", "prior", "likelihood")] if recipe else ["custom"]
    ensemble = f"ensemble of {len(fitted.members)}; " if fitted.others else ""
    about["summary"] = f"{ensemble}{', '.join(parts)}; {subject.size} latent numbers"
    record = kept_record(fitted.history)
    if record is not None and fitted.model.posterior.has_density:
        terms = record.valid or record.train
        about["bound"] = {
            "value": terms["bound"], "standard_error": terms.get("bound_standard_error"), "unit": "nats",
            "of": "held-out rows" if record.valid else "training rows",
        }  # fmt: skip
    return about


def _described(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "kind": kind_of(column)}
    if column.is_category:
        return {**entry, "categories": [str(category).strip() for category in column.categories[:MOST_NAMES]]}
    return {**entry, "low": column.low, "high": column.high}


def _given(subject: Subject, place: int) -> dict[str, Any]:
    """What is given, with the value of most rows of the fit."""
    schema = subject.fitted.schema.given
    assert schema is not None
    column = (schema.columns or ())[place]
    usual = schema.rows[int(np.argmax(schema.row_counts))][place]
    return {**_described(column), "value": cell_text(column, usual)}


def _are_categories(labels: np.ndarray) -> bool:
    return labels.dtype.kind not in "f" and not (labels.dtype.kind in "iu" and len(np.unique(labels)) > MOST_NAMES)


def _of_labels(labels: np.ndarray) -> Answer:
    missing = np.asarray([label_text(label) is None for label in labels.tolist()])
    if not _are_categories(labels):
        return _graded(np.where(missing, np.nan, labels.astype(np.float64)), "")
    texts = labels if labels.dtype.kind in "iu" else np.asarray([str(label) for label in labels.tolist()])
    names, codes = np.unique(texts[~missing], return_inverse=True)
    all_codes = np.full(len(labels), -1, np.int32)
    all_codes[~missing] = codes
    return _categorical(all_codes, [str(name) for name in names.tolist()])


def _of_column(column: Column, cells: np.ndarray) -> Answer:
    if not column.is_category:
        return _graded(cells, "date" if column.kind == "datetime" else "")
    codes = np.where(np.isnan(cells) | (cells >= len(column.categories)), -1, np.nan_to_num(cells)).astype(np.int32)
    return _categorical(codes, [str(category).strip() or "(blank)" for category in column.categories])


def _categorical(codes: np.ndarray, names: list[str]) -> Answer:
    """Categories by number; beyond the first 255, one for all others."""
    if len(names) > MOST_NAMES:
        codes = np.minimum(codes, MOST_NAMES - 1)
        names = [*names[: MOST_NAMES - 1], f"{len(names) - MOST_NAMES + 1} others"]
    return Answer({"categories": names}, {"values": codes.astype(np.int32)})


def _graded(cells: np.ndarray, unit: str) -> Answer:
    present = cells[np.isfinite(cells)]
    low, high = (float(present.min()), float(present.max())) if len(present) else (0.0, 1.0)
    values = np.where(np.isfinite(cells), cells, np.nan).astype(np.float32)
    # Of long tails, the ends of the middle 98 % make better ends of a scale of colors.
    inner = np.quantile(present, [0.01, 0.99]).tolist() if len(present) else [low, high]
    return Answer({"low": low, "high": high, "unit": unit, "inner": inner}, {"values": values})
