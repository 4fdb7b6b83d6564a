"""Finding relations between the columns of a table."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from reparax.data.columns import NUMERIC, remainder_column
from reparax.data.relations import Form, Implied, Linear, Lookup, Product, Relation, Rule, predicted, remainder
from reparax.summary import Column

SEARCHED_ROWS = 5000
"""Relations are looked for among this many rows, and then checked on all."""
MOST_ROWS = 100_000
"""The same for columns that follow from a category."""
FEWEST_ROWS = 100
"""With fewer rows, nothing is looked for."""
FEWEST_ORDERED = 300
"""The same for orders: that none of n rows breaks one shows that at most 3 / n do, at 95 % confidence."""
MOST_COLUMNS = 100
"""With more columns, nothing is looked for: pairs by chance become many, and the search slow."""
HOLDING = 0.99
"""The least fraction of the rows in which a relation holds."""
TIGHT = 0.1
"""What is left of a number, at most: its range from the 5 % to the 95 % quantile over that of the number."""
EXPLAINED = 0.8
"""The least fraction of the variance of a number that a category explains, judged by leaving out each row."""
FEWEST_CATEGORIES = 20
"""A network learns the means of fewer categories by itself."""
NOT_BY_CHANCE = 0.05
"""An order of two numbers is a relation if at least this fraction of the pairs from different rows break it."""
MOST_PARENTS = 6
NOISE = 0.1
"""A part of a sum matters if in more than 1 % of the rows it moves the sum by this fraction of the noise."""
AMBIGUITY = 1e-6
"""Of formulas that leave as little of a column, the one with the fewest negative terms is taken."""
MOST_ALIKE = 0.95
"""Of a column that nearly all rows share, where the parent is known, nothing is learned."""
REPEATED = 0.7
"""The least fraction of the rows whose category of the parent occurs in another row."""


class Candidate(NamedTuple):
    """A possible relation.

    Attributes:
        child: The position of the column that follows.
        parents: Those of the columns that it follows from.
        form: How.
        rule: What holds.
        left: How much is left of the child: smaller is better.
    """

    child: int
    parents: tuple[int, ...]
    form: Form
    rule: Rule
    left: float


def find_relations(
    values: Float[np.ndarray, "n d"], columns: Sequence[Column], taken: Sequence[Relation] = ()
) -> tuple[Relation, ...]:
    """The relations that hold in at least 99 % of the rows, beside those that are known.

    These are columns that follow from a category (a zone's borough, a code's name, a number that is much the same
    within each of many categories), sums and products of others, and orders of two dates or numbers.

    Args:
        values: The rows of a table, NaN where missing.
        columns: Its columns.
        taken: Relations that are known: their children get no other.
    """
    values = np.asarray(values, np.float64)
    if len(values) < FEWEST_ROWS or not 2 <= len(columns) <= MOST_COLUMNS:
        return ()
    some = values[np.sort(np.random.default_rng(0).permutation(len(values))[:SEARCHED_ROWS])]
    for_lookups = values[:: -(-len(values) // MOST_ROWS)]  # of many categories, few rows have no two of one
    candidates = sorted(
        [*_lookups(for_lookups, columns), *_formulas(some, columns), *_orders(some, columns)],
        key=lambda found: found.left,
    )
    places = {column.name: place for place, column in enumerate(columns)}
    parents_of = {places[each.child]: tuple(places[name] for name in each.parents) for each in taken}
    chosen = []
    for candidate in candidates:
        if candidate.child in parents_of or _circular(candidate, parents_of):
            continue
        relation = relation_of(candidate, values, columns)
        if relation is not None:
            parents_of[candidate.child] = candidate.parents
            chosen.append(relation)
    return tuple(chosen)


def relation_of(
    candidate: Candidate, values: Float[np.ndarray, "n d"], columns: Sequence[Column], *, stated: bool = False
) -> Relation | None:
    """The relation with what it leaves in all rows; None if it does not hold in enough of them."""
    child = columns[candidate.child]
    form = candidate.form
    if isinstance(form, Lookup | Implied):
        parent = candidate.parents[0]
        make = lookup if candidate.rule == "exact" else shrunk_means
        form = make(values[:, parent], values[:, candidate.child], columns[parent], child)
    s = predicted(form, values[:, list(candidate.parents)], child)
    y = remainder(form, values[:, candidate.child], s, child)
    present = y[~np.isnan(y)]
    if not len(present) or not (stated or _is_kept(candidate.rule, present)):
        return None
    names = tuple(columns[place].name for place in candidate.parents)
    name = f"{child.name} given {', '.join(names)}"
    return Relation(
        child=child.name,
        parents=names,
        form=form,
        rule=candidate.rule,
        remainder=remainder_column(name, y, child, is_code=isinstance(form, Implied)),
        stated=stated,
    )


def _is_kept(rule: Rule, present: Float[np.ndarray, " n"]) -> bool:
    held = {"after": present >= 0, "before": present <= 0, "exact": present == 0}.get(rule)
    return held is None or float(held.mean()) >= HOLDING


def _circular(candidate: Candidate, parents_of: dict[int, tuple[int, ...]]) -> bool:
    """Whether the child is already an ancestor of one of its parents."""
    waiting, seen = list(candidate.parents), set()
    while waiting:
        place = waiting.pop()
        if place == candidate.child:
            return True
        if place not in seen:
            seen.add(place)
            waiting.extend(parents_of.get(place, ()))
    return False


def lookup(
    parent: Float[np.ndarray, " n"],
    child: Float[np.ndarray, " n"],
    of_parent: Column,
    of_child: Column,
) -> Lookup | Implied:
    """What each category of the parent says of the child: its most frequent category, or its median."""
    known = ~np.isnan(parent) & ~np.isnan(child) & (parent < len(of_parent.categories))
    codes, x = parent[known].astype(np.int64), child[known]
    size = len(of_parent.categories)
    if of_child.is_category:
        counts = np.zeros((size, len(of_child.categories) + 1))
        np.add.at(counts, (codes, x.astype(np.int64)), 1)
        return Implied(tuple(int(row.argmax()) if row.sum() else None for row in counts))
    order = np.lexsort((x, codes))
    ends = np.cumsum(np.bincount(codes, minlength=size))
    starts = ends - np.bincount(codes, minlength=size)
    ordered = x[order]
    middle = [
        None if start == end else float((ordered[(start + end - 1) // 2] + ordered[(start + end) // 2]) / 2)
        for start, end in zip(starts, ends, strict=True)
    ]
    return Lookup(tuple(middle))


def shrunk_means(
    parent: Float[np.ndarray, " n"], child: Float[np.ndarray, " n"], of_parent: Column, of_child: Column
) -> Lookup:
    """The mean of the child in each category, closer to that of all rows the fewer rows there are.

    m + n_c / (n_c + v / w) (m_c - m), with the variances v within categories and w between them: the best linear
    predictor of a model with random effects, Robinson (1991), "That BLUP is a good thing", equation 5.1.
    """
    known = ~np.isnan(parent) & ~np.isnan(child) & (parent < len(of_parent.categories))
    codes, x = parent[known].astype(np.int64), child[known]
    counts = np.bincount(codes, minlength=len(of_parent.categories))
    means = np.bincount(codes, weights=x, minlength=len(counts)) / np.maximum(counts, 1)
    within = float(np.square(x - means[codes]).sum() / max(1, len(x) - np.count_nonzero(counts)))
    between = max(float(np.var(x)) - within, 1e-6 * float(np.var(x)))
    shrunk = x.mean() + counts / (counts + within / between) * (means - x.mean())
    return Lookup(tuple(float(mean) if count else None for mean, count in zip(shrunk, counts, strict=True)))


def _lookups(values: Float[np.ndarray, "n d"], columns: Sequence[Column]) -> Iterator[Candidate]:
    """Columns that follow from a category."""
    for parent, child in permutations(range(len(columns)), 2):
        if not columns[parent].is_category or len(columns[parent].categories) < 2 or not _varies(columns[child]):
            continue
        known = ~np.isnan(values[:, parent]) & ~np.isnan(values[:, child])
        codes, x = values[known, parent].astype(np.int64), values[known, child]
        counts = np.bincount(codes, minlength=len(columns[parent].categories))
        if len(codes) < FEWEST_ROWS or float((counts[codes] > 1).mean()) < REPEATED or _mode(x) > MOST_ALIKE:
            continue
        size = len(counts) / len(values)  # the fewer categories, the simpler
        if columns[child].is_category:
            if _follows(codes, x.astype(np.int64), columns[child]):
                yield Candidate(child, (parent,), Implied(()), "exact", size * 1e-3)
        elif columns[child].kind in NUMERIC:
            exact, unexplained = _left_by_means(codes, x, counts)
            if exact >= HOLDING:
                yield Candidate(child, (parent,), Lookup(()), "exact", size * 1e-3)
            elif unexplained <= 1 - EXPLAINED and len(counts) >= FEWEST_CATEGORIES:
                yield Candidate(child, (parent,), Lookup(()), "near", unexplained**0.5)


def _varies(column: Column) -> bool:
    """Whether a column is far from constant."""
    if column.is_category:
        return bool(column.category_fractions) and max(column.category_fractions) < HOLDING
    return column.high > column.low and max(column.spike_fractions, default=0.0) < HOLDING


def _follows(codes: np.ndarray, x: np.ndarray, child: Column) -> bool:
    """Whether the other rows of the same category mostly have the same category of the child."""
    width = len(child.categories) + 1
    pairs, inverse, counts = np.unique(codes * width + x, return_inverse=True, return_counts=True)
    of_parent = pairs // width
    most = np.zeros(int(codes.max()) + 1)
    np.maximum.at(most, of_parent, counts)
    own, best = counts[inverse], most[codes]
    total = np.bincount(codes)[codes]
    judged = total > 1
    right = (own == best) & (own > 1)
    return float(right[judged].mean()) >= max(HOLDING, 1 - (1 - _mode(x)) / 10)


def _mode(x: np.ndarray) -> float:
    """The fraction of the rows that share the most frequent value."""
    _, counts = np.unique(x, return_counts=True)
    return float(counts.max() / len(x))


def _left_by_means(codes: np.ndarray, x: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The fraction of rows equal to others of their category, and the part of the variance that means leave.

    Both are judged by leaving each row out.
    """
    sums = np.bincount(codes, weights=x, minlength=len(counts))
    judged = counts[codes] > 1
    others = (sums[codes] - x)[judged] / (counts[codes] - 1)[judged]
    error = x[judged] - others
    unexplained = float(np.square(error).mean() / max(np.var(x), 1e-300))
    if unexplained > 1 - EXPLAINED:
        return 0.0, unexplained
    order = np.lexsort((x, codes))
    same = (np.diff(x[order]) == 0) & (np.diff(codes[order]) == 0)
    beside = np.concatenate([[False], same]) | np.concatenate([same, [False]])
    return float(beside[judged[order]].mean()), unexplained


