"""Rows whose known cells agree with the relations of a table: what is solved for, and what this does to densities.

A row of a table has as many free variables as columns: the columns that are no child, and the remainders. If a child is
known and a parent is not, one of these variables is determined by the others. It is solved for instead of drawn, and
the row has an importance weight with the probability of the solution: `Solved.log_weights`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Int

from reparax.data.relations import TOLERANCE, Extension, Linear, Product, Relation, in_range, predicted, restored
from reparax.data.restore import rounded_days
from reparax.data.values import rounded
from reparax.summary import Column

CONTINUOUS = 1e-9
"""Numbers without rounding are taken for multiples of this fraction of their spread: a spike is then far more probable
than any other number."""
NARROW = 0.1
"""Parents are not solved for if the child varies less with them than this times what it varies with another one."""
SLACK = 1e-3
"""The error of a number in steps of its column, as numbers are stored: those at the ends of an interval are tried."""


class Solution(NamedTuple):
    """A relation solved for one of several parents, chosen at random.

    Attributes:
        rows: The rows in which it is.
        places: The parents.
        log_counts: The log of the number of values of each that give the child, as it is rounded; NaN where it
            was drawn instead, and the row is possible only if s is as it should be.
    """

    rows: Int[np.ndarray, " m"]
    places: tuple[int, ...]
    log_counts: Float[np.ndarray, "m k"]


class Solved(NamedTuple):
    """Rows that agree with what is known, and how they came about.

    Attributes:
        values: The rows, NaN where a cell is missing.
        fixed: Which of the columns and remainders were not drawn, and are none that a relation was solved for.
        log_volume: The log of the number of solutions of relations that were solved for a child of another one.
        solutions: Relations that were solved for parents.
        possible: Which rows are in the range of the data, and have relations that hold.
    """

    values: Float[np.ndarray, "n d"]
    fixed: Bool[np.ndarray, "n e"]
    log_volume: Float[np.ndarray, " n"]
    solutions: tuple[Solution, ...]
    possible: Bool[np.ndarray, " n"]

    def log_weights(self, log_probabilities: Float[np.ndarray, "n e"]) -> Float[np.ndarray, " n"]:
        """The log importance weights p(row | z) / q(row | z): minus infinity for what is not possible.

        A parent that is determined alone has the weight P(x_i | z) n_i, with n_i values that give the child. If it is
        one of k, chosen at random, q is a mixture, and the weight is k / sum_i 1 / (P(x_i | z) n_i): Veach & Guibas
        (1995), "Optimally combining sampling techniques for Monte Carlo rendering", equation 10.

        Args:
            log_probabilities: The log-probability of each column and remainder given z, as `log_probabilities` has it.
        """
        with np.errstate(invalid="ignore"):
            result = np.where(self.fixed, log_probabilities, 0.0).sum(axis=1) + self.log_volume
        for rows, places, log_counts in self.solutions:
            # Where s is zero, none of the parents was solved for.
            terms = np.where(np.isnan(log_counts), 0.0, -(log_probabilities[rows[:, None], places] + log_counts))
            result[rows] += np.log(len(places)) - np.logaddexp.reduce(terms, axis=1)
        return np.where(self.possible & ~np.isnan(result), result, -np.inf)


def log_probabilities(
    log_densities: Float[np.ndarray, "n e"],
    x: Float[np.ndarray, "n e"],
    columns: Sequence[Column],
    fine: Sequence[bool],
) -> Float[np.ndarray, "n e"]:
    """The log-probability of cells as they are rounded, from log densities.

    Args:
        log_densities: Those of the columns and remainders.
        x: The cells, in the units of the columns.
        columns: The columns.
        fine: Of which the density is not that of rounded numbers, so that spikes have probabilities.
    """
    result = np.array(log_densities, np.float64)
    for place, column in enumerate(columns):
        if not column.is_category:
            is_mass = np.isin(x[:, place], np.asarray(column.spikes, x.dtype)) if fine[place] else False
            result[:, place] += np.where(is_mass, 0.0, np.log(grid(column)))
    return np.where(np.isnan(x), 0.0, result)


def grid(column: Column) -> float:
    """The step of a column's numbers, or what stands for it: see `CONTINUOUS`."""
    return column.step if column.step > 0 else CONTINUOUS * column.spread


