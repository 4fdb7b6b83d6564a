"""What is known of a user's data: the shape of one example, the columns, their kinds, ranges and relations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Protocol

import msgspec
import numpy as np
from scipy import sparse

from reparax import registry
from reparax.data.columns import CHOSEN, EMPTY, notes_on
from reparax.data.constraints import Constraint, Unique, check_constraints, held
from reparax.data.match import Matched, match_given, match_table
from reparax.data.relations import Extension, Relation, check_relations, implied_codes
from reparax.data.values import (
    LARGEST_INTEGER,
    Cells,
    as_real,
    by_columns,
    refuse_non_finite,
    refuse_non_numbers,
    whole,
)
from reparax.errors import DataError
from reparax.notebook import table
from reparax.summary import Column, Kind, Remainder, Summary, in_words, joint_summary


class Described(Protocol):
    """Data with a schema of their own: a dataset."""

    @property
    def schema(self) -> "Schema":
        """What is known of the data."""
        ...

    @property
    def values(self) -> np.ndarray:
        """One row per example."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """One label per example, if there are any."""
        ...

    @property
    def conditions(self) -> "Described | None":
        """What is given of each example, if anything is."""
        ...


class Schema(msgspec.Struct, frozen=True):
    """A description of data that a fitted model keeps: JSON through ``msgspec.json``, a `Summary` through `summary`.

    Attributes:
        kind: ``"images"`` (height, width, channels), ``"table"`` (one axis) or ``"array"`` (four axes or more).
        event_shape: The shape of one example.
        value_kind: ``"binary"`` when every value is 0 or 1; ``"integer"`` when every value is whole and below 2**24
            in size, so that float32 carries it exactly; ``"counts"`` when these are one matrix of counts (see
            `reparax.data.counts.are_counts`); ``"mixed"`` for a table with categories, dates or missing
            cells; else ``"real"``.
        low: The lower bound of the values: one number for images, else the observed minimum of each dimension.
        high: The upper bound, likewise: for images the highest level (255, 16, ...) or 1 for intensities in [0, 1].
        mean: The mean, one number for images, else one for each dimension.
        std: The standard deviation, likewise; 1 where the values are constant.
        num_examples: How many examples were seen.
        dtype: The name of the values' dtype.
        names: The columns' names; None when the table has none, and for images.
        label: The column or key that holds the labels, None when there is none or they come from another file.
        columns: The columns of a table, as the matrix of values has them; None for images and arrays.
        excluded: The columns of the user's table that are left out of the values, each with the reason.
        relations: How columns follow from others, as found in the data or stated; a model of these columns sees the
            remainders too (see `extended_summary`).
        constraints: What else holds in every row, as found or stated: draws that break one are drawn again.
        given: What is given of each example and not modeled, as the columns of a table; None where nothing is.
        order: Where columns of a table are given, the names of all its columns, given or not, in the user's order.
        rows: Of a schema of what is given, the combinations of values in the fit, from which samples draw theirs: each
            once, or some rows if they are many.
        row_counts: The number of rows with each of them.
        classes: The names of the classes that labels name, if a class is part of the model.
        views: The name and the schema of each view, if examples have several; they are joined to one row of numbers,
            with NaN for all values of a missing view. The other facts are those of the views: ``low``, ``high``,
            ``mean`` and ``std`` are empty.
    """

    kind: Literal["images", "table", "array", "views"]
    event_shape: tuple[int, ...]
    value_kind: Kind
    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    num_examples: int
    dtype: Literal["uint8", "uint16", "int32", "float32", "float64"]
    names: tuple[str, ...] | None = None
    label: str | None = None
    columns: tuple[Column, ...] | None = None
    excluded: tuple[tuple[str, str], ...] = ()
    relations: tuple[Relation, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    given: "Schema | None" = None
    order: tuple[str, ...] = ()
    rows: tuple[tuple[float, ...], ...] = ()
    row_counts: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    views: tuple[tuple[str, "Schema"], ...] = ()

    def __post_init__(self) -> None:
        size = int(np.prod(self.event_shape, dtype=int))
        if (self.kind == "views") != bool(self.views) or (self.views and size != self.view_slices[-1].stop):
            raise ValueError("a schema of views needs these, and the sum of their sizes")
        size, scalar = 0 if self.views else size, self.kind == "images"
        for field in (self.low, self.high, self.mean, self.std):
            if isinstance(field, float | int) != scalar or (not scalar and len(field) != size):  # ty: ignore[invalid-argument-type]
                raise ValueError(f"low, high, mean and std need {'one number' if scalar else f'{size} numbers'} each")
        if self.names is not None and len(self.names) != size:
            raise ValueError(f"{len(self.names)} names for {size} columns")
        if self.columns is not None and len(self.columns) != size:
            raise ValueError(f"{len(self.columns)} descriptions of {size} columns")
        if unknown := {column.kind for column in self.columns or ()} - set(registry.column_kinds()):
            raise ValueError(f"columns of an unknown kind: {', '.join(sorted(unknown))}")
        check_relations(self.relations, self.columns or ())
        check_constraints(self.constraints, self.columns or ())
        first = {column.name: column for column in self.columns or () if not column.missing_with}
        if wrong := [column.name for column in self.columns or () if not _shares_gaps(column, first)]:
            raise ValueError(f"columns that are missing with one that has other gaps: {', '.join(wrong)}")

    def _repr_html_(self) -> str:
        """The columns, for notebooks."""
        shape = "x".join(map(str, self.event_shape))
        title = f"Schema: {self.kind} of shape {shape}, {self.value_kind} values"
        rows = [(column.name, column.kind, f"{column.missing:.1%}", in_words(column)) for column in self.columns or ()]
        note = f"{self.num_examples:,} examples; left out: {len(self.excluded)}"
        return table(title, ("column", "kind", "missing", "values") if rows else (), rows, note=note)

    @property
    def given_columns(self) -> tuple[Column, ...]:
        """What is given of each example and not modeled."""
        return () if self.given is None else self.given.columns or ()

    @property
    def joint(self) -> "Schema":
        """The schema of the user's table with the given columns in their places; labels that are given come last."""
        if self.given is None or self.columns is None:
            return self
        both = {column.name: column for column in (*self.columns, *self.given_columns)}
        names = (*self.order, *(name for name in both if name not in self.order))
        columns = tuple(both[name] for name in names)
        return Schema(
            kind="table", event_shape=(len(columns),), value_kind="mixed", dtype="float64", label=self.label,
            low=tuple(column.low for column in columns), high=tuple(column.high for column in columns),
            mean=tuple(column.mean for column in columns), std=tuple(column.std for column in columns),
            num_examples=self.num_examples, names=self.names and names, columns=columns, excluded=self.excluded,
            relations=self.relations, constraints=self.constraints,
        )  # fmt: skip

    def summary(self) -> Summary:
        """What the parts of a model need to know: the same facts as arrays (float64), without the names."""
        if self.views:
            return joint_summary([(name, view.summary()) for name, view in self.views], self.num_examples)
        shape = () if self.kind == "images" else self.event_shape
        low, high, mean, std = (
            np.reshape(np.asarray(field, np.float64), shape) for field in (self.low, self.high, self.mean, self.std)
        )
        return Summary(
            event_shape=self.event_shape, kind=self.value_kind, low=low, high=high, mean=mean, std=std,
            num_examples=self.num_examples, columns=self.columns or (),
        )  # fmt: skip

    @property
    def view_slices(self) -> tuple[slice, ...]:
        """Where each view is in a row of all views."""
        ends = np.cumsum([0, *(int(np.prod(view.event_shape, dtype=int)) for _, view in self.views)]).tolist()
        return tuple(map(slice, ends[:-1], ends[1:]))

    @property
    def extension(self) -> Extension:
        """The map between rows of a table and rows with the remainders of its relations."""
        return Extension.of(self.columns or (), self.relations)

    def holds(self, values: np.ndarray) -> np.ndarray:
        """In which rows every constraint and every stated relation holds.

        Args:
            values: Rows of a table, NaN where missing.
        """
        columns = self.columns or ()
        known = tuple(relation for relation in self.relations if relation.stated)
        related = Extension.of(columns, known).holds(values)
        return np.asarray(related.all(axis=1) & held(self.constraints, columns, values).all(axis=1))

    @property
    def compares_rows(self) -> bool:
        """Whether it depends on other rows if `holds` is true of one: values that are different in every row."""
        return bool(self.keys)

    @property
    def keys(self) -> frozenset[str]:
        """The names of the columns, alone or with others, of which no two rows are the same."""
        return frozenset(name for rule in self.constraints if isinstance(rule, Unique) for name in rule.columns)

    @property
    def left_out_as_asked(self) -> tuple[str, ...]:
        """The columns that the user left out."""
        return tuple(name for name, reason in self.excluded if reason == CHOSEN)

    def stated(self) -> "Schema":
        """The same schema with those relations and constraints alone that the user stated."""
        return msgspec.structs.replace(
            self,
            relations=tuple(relation for relation in self.relations if relation.stated),
            constraints=tuple(constraint for constraint in self.constraints if constraint.stated),
        )

    def extended_summary(self) -> Summary:
        """The summary of rows with the remainders of the relations; without relations, `summary`."""
        summary = self.summary()
        if not self.relations:
            return summary
        extension = self.extension
        columns = [relation.remainder for relation in extension.relations]
        more = {name: [getattr(column, name) for column in columns] for name in ("low", "high", "mean", "std")}
        places = extension.places
        remainders = (
            Remainder(places[relation.child], tuple(extension.parents(relation)), implied_codes(relation))
            for relation in extension.relations
        )
        return replace(
            summary,
            event_shape=(summary.size + len(columns),),
            kind="mixed",
            columns=(*summary.columns, *columns),
            remainders=tuple(remainders),
            **{name: np.concatenate([getattr(summary, name), values]) for name, values in more.items()},
        )

    def check(self, data: Described | np.ndarray) -> np.ndarray:
        """The values of ``data`` as a model fitted on this schema takes them: columns in its order, its dtype.

        Columns of datasets are matched by name where both have names, else by position. Values of a table may lie
        outside the range of the training data (an anomaly does); levels of an image may not. A category that
        did not occur in training gets the code after the last.

        Args:
            data: A dataset, or an array of shape ``(n, *event_shape)`` that holds numbers and codes as values do.

        Returns:
            An array of shape ``(n, *event_shape)`` and dtype `dtype`.

        Raises:
            DataError: Another shape, missing or unexpected columns, values of another kind or outside an image's
                levels, infinities, or missing values where the fit had none.
        """
        return self.match(data).values

    def match(self, data: Described | np.ndarray, *, allow_missing: bool = False) -> Matched:
        """As `check`, with sentences on what was noticed.

        Args:
            data: As of `check`.
            allow_missing: Whether cells of a dataset may be missing where the fit had none.
        """
        if isinstance(data, np.ndarray):
            return Matched(self._checked(data))
        columns, own = self.columns, data.schema.joint.columns
        if columns is None or own is None:
            values, given = self._checked(data.values), self.given_of(data)
            return Matched(values, given.notes, given.given)
        values = by_columns(joint_values(data))
        empty = [name for name, why in data.schema.excluded if why == EMPTY]
        names = [*(column.name for column in own), *empty]

        def cells(place: int, column: Column) -> Cells:
            if place >= len(own):
                return Cells("number", np.full(len(values), np.nan), "float64")
            return Cells.of_column(values[:, place], own[place])

        named = data.schema.names is not None
        matched = match_table(self, names, len(values), cells, named=named, labels=data.labels)
        return self.finished(matched, allow_missing=allow_missing)

    def given_of(self, data: Described) -> Matched:
        """What is given of examples that are not rows of a table, by name: their conditions, or their labels.

        Raises:
            DataError: It is missing, or has values that the fit did not have.
        """
        if self.given is None:
            return Matched(data.values)
        own = {} if data.conditions is None else {
            column.name: Cells.of_column(cells, column)
            for column, cells in zip(data.conditions.schema.columns or (), data.conditions.values.T, strict=True)
        }  # fmt: skip
        given = match_given(self.given_columns, own, data.labels)
        return Matched(data.values, given.notes, given.values)

    def finished(self, matched: Matched, *, allow_missing: bool = False) -> Matched:
        """Matched values in the dtype of the fit, checked.

        Args:
            matched: The values of the columns of the fit.
            allow_missing: Whether cells may be missing where the fit had none; the dtype is then a floating one.

        Raises:
            DataError: Values of another kind than in training, or missing ones where there were none.
        """
        values, dtype = matched.values, self.dtype
        if self.value_kind != "mixed":
            gaps = np.isnan(values)
            if allow_missing and gaps.any():
                self._check_values(values[~gaps])
                dtype = "float64" if self.dtype == "float64" else "float32"
            else:
                refuse_non_finite(values, self._shown())
                self._check_values(values)
        return matched._replace(values=np.ascontiguousarray(values, dtype=dtype))

    def _shown(self) -> tuple[str, ...] | None:
        return self.names if self.columns is None else tuple(column.name for column in self.columns)

    def _checked(self, values: np.ndarray) -> np.ndarray:
        refuse_non_numbers(values)
        values = self._aligned(values)
        if isinstance(values, sparse.csr_array):
            self._check_values(np.append(values.data, 0))
            return values.astype(self.dtype)
        if self.value_kind == "mixed":
            self._check_codes(values)
            return np.ascontiguousarray(values, dtype=self.dtype)
        refuse_non_finite(values, self._shown())
        self._check_values(values)
        if self.value_kind == "real":
            as_real(values, self.names)
        return np.ascontiguousarray(values, dtype=self.dtype)

    def _check_codes(self, values: np.ndarray) -> None:
        for index, column in enumerate(self.columns or ()):
            cells = values[:, index]
            if np.isinf(cells).any():
                raise DataError(
                    expected="finite numbers only", got=f"infinity in column {column.name!r}", cure="leave it out"
                )
            present = cells[~np.isnan(cells)]
            last = len(column.categories)
            if column.is_category and not (np.isin(present, np.arange(last + 1))).all():
                raise DataError(
                    expected=f"codes from 0 to {last} in column {column.name!r}",
                    got=f"values from {present.min():g} to {present.max():g}",
                    cure="give a data frame, whose columns are matched by name and by category",
                )

    def _aligned(self, values: np.ndarray) -> np.ndarray:
        if self.kind == "images" and self.event_shape[-1] == 1 and values.shape[1:] == self.event_shape[:-1]:
            values = values[..., None]
        if values.ndim == 0 or values.shape[1:] != self.event_shape:
            raise DataError(
                expected=f"{describe_shape(self.event_shape)} as in training",
                got=describe_shape(values.shape[1:]) if values.ndim else "a single number",
                cure="give data of the shape the model was fitted on, or fit another model",
            )
        return values

    def _check_values(self, values: np.ndarray) -> None:
        if values.size == 0:
            return
        low, high = values.min(), values.max()
        if self.value_kind == "binary" and not (whole(values) and low >= 0 and high <= 1):
            expected, got = "only the values 0 and 1, as in training", f"values from {low} to {high}"
        elif self.value_kind == "counts" and not (whole(values) and low >= 0):
            expected, got = "counts, as in training", f"values from {low} to {high}"
        elif self.value_kind in {"integer", "counts"} and not whole(values):
            expected, got = "whole numbers, as in training", "numbers with fractions"
        elif self.value_kind in {"integer", "counts"} and max(abs(float(low)), abs(float(high))) > LARGEST_INTEGER:
            expected, got = f"whole numbers of size up to {LARGEST_INTEGER}", f"values from {low} to {high}"
        elif self._has_levels() and (low < self.low or high > self.high):
            expected = f"values from {self.low:g} to {self.high:g}, as in training"
            got = f"values from {low} to {high}"
        else:
            return
        raise DataError(
            expected=expected, got=got, cure="bring the values to the scale of the fit, or fit a model on such values"
        )

    def _has_levels(self) -> bool:
        """Whether low and high are bounds by the nature of the values rather than the range seen so far."""
        return self.kind == "images" and (self.value_kind == "integer" or (self.low, self.high) == (0, 1))