def _width(x: Float[np.ndarray, " n"]) -> float:
    """The range from the 5 % to the 95 % quantile; where these are equal, that of all values."""
    low, high = np.quantile(x, [0.05, 0.95])
    return float(high - low) or float(x.max() - x.min())


def _numbers(columns: Sequence[Column]) -> list[int]:
    return [
        place
        for place, column in enumerate(columns)
        if column.kind in NUMERIC and column.kind != "datetime" and _varies(column)
    ]


def _formulas(values: Float[np.ndarray, "n d"], columns: Sequence[Column]) -> Iterator[Candidate]:
    """Sums, differences, linear formulas, products and ratios of numbers."""
    numbers = _numbers(columns)
    for child in numbers:
        others = [place for place in numbers if place != child]
        if not others:
            continue
        for found in (_linear(child, others, values, columns), _product(child, others, values, columns)):
            if found is not None:
                yield found


def _linear(
    child: int, others: Sequence[int], values: Float[np.ndarray, "n d"], columns: Sequence[Column]
) -> Candidate | None:
    """The child as a weighted sum of a few others, if hardly anything is left."""
    rows = values[~np.isnan(values[:, [child, *others]]).any(axis=1)]
    if len(rows) < FEWEST_ROWS:
        return None
    chosen = _pursued(rows[:, child], rows[:, others])
    if not chosen:
        return None
    parents = _that_matter(child, [others[place] for place in chosen], rows, columns)
    form = _linear_form(rows[:, child], rows[:, parents])
    kept = [k for k, weight in enumerate(form.weights) if weight]
    if not kept:
        return None
    parents, form = [parents[k] for k in kept], Linear(tuple(form.weights[k] for k in kept), form.intercept)
    return _judged(child, parents, form, rows, columns)


