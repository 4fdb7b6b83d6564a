"""Rows that occur more than once in a table: what is missing of one may be known of another.

A third of the wines of a well-known table, and many rows of censuses and logs, are copies of others. Where a row agrees
with another one in all that is known of both, the other one's cells are a far better guess than any expectation, and a
model that generalizes cannot give them. How often they are right is measured on known cells that are left out in turn.
"""

from dataclasses import dataclass

import numpy as np

NUM_RAREST = 4
"""A row is compared with those that share one of its rarest values: of so many columns."""
MOST_SHARED = 100
"""The most rows that share a value, for a value by which rows are compared."""
MOST_PAIRS = 2_000_000
"""The most pairs of rows that are compared, those that share the rarest values first."""
BLOCK = 40
"""How many known cells, in the order of the evidence, are judged together."""
LEAST_OF_BLOCK = 0.9
LEAST_OF_ALL = 0.95
"""The least fraction of right cells: in every block, and in all of them with some wrong ones added."""
WRONG_ADDED = 8
"""How many: the evidence is chosen on the cells that judge it, and few cells say little."""


@dataclass(frozen=True)
class Copied:
    """Rows with cells that were taken from their duplicates.

    Attributes:
        values: The rows; NaN where no duplicate knows the cell.
        accuracy: The least fraction of right cells among the columns in which cells were taken, of known cells that
            were left out in turn; 1 if none was taken.
    """

    values: np.ndarray
    accuracy: float = 1.0