def is_solved(extension: Extension, known: Bool[np.ndarray, " d"]) -> bool:
    """Whether a child is known and not all of its parents."""
    return any(
        known[extension.places[relation.child]] and not known[extension.parents(relation)].all()
        for relation in extension.relations
    )


def holds_unrounded(extension: Extension, row: Float[np.ndarray, " d"]) -> bool:
    """Whether the relations hold in a row, exact formulas before rounding too: means of ratios are no ratios of means.

    Args:
        extension: The relations.
        row: Expected cells, which need not be rounded.
    """
    places = extension.places
    for relation in extension.relations:
        if relation.rule == "exact" and isinstance(relation.form, Linear | Product):
            (s,), place = relation.form.predicted(row[None, extension.parents(relation)]), places[relation.child]
            if abs(row[place] - s) > 1e-6 * (abs(s) + extension.columns[place].spread):
                return False
    return bool(extension.holds(row[None]).all())


def solved(
    extension: Extension,
    rows: Float[np.ndarray, "n e"],
    given: Float[np.ndarray, "n d"],
    noise: Float[np.ndarray, "n r 2"],
) -> Solved:
    """Rows that agree with known cells, from rows that were drawn without regard to relations.

    Args:
        extension: The relations.
        rows: Drawn columns and remainders; NaN for cells that are missing.
        given: Cells that are known, NaN elsewhere.
        noise: Uniform numbers from 0 to 1 for each relation: which parent it is solved for, and where in the interval
            that is rounded to the child.
    """
    size = len(extension.columns)
    drawn = [
        x if column.is_category else _as_recorded(x, column)
        for x, column in zip(rows.T[:size], extension.columns, strict=True)
    ]
    cells = np.where(np.isnan(given), np.stack(drawn, axis=1), given).astype(np.float64)
    pattern = np.concatenate([np.isnan(given), np.isnan(cells)], axis=1)
    kinds, of_rows = np.unique(pattern, axis=0, return_inverse=True)
    fixed = np.zeros(rows.shape, bool)
    volume, possible, solutions = np.zeros(len(rows)), np.ones(len(rows), bool), []
    for number, kind in enumerate(kinds):
        some = np.flatnonzero(of_rows.ravel() == number)
        group = _Group(
            extension, cells[some], rows[some, size:].astype(np.float64), ~kind[:size], kind[size:], noise[some]
        )
        group.solve()
        cells[some], fixed[some], volume[some], possible[some] = group.cells, group.fixed, group.volume, group.possible
        solutions += [Solution(some, places, counts) for places, counts in group.solutions]
    return Solved(cells, fixed, volume, tuple(solutions), possible)