def _judged(
    child: int,
    parents: Sequence[int],
    form: Linear | Product,
    rows: Float[np.ndarray, "n d"],
    columns: Sequence[Column],
) -> Candidate | None:
    """A formula, if it is exact in most rows or leaves little of the child."""
    column, x = columns[child], rows[:, child]
    y = remainder(form, x, predicted(form, rows[:, list(parents)], column), column)
    exact = float((y == 0).mean())
    left = 0.0 if exact >= HOLDING else _width(y) / max(_width(x), 1e-300)
    if exact < HOLDING and left > TIGHT and _repeated(y) < _repeated(x) + 0.5:
        return None
    # Among the columns of one formula, the one that is a plain sum or product follows from the others.
    signs = form.weights if isinstance(form, Linear) else form.powers
    turned = sum(sign < 0 for sign in signs)
    left = min(left, TIGHT) + AMBIGUITY * turned
    return Candidate(child, tuple(parents), form, "exact" if exact >= HOLDING else "near", left)


def _repeated(x: Float[np.ndarray, " n"]) -> float:
    """The fraction of the rows that share one of the ten most frequent values."""
    _, counts = np.unique(x, return_counts=True)
    return float(np.sort(counts)[-10:].sum() / len(x))


def _pursued(x: Float[np.ndarray, " n"], others: Float[np.ndarray, "n k"]) -> list[int]:
    """The columns that explain x together, chosen one at a time: orthogonal matching pursuit.

    Pati et al. (1993), "Orthogonal matching pursuit".
    """
    scaled = (others - others.mean(axis=0)) / np.maximum(others.std(axis=0), 1e-300)
    target = x - x.mean()
    rest, chosen = target, list[int]()
    for _ in range(min(MOST_PARENTS, scaled.shape[1])):
        gains = np.abs(scaled.T @ rest)
        gains[chosen] = -1.0
        chosen.append(int(gains.argmax()))
        weights, *_ = np.linalg.lstsq(scaled[:, chosen], target, rcond=None)
        smaller = target - scaled[:, chosen] @ weights
        if np.square(smaller).sum() > 0.999 * np.square(rest).sum():
            chosen.pop()
            break
        rest = smaller
        if np.square(rest).sum() < 1e-12 * np.square(target).sum():
            break
    return chosen if np.square(rest).sum() < TIGHT * np.square(target).sum() else []