def joint_values(data: Described) -> np.ndarray:
    """The rows of a table with the cells of given columns in their places; its values where none is given."""
    schema = data.schema
    if data.conditions is None or schema.columns is None:
        return data.values
    names = [column.name for column in (*schema.columns, *schema.given_columns)]
    both = np.concatenate([data.values.astype(np.float64), data.conditions.values.astype(np.float64)], axis=1)
    return both[:, [names.index(column.name) for column in schema.joint.columns or ()]]


def _shares_gaps(column: Column, first: Mapping[str, Column]) -> bool:
    """Whether the column that this one is missing with, if any, exists and has the same gaps."""
    other = first.get(column.missing_with, column if not column.missing_with else None)
    return other is not None and (other.missing, other.missing_depends) == (column.missing, column.missing_depends)


def describe_shape(event_shape: tuple[int, ...]) -> str:
    """The shape of one example in words: ``5 columns``, ``images of 28x28x1``."""
    if len(event_shape) == 1:
        return f"{event_shape[0]} column{'s' if event_shape[0] != 1 else ''}"
    if len(event_shape) == 3:
        return f"images of {'x'.join(map(str, event_shape))}"
    return f"examples of shape {event_shape}"


def left_out(schema: Schema) -> list[str]:
    """Sentences on the columns that were left out although the user did not ask for it."""
    if schema.views:
        return [f"{name}: {line}" for name, view in schema.views for line in left_out(view)]
    return notes_on({name: reason for name, reason in schema.excluded if reason != CHOSEN})