class _Group:
    """Rows with the same cells known and missing, while their relations are solved."""

    def __init__(
        self,
        extension: Extension,
        cells: Float[np.ndarray, "n d"],
        left: Float[np.ndarray, "n r"],
        known: Bool[np.ndarray, " d"],
        absent: Bool[np.ndarray, " d"],
        noise: Float[np.ndarray, "n r 2"],
    ) -> None:
        self.extension, self.cells, self.left, self.noise = extension, cells, left, noise
        self.known, self.imposed, self.frozen = known, known.copy(), known.copy()
        self.fixed = np.concatenate([known, np.zeros(left.shape[1], bool)])
        self.volume, self.possible = np.zeros(len(cells)), np.ones(len(cells), bool)
        self.solutions: list[tuple[tuple[int, ...], Float[np.ndarray, "n k"]]] = []
        self.active = [
            (index, relation, extension.places[relation.child], extension.parents(relation))
            for index, relation in enumerate(extension.relations)
            if not absent[[extension.places[relation.child], *extension.parents(relation)]].any()
        ]
        self.parents_of = {child: parents for _, _, child, parents in self.active}

    def solve(self) -> None:
        """Solves the relations of children that are known or were solved for, the last ones first."""
        self.forward()
        drawn = self.left.copy()
        for index, relation, child, parents in reversed(self.active):
            if self.imposed[child]:
                self.fixed[child] = False  # its remainder counts instead
                candidates = self.candidates(relation, child, parents)
                if candidates:
                    self.solve_for(candidates, index, relation, child, parents)
                else:
                    self.fixed[len(self.known) + index] = True
                self.freeze(parents)
        self.forward()
        self.check(drawn)

    def forward(self) -> None:
        """Children that are neither known nor solved for follow from their parents and remainders."""
        for index, relation, child, parents in self.active:
            if not self.imposed[child]:
                column = self.extension.columns[child]
                s = predicted(relation.form, self.cells[:, parents], column)
                x = restored(relation.form, self.left[:, index], s, column)
                self.cells[:, child] = np.where(np.isnan(x), self.cells[:, child], x)

    def candidates(self, relation: Relation, child: int, parents: list[int]) -> list[int]:
        """The parents that the relation can be solved for; of children of others, at most one."""
        if not isinstance(relation.form, Linear | Product):
            return []
        columns = self.extension.columns
        free = [
            parent
            for parent in parents
            if not self.frozen[parent] and not any(parent in self.above(other) for other in parents if other != parent)
        ]
        if columns[child].step <= 0 and any(columns[parent].step <= 0 for parent in free):
            free = [parent for parent in free if columns[parent].step <= 0]  # no multiple of a step would be a solution
        free = self.wide(free, relation, child, parents)
        return [parent for parent in free if parent not in self.parents_of] or free[:1]

    def wide(self, free: list[int], relation: Relation, child: int, parents: list[int]) -> list[int]:
        """The parents with which a child varies most, and at least as much as with its remainder and its rounding.

        A value of something wide is probable, whatever it is; what is narrow is drawn, and hardly ever hit.
        """
        form, columns = relation.form, self.extension.columns
        if not free or not isinstance(form, Linear | Product):
            return []
        cells = self.cells[:, parents]
        s = form.predicted(cells)
        slopes = [_slope(form, at, cells[:, at], s) for at in map(parents.index, free)]
        with np.errstate(all="ignore"):
            middle = [np.median(slope[np.isfinite(slope)]) if np.isfinite(slope).any() else 1.0 for slope in slopes]
            widths = [columns[parent].spread / slope for parent, slope in zip(free, middle, strict=True)]
        left = 0.0 if relation.rule == "exact" else relation.remainder.spread
        least = max(left, columns[child].step, NARROW * max(widths))
        return [parent for parent, width in zip(free, widths, strict=True) if width >= least]

    def solve_for(self, candidates: list[int], index: int, relation: Relation, child: int, parents: list[int]) -> None:
        """Sets one of some parents, at random, so that the relation holds."""
        assert isinstance(relation.form, Linear | Product)
        self.forward()
        columns = self.extension.columns
        which = np.minimum(self.noise[:, index, 0] * len(candidates), len(candidates) - 1).astype(np.int64)
        target = _as_recorded(self.cells[:, child], columns[child]) - self.left[:, index]
        for number, parent in enumerate(candidates):
            some = np.flatnonzero(which == number)
            found = _Values.of(relation.form, parents.index(parent), target[some], self.cells[some[:, None], parents],
                               columns[parent], columns[child])  # fmt: skip
            value = _as_recorded(found.at(self.noise[some, index, 1]), columns[parent])
            value = np.where(np.isnan(value), self.cells[some, parent], value)  # `check` finds whether it is one
            self.possible[some] &= in_range(value, columns[parent])
            self.cells[some, parent] = value
        counts = np.stack([
            _Values.of(relation.form, parents.index(parent), target, self.cells[:, parents], columns[parent],
                       columns[child]).log_count
            for parent in candidates
        ], axis=1)  # fmt: skip
        (first, *_) = candidates
        if first in self.parents_of:
            self.imposed[first] = True
            self.volume += counts[:, 0]
        else:
            self.solutions.append((tuple(candidates), counts))

    def freeze(self, places: list[int]) -> None:
        """Cells that a relation was solved with, and what they follow from, stay as they are."""
        for place in places:
            self.frozen[[place, *self.above(place)]] = True

    def above(self, place: int) -> set[int]:
        """The columns that a column follows from."""
        parents = set() if self.imposed[place] else set(self.parents_of.get(place, ()))
        return parents.union(*map(self.above, parents))

    def check(self, drawn: Float[np.ndarray, "n r"]) -> None:
        """Rows in which a relation leaves something else than was drawn, or what it never left, are not possible."""
        left = self.extension.remainders(self.cells)
        for index, relation, child, parents in self.active:
            if not self.imposed[child] or self.known[[child, *parents]].all():
                continue
            y, column = left[:, index], relation.remainder
            if self.fixed[len(self.known) + index]:
                if not column.is_category:
                    self.possible &= in_range(y, column)
                continue
            noise = TOLERANCE * np.finfo(np.float32).eps * np.abs(self.cells[:, child])
            self.possible &= np.abs(y - drawn[:, index]) <= np.maximum(noise, self.extension.columns[child].step / 2)