def _that_matter(
    child: int, parents: list[int], rows: Float[np.ndarray, "n d"], columns: Sequence[Column]
) -> list[int]:
    """The parents without those that far outliers alone, or rounding, made part of a weighted sum.

    In nearly all rows the child varies with such a one by less than a tenth of its rounding, or of what is left of it.
    """
    x, cells = rows[:, child], rows[:, parents]
    form = _linear_form(x, cells)
    least = NOISE * max(columns[child].step, _width(x - form.predicted(cells)))
    varies = np.quantile(np.abs(cells - np.median(cells, axis=0)), HOLDING, axis=0) * np.abs(form.weights)
    kept = [parent for parent, contributed in zip(parents, varies, strict=True) if contributed >= least]
    return kept or parents


def _linear_form(x: Float[np.ndarray, " n"], parents: Float[np.ndarray, "n k"]) -> Linear:
    """Least squares, with weights of 0, 1 or -1 where these leave as little."""
    design = np.column_stack([parents, np.ones(len(x))])
    scale = np.maximum(np.abs(design).max(axis=0), 1e-300)
    weights = np.linalg.lstsq(design / scale, x, rcond=None)[0] / scale
    free = _width(x - design @ weights)
    whole = np.rint(weights[:-1])
    if np.abs(whole).max(initial=0.0) <= 1 and np.abs(weights[:-1] - whole).max() < 0.3:
        left = x - parents @ whole
        if _width(left) <= 1.5 * free or _repeated(left) > 0.5:
            return Linear(tuple(map(float, whole)))
    return Linear(tuple(map(float, weights[:-1])), float(weights[-1]))


