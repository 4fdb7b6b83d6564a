"""Parents that known children are solved for: their distribution is that of Bayes' theorem, by listing all rows."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reparax.data import is_solved, log_probabilities, solved
from reparax.data.relations import Extension, Implied, Linear, Lookup, Product, Relation
from reparax.summary import Column

ROWS = 30_000
REMAINDERS = {"exact": np.array([0.0]), "near": np.array([-1.0, 0.0, 1.0]), "after": np.array([0.0, 1.0, 2.0])}


def number(name: str, values: np.ndarray) -> Column:
    return Column(
        name=name, kind="count", dtype="int64", low=values.min(), high=values.max(), mean=0.0, std=1.0, spread=1.0,
        step=1.0,
    )  # fmt: skip


def category(name: str, count: int) -> Column:
    return Column(
        name=name, kind="categorical", dtype="string", low=0.0, high=count - 1.0, mean=0.0, std=1.0, spread=1.0,
        categories=tuple(map(str, range(count))),
    )  # fmt: skip


def relation(child: str, parents: tuple[str, ...], form, rule: str = "exact") -> Relation:
    column = category("left", 4) if isinstance(form, Implied) else number("left", REMAINDERS[rule])
    return Relation(child=child, parents=parents, form=form, rule=rule, remainder=column)


def with_spread(column: Column, rng: np.random.Generator) -> Column:
    return column if column.is_category else replace(column, spread=rng.choice([0.1, 1.0, 1.0, 1.0, 10.0]))


A, B, C = np.arange(0.0, 6.0), np.arange(1.0, 5.0), np.arange(-2.0, 3.0)
WIDE = np.array([-60.0, 60.0])
AFTER = relation("s", ("a",), Linear((1.0,)), "after")
PRODUCT = relation("s", ("a", "b"), Product((1.0, 1.0)))
SUM = relation("s", ("a", "b"), Linear((1.0, 1.0)))
TABLES = {
    "a sum": ({"a": A, "b": B}, [SUM]),
    "a sum of three": ({"a": A, "b": B, "c": C}, [relation("s", ("a", "b", "c"), Linear((1.0, 1.0, -1.0)))]),
    "nearly a sum": ({"a": A, "b": B}, [relation("s", ("a", "b"), Linear((1.0, 1.0)), "near")]),
    "a sum with weights": ({"a": A, "b": B}, [relation("s", ("a", "b"), Linear((2.0, 3.0)))]),
    "a sum that is rounded": ({"a": A, "b": B}, [relation("s", ("a", "b"), Linear((0.4, 0.3)))]),
    "an order": ({"a": A}, [AFTER]),
    "a product": ({"a": A[1:], "b": B}, [PRODUCT]),
    "a product with zeros": ({"a": A, "b": B - 1}, [PRODUCT]),
    "a ratio": ({"a": A, "b": B}, [relation("s", ("a", "b"), Product((1.0, -1.0)))]),
    "a chain": ({"a": A, "b": B}, [AFTER, relation("t", ("s", "b"), Linear((1.0, 1.0)))]),
    "a chain of its parent": ({"a": A}, [AFTER, relation("t", ("s", "a"), Linear((1.0, 1.0)))]),
    "a product and a sum": ({"a": A[1:], "b": B, "c": C}, [PRODUCT, relation("t", ("s", "c"), Linear((1.0, 1.0)))]),
    "shared parents": ({"a": A, "b": B, "c": C}, [SUM, relation("t", ("a", "c"), Linear((1.0, 1.0)))]),
    "sum and difference": ({"a": A, "b": B}, [SUM, relation("t", ("a", "b"), Linear((1.0, -1.0)))]),
    "a lookup": ({"g": np.arange(3.0)}, [relation("s", ("g",), Lookup((1.0, 3.0, 2.0)), "near")]),
    "an implied category": ({"g": np.arange(4.0)}, [relation("s", ("g",), Implied((0, 1, 0, 2)))]),
}  # fmt: skip


class Model:
    """Independent columns and remainders, and all rows with their probabilities."""

    def __init__(self, name: str, rng: np.random.Generator) -> None:
        roots, relations = TABLES[name]
        children = [one.child for one in relations]
        columns = [category(key, len(v)) if key == "g" else number(key, v) for key, v in roots.items()]
        codes = isinstance(relations[0].form, Implied)
        columns += [category(child, 3) if codes else number(child, WIDE) for child in children]
        # What is solved for depends on the spreads, the distribution does not.
        relations = [replace(one, remainder=with_spread(one.remainder, rng)) for one in relations]
        self.extension = Extension.of([with_spread(column, rng) for column in columns], relations)
        left = [np.arange(4.0) if codes else REMAINDERS[one.rule] for one in self.extension.relations]
        self.free = [*range(len(roots)), *range(len(columns), len(columns) + len(left))]
        self.values = [*roots.values(), *left]
        self.probabilities = [rng.dirichlet(np.full(len(values), 0.7)) for values in self.values]
        self.rng = rng
        cells = np.array(list(product(*self.values)))
        self.rows = self.extension.collapsed(self.extended(cells))
        weights = np.array(list(product(*self.probabilities))).prod(axis=1)
        # Two lists of causes may give the same row: a category that is as implied, or is drawn to be that one.
        same = (np.abs(self.extension.remainders(self.rows) - self.extended(cells)[:, len(columns) :]) < 1e-9).all(
            axis=1
        )
        self.weights = weights * same

    def extended(self, cells: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(cells), len(self.extension.columns) + len(self.extension.relations)))
        rows[:, self.free] = cells
        return rows

    def drawn(self) -> np.ndarray:
        pairs = zip(self.values, self.probabilities, strict=True)
        return self.extended(np.stack([self.rng.choice(v, ROWS, p=p) for v, p in pairs], axis=1))

    def log_prob(self, rows: np.ndarray) -> np.ndarray:
        """The log-probability of each column that is no child, and of each remainder."""
        result = np.zeros(rows.shape)
        for place, values, probabilities in zip(self.free, self.values, self.probabilities, strict=True):
            is_it = rows[:, place, None] == values
            with np.errstate(divide="ignore"):
                result[:, place] = np.log(is_it @ probabilities)
        return result


@pytest.mark.parametrize("name", TABLES)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=2, deadline=None)
def test_rows_have_the_distribution_given_the_known_cells(name, seed):
    check(name, seed)


@pytest.mark.full
@pytest.mark.parametrize("name", TABLES)
@given(seed=st.integers(0, 100_000))
@settings(max_examples=30, deadline=None)
def test_rows_of_many_tables_have_the_distribution_given_the_known_cells(name, seed):
    check(name, seed)


def check(name: str, seed: int) -> None:
    """Weighted rows against all rows of a random model, given random cells with a child among them."""
    rng = np.random.default_rng(seed)
    model = Model(name, rng)
    extension, size = model.extension, len(model.extension.columns)
    row = model.rows[rng.choice(len(model.rows), p=model.weights / model.weights.sum())]
    known = rng.random(size) < 0.25
    children = [extension.places[one.child] for one in extension.relations]
    known[rng.choice(children)] = True
    cells = np.where(known, row, np.nan)
    drawn = model.drawn()
    found = solved(extension, drawn, np.tile(cells, (ROWS, 1)), rng.random((ROWS, len(extension.relations), 2)))
    log_weights = found.log_weights(model.log_prob(extension.extended(found.values)))
    weights = np.exp(log_weights - log_weights.max()) if np.isfinite(log_weights.max()) else np.zeros(ROWS)
    if weights.sum() ** 2 < 100 * (weights**2).sum():  # too rare: refused
        return
    possible = weights > 0
    np.testing.assert_array_equal(found.values[possible][:, known], np.tile(row[known], (possible.sum(), 1)))
    numbers = [not isinstance(one.form, Implied) for one in extension.relations]  # categories have exceptions
    assert extension.holds(found.values[possible])[:, numbers].all()
    wanted = model.weights * (model.rows[:, known] == row[known]).all(axis=1)
    for place in range(size):
        for value in np.unique(model.rows[wanted > 0, place]):
            exact = wanted @ (model.rows[:, place] == value) / wanted.sum()
            is_it = found.values[:, place] == value
            estimate = weights @ is_it / weights.sum()
            error = np.sqrt((weights**2 * (is_it - exact) ** 2).sum()) / weights.sum()
            assert abs(estimate - exact) <= 5 * error + 2e-3, (name, known, place, value, estimate, exact)


def test_a_spike_of_a_column_without_rounding_is_more_probable_than_other_numbers():
    """Where a + b = 3 and half of the b are 0, half of the rows with the likely a have b = 0."""
    columns = [number("a", WIDE), number("b", WIDE)]
    fine = [
        Column(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "step": 0.01, "spikes": (0.0,)})
        for one in columns
    ]
    densities = np.zeros((2, 2))
    x = np.array([[3.0, 0.0], [2.0, 1.0]])
    found = log_probabilities(densities, x, fine, [True, True])
    np.testing.assert_allclose(found, [[np.log(0.01), 0.0], [np.log(0.01), np.log(0.01)]])


def test_what_is_solved():
    extension = Model("shared parents", np.random.default_rng(0)).extension
    places = extension.places

    def known(*names: str) -> np.ndarray:
        return np.isin(np.arange(len(places)), [places[name] for name in names])

    assert is_solved(extension, known("s"))
    assert is_solved(extension, known("s", "a"))
    assert not is_solved(extension, known("s", "a", "b"))
    assert not is_solved(extension, known("a", "c"))