class _Values(NamedTuple):
    """The values of a parent for which s, rounded like the child, is what it should be.

    Attributes:
        low: The least; NaN where there are none, or no bounds.
        high: The greatest.
        step: The rounding of the parent; 0 for none.
        log_count: The log of their number; that of the length of the interval over `grid` where they are not rounded.
    """

    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    step: float
    log_count: Float[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        form: Linear | Product,
        place: int,
        target: Float[np.ndarray, " n"],
        parents: Float[np.ndarray, "n k"],
        parent: Column,
        child: Column,
    ) -> Self:
        """Those of one parent, given the others."""
        half = child.step / 2
        parents = parents.copy()
        parents[:, place] = 1.0  # a zero that is replaced must not be divided by
        if isinstance(form, Product):  # s is zero for values without bounds: these are drawn
            target = np.where(np.abs(target) <= half * (1 + SLACK), np.nan, target)
        ends = np.stack([form.parent(place, target + side * half, parents) for side in (-1, 1)])
        low, high = ends.min(axis=0), ends.max(axis=0)
        if parent.step <= 0 or child.step <= 0:
            exact = form.parent(place, target, parents)
            with np.errstate(all="ignore"):
                count = np.log(_slope(form, place, exact, target) * grid(child) / grid(parent))
            return cls(low, high, 0.0, np.maximum(count, 0.0) if parent.step > 0 else count)
        first, last = np.ceil(low / parent.step - SLACK), np.floor(high / parent.step + SLACK)

        def fits(number: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
            cells = parents.copy()
            cells[:, place] = _as_recorded(number * parent.step, parent)
            return np.abs(predicted(form, cells, child) - target) < half

        first, last = np.where(fits(first), first, first + 1), np.where(fits(last), last, last - 1)
        with np.errstate(all="ignore"):
            count = np.log(np.where(last >= first, last - first + 1, np.nan))
        some = ~np.isnan(count)
        return cls(
            np.where(some, first * parent.step, np.nan), np.where(some, last * parent.step, np.nan), parent.step, count
        )

    def at(self, uniform: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """One of them, all alike probable."""
        if self.step <= 0:
            return self.low + uniform * (self.high - self.low)
        count = np.rint((self.high - self.low) / self.step) + 1
        return self.low + np.minimum(np.floor(uniform * count), count - 1) * self.step


def _slope(
    form: Linear | Product, place: int, value: Float[np.ndarray, " n"], target: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """How much a parent varies with the child: |dx / ds|."""
    if isinstance(form, Linear):
        return np.full(len(value), 1 / abs(form.weights[place]))
    with np.errstate(all="ignore"):
        return np.abs(value / (form.powers[place] * target))


def _as_recorded(values: Float[np.ndarray, " n"], column: Column) -> Float[np.ndarray, " n"]:
    return rounded_days(values, column.step) if column.kind == "datetime" else rounded(values, column.step)