def _product(
    child: int, others: Sequence[int], values: Float[np.ndarray, "n d"], columns: Sequence[Column]
) -> Candidate | None:
    """The child as a product of powers of up to three others, found in logarithms."""
    others = [place for place in others if columns[place].low > 0]
    if columns[child].low <= 0 or len(others) < 2:
        return None
    rows = values[~np.isnan(values[:, [child, *others]]).any(axis=1)]
    if len(rows) < FEWEST_ROWS:
        return None
    logs = np.log(rows[:, others])
    chosen = _pursued(np.log(rows[:, child]), logs)
    design = np.column_stack([logs[:, chosen], np.ones(len(rows))])
    weights = np.linalg.lstsq(design, np.log(rows[:, child]), rcond=None)[0]
    powers = np.rint(2 * weights[:-1]) / 2
    if np.abs(powers).max(initial=0.0) > 3 or np.abs(weights[:-1] - powers).max(initial=0.0) > 0.1:
        return None
    parents = [others[place] for place, power in zip(chosen, powers, strict=True) if power]
    powers = powers[powers != 0]
    if not 2 <= len(parents) <= 3:
        return None
    plain = np.prod(rows[:, parents] ** powers, axis=1)
    factor = float(np.median(rows[:, child] / plain))
    factor = float(np.rint(factor)) if abs(factor - np.rint(factor)) < 1e-3 * abs(factor) else factor
    found = _judged(child, parents, Product(tuple(map(float, powers)), factor), rows, columns)
    return found if found is not None and found.left < TIGHT else None


def _orders(values: Float[np.ndarray, "n d"], columns: Sequence[Column]) -> Iterator[Candidate]:
    """Pairs of dates, and of numbers, one of which is never below the other though it would be by chance."""
    dates = [place for place, column in enumerate(columns) if column.kind == "datetime" and _varies(column)]
    for group in (dates, _numbers(columns)):
        for child, parent in permutations(group, 2):
            known = ~np.isnan(values[:, child]) & ~np.isnan(values[:, parent])
            x, other = values[known, child], values[known, parent]
            if len(x) < FEWEST_ORDERED or _is_broken(x < other) or _by_chance(x, other) < NOT_BY_CHANCE:
                continue
            left = _width(x - other) / max(_width(x), 1e-300)
            if left <= 1 and _repeated(x - other) >= _repeated(x) - 0.1:
                yield Candidate(child, (parent,), Linear((1.0,)), "after", TIGHT + left)


def _is_broken(below: Bool[np.ndarray, " n"]) -> bool:
    return float(below.mean()) > (1 - HOLDING) / 10


def _by_chance(x: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> float:
    """The fraction of pairs from different rows in which x is below the other."""
    return float((len(other) - np.searchsorted(np.sort(other), x, side="right")).mean() / len(other))
