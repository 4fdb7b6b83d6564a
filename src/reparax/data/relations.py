"""Relations between the columns of a table: what of a column is left once other columns are known.

A column (the child) is predicted from others (its parents) by a formula or a lookup, and a model learns the remainder,

    y = x_child - s(x_parents),

with a distribution of its own. Given the parents this is a shift, with Jacobian one, so that densities stay those of
the user's table. A row with remainders is an extended row: the columns of the table, then one remainder for each
relation, NaN where the child or a parent is missing.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from jaxtyping import Bool, Float

from reparax.data.values import SMALLEST_STD, rounded
from reparax.summary import Column

Rule = Literal["after", "before", "exact", "near"]

PLAUSIBLE = 4.0
"""The most spreads by which a number that a found relation gives may be out of the range of the data."""
TOLERANCE = 4.0
"""Differences below this many roundings of float32 are none: data are mostly stored in it."""


class Linear(msgspec.Struct, frozen=True, tag="linear"):
    """s = intercept + sum_k weights[k] x_k.

    Attributes:
        weights: One weight for each parent.
        intercept: A constant.
    """

    weights: tuple[float, ...]
    intercept: float = 0.0

    def predicted(self, parents: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
        """s for each row; NaN where a parent is missing."""
        return parents @ np.asarray(self.weights) + self.intercept

    def parent(
        self, place: int, target: Float[np.ndarray, " n"], parents: Float[np.ndarray, "n k"]
    ) -> Float[np.ndarray, " n"]:
        """The values of one parent for which s is the target, given the others."""
        others = self.predicted(parents) - self.weights[place] * parents[:, place]
        return (target - others) / self.weights[place]


class Product(msgspec.Struct, frozen=True, tag="product"):
    """s = factor prod_k x_k ** powers[k].

    Attributes:
        powers: One power for each parent: a product for 1 and 1, a ratio for 1 and -1.
        factor: A constant.
    """

    powers: tuple[float, ...]
    factor: float = 1.0

    def predicted(self, parents: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
        """s for each row; NaN where a parent is missing, or where s is not finite."""
        with np.errstate(all="ignore"):
            product = self.factor * np.prod(parents ** np.asarray(self.powers), axis=1)
        return np.where(np.isfinite(product), product, np.nan)

    def parent(
        self, place: int, target: Float[np.ndarray, " n"], parents: Float[np.ndarray, "n k"]
    ) -> Float[np.ndarray, " n"]:
        """The values of one parent for which s is the target, given the others; NaN where there are none."""
        with np.errstate(all="ignore"):
            others = self.predicted(parents) / parents[:, place] ** self.powers[place]
            value = (target / others) ** (1 / self.powers[place])
        return np.where(np.isfinite(value), value, np.nan)


class Lookup(msgspec.Struct, frozen=True, tag="lookup"):
    """s = a number for each category of one parent.

    Attributes:
        values: The number of each category; None where it is unknown.
    """

    values: tuple[float | None, ...]

    def predicted(self, parents: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, " n"]:
        """s for each row; NaN where the parent is missing or was not seen."""
        return _looked_up(self.values, parents[:, 0])

    def parent(
        self, place: int, target: Float[np.ndarray, " n"], parents: Float[np.ndarray, "n 1"]
    ) -> Float[np.ndarray, " n"]:
        """The category whose number is nearest; the present one where it is as near."""
        table = np.asarray([np.nan if value is None else value for value in self.values])
        known = np.flatnonzero(~np.isnan(table))
        order = known[np.argsort(table[known], kind="stable")]
        middle = (table[order][1:] + table[order][:-1]) / 2
        nearest = order[np.searchsorted(middle, target)].astype(np.float64)
        present = self.predicted(parents)
        as_near = np.abs(present - target) <= np.abs(table[nearest.astype(int)] - target)
        return np.where(as_near, parents[:, 0], nearest)


class Implied(msgspec.Struct, frozen=True, tag="implied"):
    """The category of the child that each category of one parent implies.

    The remainder is a category too: 0 where the child is as implied, else one more than its code.

    Attributes:
        codes: The child's code for each category of the parent; None where it is unknown.
    """

    codes: tuple[int | None, ...]

    def predicted(self, parents: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, " n"]:
        """The implied code for each row; NaN where the parent is missing or was not seen."""
        return _looked_up(self.codes, parents[:, 0])


Form = Linear | Product | Lookup | Implied


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """How a column follows from others.

    Attributes:
        child: The name of the column.
        parents: The names of the columns that it follows from.
        form: The formula or lookup.
        rule: What holds: the remainder is not negative (``"after"``), not positive (``"before"``), zero (``"exact"``),
            or in the range seen (``"near"``).
        remainder: What is left, as a column of its own.
        stated: Whether the user stated it; else it was found in the data.
    """

    child: str
    parents: tuple[str, ...]
    form: Form
    rule: Rule
    remainder: Column
    stated: bool = False

    @property
    def is_order(self) -> bool:
        """Whether it holds on one side of the parent, without an end."""
        return self.rule in {"after", "before"}

    def __str__(self) -> str:
        """The relation in words."""
        named = " and ".join(self.parents)
        if isinstance(self.form, Implied | Lookup):
            verb = "follows from" if self.rule == "exact" else "depends on"
            return f"{self.child} {verb} {named}"
        if self.is_order:
            return f"{self.child} is not {'below' if self.rule == 'after' else 'above'} {named}"
        verb = "is" if self.rule == "exact" else "is near"
        return f"{self.child} {verb} {_formula(self.form, self.parents)}"


def _formula(form: Linear | Product, parents: Sequence[str]) -> str:
    if isinstance(form, Product):
        terms = [name if power == 1 else f"{name}^{power:g}" for name, power in zip(parents, form.powers, strict=True)]
        return " * ".join([*([f"{form.factor:.6g}"] if form.factor != 1 else []), *terms])
    terms = [
        name if weight == 1 else f"{weight:.6g} {name}" for name, weight in zip(parents, form.weights, strict=True)
    ]
    return " + ".join([*terms, *([f"{form.intercept:.6g}"] if form.intercept else [])]).replace("+ -", "- ")


def _looked_up(table: Sequence[float | None], codes: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    values = np.asarray([*(np.nan if value is None else value for value in table), np.nan])
    known = np.where(np.isnan(codes) | (codes >= len(table)) | (codes < 0), len(table), codes)
    return values[known.astype(np.int64)]


def predicted(form: Form, parents: Float[np.ndarray, "n k"], child: Column) -> Float[np.ndarray, " n"]:
    """s of each row, rounded like the child."""
    s = form.predicted(parents)
    return s if child.is_category else rounded(s, child.step)


def remainder(
    form: Form, x: Float[np.ndarray, " n"], s: Float[np.ndarray, " n"], child: Column
) -> Float[np.ndarray, " n"]:
    """What is left of the child: a number, or 0 for an implied category and else one more than its code."""
    if isinstance(form, Implied):
        return np.where(np.isnan(x) | np.isnan(s), np.nan, np.where(x == s, 0.0, x + 1.0))
    y = x - s
    if child.step > 0:
        return rounded(y, child.step) + 0.0
    noise = TOLERANCE * np.finfo(np.float32).eps * np.maximum(np.abs(x), np.abs(s))
    return np.where(np.abs(y) <= noise, 0.0, y)


def restored(
    form: Form, y: Float[np.ndarray, " n"], s: Float[np.ndarray, " n"], child: Column
) -> Float[np.ndarray, " n"]:
    """The child, from what was left of it."""
    if isinstance(form, Implied):
        return np.where(y == 0, s, y - 1.0)
    return rounded(s + y, child.step) + 0.0


def in_range(values: Float[np.ndarray, " n"], column: Column) -> Bool[np.ndarray, " n"]:
    """Which values of a column are in the range of the data."""
    slack = column.step / 2 if column.step > 0 else 1e-6 * max(column.spread, 1e-12)
    return (values >= column.low - slack) & (values <= column.high + slack)


def is_plausible(values: Float[np.ndarray, " n"], column: Column) -> Bool[np.ndarray, " n"]:
    """Which values are not far out of the range of the data, nor negative if the data are not."""
    beyond = PLAUSIBLE * column.spread
    low = column.low - beyond
    return (values >= (max(low, 0.0) if column.low >= 0 else low)) & (values <= column.high + beyond)


class Extension(NamedTuple):
    """The map between rows of a table and extended rows, which have the remainders of its relations too.

    Attributes:
        columns: The columns of the table.
        relations: Its relations, parents before their children.
    """

    columns: tuple[Column, ...]
    relations: tuple[Relation, ...]

    @classmethod
    def of(cls, columns: Sequence[Column], relations: Sequence[Relation]) -> "Extension":
        """The extension of a table's rows."""
        return cls(tuple(columns), in_order(relations))

    @property
    def places(self) -> dict[str, int]:
        """The position of each column by name."""
        return {column.name: place for place, column in enumerate(self.columns)}

    def parents(self, relation: Relation) -> list[int]:
        """The positions of a relation's parents."""
        places = self.places
        return [places[name] for name in relation.parents]

    def remainders(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n r"]:
        """What is left of each child; NaN where it or one of its parents is missing."""
        values, places = np.asarray(values, np.float64), self.places
        left = np.empty((len(values), len(self.relations)))
        for index, relation in enumerate(self.relations):
            child = self.columns[places[relation.child]]
            s = predicted(relation.form, values[:, self.parents(relation)], child)
            left[:, index] = remainder(relation.form, values[:, places[relation.child]], s, child)
        return left

    def extended(self, values: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
        """The rows with their remainders, float64."""
        return np.concatenate([np.asarray(values, np.float64), self.remainders(values)], axis=1)

    def collapsed(
        self, rows: Float[np.ndarray, "n e"], given: Float[np.ndarray, "n d"] | None = None
    ) -> Float[np.ndarray, "n d"]:
        """Rows of the table from extended rows whose cells were drawn or expected one by one.

        Children that are not given follow from their parents and remainders.

        Args:
            rows: Extended rows.
            given: Cells that are known, NaN elsewhere; they are not changed.
        """
        size = len(self.columns)
        result, left = np.array(rows[:, :size], np.float64), rows[:, size:]
        if given is None:
            return self._forward(result, left, np.ones(result.shape, bool))
        free = np.isnan(given)
        return self._forward(np.where(free, result, given), left, free)

    def reconciled(self, rows: Float[np.ndarray, "n e"], given: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """`collapsed`, with parents of given children solved for, so that relations hold between given and other cells.

        Orders are left as they are where they hold. By a relation that was only found, a parent is solved for values
        that are plausible: a row may as well break the relation.

        Args:
            rows: Extended rows.
            given: Cells that are known, NaN elsewhere; they are not changed.
        """
        size = len(self.columns)
        free, left = np.isnan(given), rows[:, size:]
        result = np.where(free, rows[:, :size], given).astype(np.float64)
        for index in reversed(range(len(self.relations))):
            self._solve(self.relations[index], left[:, index], result, free)
        return self._forward(result, left, free)

    def _forward(
        self, result: Float[np.ndarray, "n d"], left: Float[np.ndarray, "n r"], free: Bool[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n d"]:
        """The rows with free children as they follow from their parents and remainders."""
        for relation, y in zip(self.relations, left.T, strict=True):
            place = self.places[relation.child]
            child = self.columns[place]
            s = predicted(relation.form, result[:, self.parents(relation)], child)
            x = restored(relation.form, y, s, child)
            drawn = free[:, place] & ~np.isnan(x) & ~np.isnan(result[:, place])  # a gap stays a gap
            result[:, place] = np.where(drawn, x, result[:, place])
        return result

    def _solve(
        self,
        relation: Relation,
        y: Float[np.ndarray, " n"],
        result: Float[np.ndarray, "n d"],
        free: Bool[np.ndarray, "n d"],
    ) -> None:
        """Sets one free parent of each row whose child is known, and marks it as known."""
        places = self.places
        child, parents = places[relation.child], np.asarray(self.parents(relation))
        open_ones = ~free[:, child] & free[:, parents].any(axis=1)
        if relation.is_order:
            s = predicted(relation.form, result[:, parents], self.columns[child])
            open_ones &= ~_holds(relation, remainder(relation.form, result[:, child], s, self.columns[child]))
        rows = np.flatnonzero(open_ones)
        if not len(rows):
            return
        if isinstance(relation.form, Implied):
            (parent,) = parents
            result[rows, parent] = self._implying(relation.form, result[rows, child], result[rows, parent], parent)
            free[rows, parent] = False
            return
        widths = np.asarray([self._width(relation.form, place, parent) for place, parent in enumerate(parents)])
        widest = np.where(free[np.ix_(rows, parents)], widths, -1.0).argmax(axis=1)
        target = result[rows, child] - y[rows]
        for place, parent in enumerate(parents):
            some = rows[widest == place]
            value = relation.form.parent(place, target[widest == place], result[np.ix_(some, parents)])
            value = rounded(value, 0.0 if self.columns[parent].is_category else self.columns[parent].step)
            is_value = ~np.isnan(value) & (relation.stated | is_plausible(value, self.columns[parent]))
            result[some[is_value], parent] = value[is_value]
            free[some[is_value], parent] = False

    def _width(self, form: Form, place: int, parent: int) -> float:
        """How much the child varies with a parent: that is the one to solve for."""
        return abs(form.weights[place]) * self.columns[parent].spread if isinstance(form, Linear) else 1.0

    def _implying(
        self, form: Implied, child: Float[np.ndarray, " n"], drawn: Float[np.ndarray, " n"], parent: int
    ) -> Float[np.ndarray, " n"]:
        """The category of the parent: the one drawn if it implies the child's, else the most frequent that does."""
        codes = np.asarray([-1 if code is None else code for code in form.codes])
        fractions = np.asarray(self.columns[parent].category_fractions)
        best = np.full(int(max(codes.max(initial=0), np.nanmax(child, initial=0))) + 2, -1)
        for category in np.argsort(fractions, kind="stable"):
            best[codes[category]] = category
        frequent = best[child.astype(np.int64)]
        consistent = (_looked_up(form.codes, drawn) == child) | (frequent < 0)
        return np.where(consistent, drawn, frequent)

    def holds(self, values: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, "n r"]:
        """Whether each relation holds in each row; true where a cell that it concerns is missing."""
        left = self.remainders(values)
        held = np.ones(left.shape, bool)
        for index, relation in enumerate(self.relations):
            held[:, index] = _holds(relation, left[:, index])
        return held


def _holds(relation: Relation, y: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    column = relation.remainder
    slack = column.step / 2 if column.step > 0 else 1e-6 * max(abs(column.low), abs(column.high), SMALLEST_STD)
    held = {
        "after": y >= -slack,
        "before": y <= slack,
        "exact": np.abs(y) <= slack,
        "near": (y >= column.low - slack) & (y <= column.high + slack),
    }[relation.rule]
    return held | np.isnan(y)


def in_order(relations: Sequence[Relation]) -> tuple[Relation, ...]:
    """The relations with parents before their children.

    Raises:
        ValueError: They are circular.
    """
    waiting, ordered = list(relations), []
    while waiting:
        children = {relation.child for relation in waiting}
        ready = [relation for relation in waiting if not children & set(relation.parents)]
        if not ready:
            raise ValueError(f"circular relations between {', '.join(sorted(children))}")
        ordered += ready
        waiting = [relation for relation in waiting if relation not in ready]
    return tuple(ordered)


def check_relations(relations: Sequence[Relation], columns: Sequence[Column]) -> None:
    """Checks that relations are between known columns, at most one for each, and not circular.

    Raises:
        ValueError: They are not.
    """
    known = {column.name: column for column in columns}
    children = [relation.child for relation in relations]
    for relation in relations:
        unknown = {relation.child, *relation.parents} - set(known)
        if unknown:
            raise ValueError(f"a relation of unknown columns: {', '.join(sorted(unknown))}")
        if not relation.parents or relation.child in relation.parents or children.count(relation.child) > 1:
            raise ValueError(f"more than one relation of {relation.child}, or one without other columns")
        _check_form(relation, [known[name] for name in relation.parents], known[relation.child])
    in_order(relations)


def _check_form(relation: Relation, parents: Sequence[Column], child: Column) -> None:
    form = relation.form
    if isinstance(form, Linear | Product):
        size = len(form.weights if isinstance(form, Linear) else form.powers)
        fits = size == len(parents) and not child.is_category and not any(parent.is_category for parent in parents)
    else:
        table = form.values if isinstance(form, Lookup) else form.codes
        fits = len(parents) == 1 and parents[0].is_category and len(table) == len(parents[0].categories)
        codes = {code for code in table if code is not None} if isinstance(form, Implied) else set()
        fits = (
            fits and child.is_category == isinstance(form, Implied) and codes <= set(range(len(child.categories) + 1))
        )
    if not fits:
        raise ValueError(f"a relation of {relation.child} that does not fit its columns")


def implied_codes(relation: Relation) -> tuple[int, ...]:
    """The child's code for each category of the parent, -1 where it is unknown; empty for other relations."""
    if not isinstance(relation.form, Implied):
        return ()
    return tuple(-1 if code is None else code for code in relation.form.codes)