@dataclass(frozen=True)
class _Pairs:
    """Pairs of rows: one, and the one whose cells it may take.

    Attributes:
        row: The row, shape (pairs,).
        donor: The other row.
        only: The column without which they would not be compared, or -1.
        wrong: In how many columns they differ, of those that both know.
        last_wrong: The last column in which they differ, or -1.
        evidence: How surprising the values are that they share: the sum of ``-log frequency``, nats.
    """

    row: np.ndarray
    donor: np.ndarray
    only: np.ndarray
    wrong: np.ndarray
    last_wrong: np.ndarray
    evidence: np.ndarray

    def take(self, which: np.ndarray) -> "_Pairs":
        return _Pairs(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def from_duplicates(
    values: np.ndarray, given: np.ndarray | None = None, ignored: frozenset[int] = frozenset()
) -> Copied:
    """Fills missing cells of rows from rows that agree with them in every cell that is known of both.

    A cell is taken where this is right often enough: each known cell of the column is left out in turn, and compared
    with that of the row which agrees with the rest and shares the most surprising values. The evidence that is needed
    is the least above which nine of ten such cells are right in each block of forty, and 95 % in all with eight wrong
    ones added.

    Args:
        values: Rows, shape (n, columns), NaN where a cell is missing.
        given: Further columns which must agree, shape (n, c), or None.
        ignored: Columns that are neither compared nor filled, such as keys that are unique.
    """
    compared = [index for index in range(values.shape[1]) if index not in ignored]
    parts = values[:, compared].astype(np.float64)
    gaps = np.isnan(parts)
    if not gaps.any():
        return Copied(values)
    table = parts if given is None else np.concatenate([parts, given.astype(np.float64)], axis=1)
    codes, shared = _codes(table)
    known = codes >= 0
    surprise = np.where(known, -np.log(np.where(known, shared, 1) / np.maximum(known.sum(axis=0), 1)), 0.0)
    pairs = _compared(codes, shared, surprise)
    least = [_least_evidence(_left_out(pairs, codes, surprise, column)) for column in range(len(compared))]
    filled, used = _filled(parts, pairs.take(pairs.wrong == 0), codes, np.array([one for one, _ in least]))
    result = values.astype(np.float64)
    result[:, compared] = filled
    return Copied(result, min((rate for column, (_, rate) in enumerate(least) if used[column]), default=1.0))


def _codes(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each cell the place of its value among those of the column, -1 if missing; and how many rows have it."""
    codes, shared = np.full(table.shape, -1, np.int64), np.zeros(table.shape, np.int64)
    for column, cells in enumerate(table.T):
        known = ~np.isnan(cells)
        if known.any():
            _, place, counts = np.unique(cells[known], return_inverse=True, return_counts=True)
            codes[known, column], shared[known, column] = place, counts[place]
    return codes, shared


def _candidates(codes: np.ndarray, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of different rows of which the first shares its rarest values with the second; the column if only one."""
    usable = (shared > 1) & (shared <= MOST_SHARED)
    ranks = np.argsort(np.argsort(np.where(usable, shared, MOST_SHARED + 1), axis=1, kind="stable"), axis=1)
    row, column = np.nonzero(usable & (ranks < NUM_RAREST))
    order = np.lexsort((row, shared[row, column], ranks[row, column]))
    order = order[np.cumsum(shared[row, column][order]) <= MOST_PAIRS]
    row, column = row[order], column[order]
    of_columns = [_sharing(codes[:, one], row[column == one]) for one in range(codes.shape[1])]
    by = np.repeat(np.arange(codes.shape[1]), [len(one) for one in of_columns])
    pairs, place, counts = np.unique(
        np.concatenate([np.zeros(0, np.int64), *of_columns]), return_index=True, return_counts=True
    )
    first, second, only = pairs // len(codes), pairs % len(codes), np.where(counts == 1, by[place], -1)
    return first[first != second], second[first != second], only[first != second]


def _sharing(cells: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each of some rows all rows with the same value, as ``row * len(cells) + other``."""
    order = np.argsort(cells, kind="stable")
    first, last = (np.searchsorted(cells[order], cells[rows], side=side) for side in ("left", "right"))
    counts = last - first
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(rows, counts) * len(cells) + order[np.repeat(first, counts) + within]


def _compared(codes: np.ndarray, shared: np.ndarray, surprise: np.ndarray) -> _Pairs:
    """The pairs that differ in one column at most."""
    row, donor, only = _candidates(codes, shared)
    wrong, last_wrong = np.zeros(len(row), np.int64), np.full(len(row), -1)
    evidence = np.zeros(len(row))
    for column, cells in enumerate(codes.T):
        ours, theirs = cells[row], cells[donor]
        known = (ours >= 0) & (theirs >= 0)
        differs = known & (ours != theirs)
        wrong += differs
        last_wrong[differs] = column
        evidence += np.where(known & ~differs, surprise[row, column], 0.0)
    return _Pairs(row, donor, only, wrong, last_wrong, evidence).take(wrong <= 1)


def _left_out(pairs: _Pairs, codes: np.ndarray, surprise: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Each known cell of a column as if it were not: the evidence of the best duplicate, and whether it is right.

    Where duplicates with the same evidence disagree, the cell counts as wrong. Rows that are compared because of this
    cell alone do not count: rows that differ in it are not compared, and neither are any where it is missing.
    """
    cells = codes[:, column]
    known = (cells[pairs.row] >= 0) & (cells[pairs.donor] >= 0) & (pairs.only != column)
    some = pairs.take(known & ((pairs.wrong == 0) | (pairs.last_wrong == column)))
    is_right = some.wrong == 0
    evidence = some.evidence - np.where(is_right, surprise[some.row, column], 0.0)
    order = np.lexsort((is_right, -np.round(evidence, 6), some.row))
    best = order[np.unique(some.row[order], return_index=True)[1]]
    return evidence[best], is_right[best]


def _least_evidence(left_out: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """The least evidence from which cells may be taken, infinite if never, and the fraction of right ones above."""
    evidence, is_right = left_out
    order = np.argsort(-evidence, kind="stable")
    evidence, is_right = evidence[order], is_right[order]
    number = 0
    while number < len(order) and is_right[number : number + BLOCK].mean() >= LEAST_OF_BLOCK:
        number = min(number + BLOCK, len(order))
    if is_right[:number].sum() < LEAST_OF_ALL * (number + WRONG_ADDED):
        return np.inf, 0.0
    return float(evidence[number - 1]), float(is_right[:number].mean())


def _filled(table: np.ndarray, pairs: _Pairs, codes: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The table with cells of duplicates, of the ones with the most evidence first, and the columns that have some."""
    result, codes, used = table.copy(), codes.copy(), np.zeros(len(least), bool)
    may_take = np.isnan(table)[pairs.row] & ~np.isnan(table)[pairs.donor] & (pairs.evidence[:, None] >= least)
    usable = np.flatnonzero(may_take.any(axis=1))
    for index in usable[np.argsort(-pairs.evidence[usable], kind="stable")]:
        row, donor = pairs.row[index], pairs.donor[index]
        both = (codes[row] >= 0) & (codes[donor] >= 0)
        if (codes[row] == codes[donor])[both].all():  # also with what was taken from others
            taken = may_take[index] & np.isnan(result[row])
            result[row, taken] = table[donor, taken]
            codes[row, : len(least)][taken] = codes[donor, : len(least)][taken]
            used |= taken
    return result, used
