"""Relations between columns: found where they were planted and not elsewhere, taken out and put back without loss."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reparax.data import fractions_held, read, related, relation_lines
from reparax.data.relations import is_plausible
from reparax.errors import DataError

ROWS = 600


def planted(seed: int, rows: int = ROWS) -> pl.DataFrame:
    """A table with a relation of every kind, and independent columns beside them."""
    rng = np.random.default_rng(seed)
    zone = rng.choice([f"zone {i}" for i in range(12)], rows, p=rng.dirichlet(np.full(12, 3.0)))
    borough = np.array(["north", "south", "west"])[[int(name.split()[1]) % 3 for name in zone]]
    start = np.datetime64("2024-03-01T00:00:00") + rng.integers(0, 30 * 86400, rows).astype("timedelta64[s]")
    fare, tip = np.round(rng.gamma(3, 4, rows), 2), np.round(rng.gamma(2, 1, rows), 2)
    paid = rng.choice(["cash", "card"], rows)
    tip = np.where(paid == "cash", 0.0, tip)
    price, count = np.round(rng.lognormal(2, 0.6, rows), 2), rng.integers(1, 9, rows)
    return pl.DataFrame(
        {
            "start": start.astype("datetime64[us]"),
            "zone": zone,
            "fare": fare,
            "tip": tip,
            "paid": paid,
            "price": price,
            "count": count,
            "noise": rng.normal(size=rows),
            "letter": rng.choice(list("abc"), rows),
            "end": (start + rng.integers(60, 3600, rows).astype("timedelta64[s]")).astype("datetime64[us]"),
            "borough": borough,
            "code": np.array([7.0, 3.0, 11.0])[[int(name.split()[1]) % 3 for name in zone]],
            "total": np.round(fare + tip + rng.choice([0.0, 2.5], rows, p=[0.9, 0.1]), 2),
            "amount": np.round(price * count, 2),
        }
    )


def found_in(frame: pl.DataFrame):
    dataset = read(frame)
    return related(dataset.schema, dataset.values, find=True), dataset.values


@pytest.mark.parametrize("seed", range(4))
def test_planted_relations_are_found(seed):
    schema, _ = found_in(planted(seed))
    by_child = {relation.child: relation for relation in schema.relations}
    assert set(by_child["end"].parents) == {"start"} or set(by_child["start"].parents) == {"end"}
    assert set(by_child["borough"].parents) <= {"zone", "code"}
    assert set(by_child["total"].parents) == {"fare", "tip"}
    assert set(by_child["amount"].parents) == {"price", "count"}
    # Of two columns that follow from each other, one is kept.
    assert {"code", "borough"} & set(by_child)
    assert not {"noise", "letter", "paid", "zone"} & set(by_child)
    assert any(set(one.columns) == {"tip", "paid"} for one in schema.constraints)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_found_among_independent_columns(seed):
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "a": rng.normal(size=ROWS),
            "b": rng.gamma(2, size=ROWS),
            "c": np.round(rng.normal(5, 2, ROWS), 1),
            "d": rng.poisson(2, ROWS),
            "e": rng.choice([f"category {i}" for i in range(30)], ROWS),
            "f": rng.choice(["x", "y"], ROWS, p=[0.1, 0.9]),
            "g": np.where(rng.random(ROWS) < 0.5, 0.0, rng.gamma(2, size=ROWS)),
            "h": (np.datetime64("2024-01-01") + rng.integers(0, 300, ROWS).astype("timedelta64[D]")),
            "i": (np.datetime64("2024-01-01") + rng.integers(0, 300, ROWS).astype("timedelta64[D]")),
        }
    )
    schema, _ = found_in(frame)
    assert not schema.relations
    assert not schema.constraints


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_put_together_again_without_loss(seed):
    schema, values = found_in(planted(seed))
    extension = schema.extension
    back = extension.collapsed(extension.extended(values))
    kinds = [column.is_category for column in schema.columns]
    assert (back[:, kinds] == values[:, kinds]).all()
    np.testing.assert_allclose(back, values, rtol=1e-6, atol=1e-9)


def hidden_and_drawn(schema, values, seed: int, missing: float):
    """Rows with gaps, and others in whose place each cell and remainder comes from another row."""
    rng = np.random.default_rng(seed)
    known = np.where(rng.random(values.shape) < missing, np.nan, values)
    drawn = schema.extension.extended(values[rng.permutation(len(values))])
    remainders = schema.extension.remainders(values)
    drawn[:, values.shape[1] :] = remainders[rng.permutation(len(values))]
    return known, drawn


@given(seed=st.integers(0, 10_000), missing=st.floats(0, 0.6))
@settings(max_examples=20, deadline=None)
def test_filled_gaps_agree_with_the_cells_that_are_known(seed, missing):
    """Whichever cells are missing, the filled row keeps the known ones, and exact relations hold in it."""
    schema, values = FOUND
    schema = replace(schema, relations=tuple(replace(each, stated=True) for each in schema.relations))
    known, drawn = hidden_and_drawn(schema, values, seed, missing)
    filled = schema.extension.reconciled(drawn, known)
    observed = ~np.isnan(known)
    np.testing.assert_array_equal(filled[observed], known[observed])
    assert not np.isnan(filled).any()
    # A child of a given category and gaps elsewhere: the category of the parent is one that implies it.
    held = dict(zip((line.text for line in relation_lines(schema)), fractions_held(schema, filled), strict=True))
    assert held["end is not below start"] == 1
    implied = [fraction for text, fraction in held.items() if text.startswith("borough")]
    assert implied == [1.0]


@given(seed=st.integers(0, 10_000), missing=st.floats(0, 0.6), beyond=st.floats(0, 1000))
@settings(max_examples=20, deadline=None)
def test_parents_are_never_far_out_of_the_range_of_the_data(seed, missing, beyond):
    """A known child that no parents in their range give, and a remainder that does not fit it, do not move them out."""
    schema, values = FOUND
    known, drawn = hidden_and_drawn(schema, values, seed, missing)
    extension = schema.extension
    rng = np.random.default_rng(seed)
    for relation in schema.relations:
        column, place = extension.columns[extension.places[relation.child]], extension.places[relation.child]
        if not column.is_category:
            known[rng.integers(len(known)), place] = column.high + beyond * column.spread
    filled = extension.reconciled(drawn, known)
    for relation in schema.relations:
        for place in extension.parents(relation):
            assert is_plausible(filled[np.isnan(known[:, place]), place], extension.columns[place]).all()


def test_an_order_that_holds_is_left_as_it_is():
    schema, values = FOUND
    end, start = (schema.extension.places[name] for name in ("end", "start"))
    known = values.copy()
    known[:, start] = np.nan
    drawn = schema.extension.extended(values)
    drawn[:, start] -= 0.01
    drawn[::2, start] = known[::2, end] + 1.0
    filled = schema.extension.reconciled(drawn, known)
    np.testing.assert_array_equal(filled[1::2, start], drawn[1::2, start])
    np.testing.assert_allclose(filled[::2, start], values[::2, start], atol=1e-9)
    # Without regard to what is known, nothing is solved for.
    np.testing.assert_array_equal(schema.extension.collapsed(drawn, known)[:, start], drawn[:, start])


FOUND = found_in(planted(0))


def test_a_relation_of_some_rows_is_not_one():
    frame = planted(1).with_columns(
        pl.when(pl.int_range(pl.len()) % 20 == 0).then(pl.lit("north")).otherwise(pl.col("borough")).alias("borough")
    )
    schema, _ = found_in(frame.drop("code"))
    assert "borough" not in {relation.child for relation in schema.relations}


def test_a_column_that_is_constant_where_another_is_known_does_not_follow_from_it():
    """Gaps that follow from a group: wherever the method is known, the group is the same."""
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b", "c"], ROWS)
    schema, _ = found_in(
        pl.DataFrame(
            {
                "group": group,
                "code": np.searchsorted(["a", "b", "c"], group) + 0.5,
                "method": pl.Series(rng.choice(["x", "y"], ROWS).tolist()).set(pl.Series(group != "a"), None),
            }
        )
    )
    assert {relation.parents for relation in schema.relations} == {("group",)}


class TestStatements:
    """What a user states holds in every row, or is refused."""

    def test_relations_and_constraints(self):
        stated = {
            "end": {"after": "start"},
            "total": {"range": [0, None]},
            "borough": {"of": "zone"},
            "amount": {"kind": "continuous"},
            "letter": {"with": ["paid"]},
        }
        schema = read(planted(0), schema=stated).schema
        assert {relation.child for relation in schema.relations} == {"end", "borough"}
        assert all(relation.stated for relation in schema.relations)
        assert len(schema.constraints) == 2
        kept = related(schema, read(planted(0)).values, find=True)
        assert {relation.child for relation in kept.relations if relation.stated} == {"end", "borough"}
        assert len(kept.relations) > 2

    @pytest.mark.parametrize(
        ("stated", "words"),
        [
            ({"start": {"after": "end"}}, "600 rows where it does not, the first of them row 1"),
            ({"total": {"sum": ["fare", "tip"]}}, "rows? where it does not"),
            ({"borough": {"of": "letter"}}, "rows? where it does not"),
            ({"fare": {"range": [1000, None]}}, "600 rows where it does not"),
            ({"letter": {"unique": True}}, "rows where it does not"),
            ({"end": {"after": "paid"}}, "numbers or dates"),
            ({"end": {"after": "nothing"}}, "got 'nothing'"),
            ({"end": {"follows": "start"}}, "one of after, before"),
            ({"end": {"after": ["start"]}}, "the name of a column"),
            ({"fare": {"range": ["a", "b"]}}, "two numbers"),
            ({"end": {"after": "end"}}, "itself"),
            ({"borough": {"of": "zone"}, "zone": {"of": "borough"}}, "circular"),
        ],
    )
    def test_refused(self, stated, words):
        with pytest.raises(DataError, match=words):
            read(planted(0), schema=stated)

    def test_circular_relations_are_refused(self):
        frame = pl.DataFrame({"a": [1.0, 2.0, 3.0] * 50, "b": [2.0, 4.0, 5.0] * 50, "c": [3.0, 6.0, 8.0] * 50})
        with pytest.raises(DataError, match="circular"):
            read(frame, schema={"c": {"sum": ["a", "b"]}, "a": {"difference": ["c", "b"]}})

    def test_from_a_file(self, tmp_path):
        path = tmp_path / "schema.json"
        path.write_text(json.dumps({"end": {"after": "start"}, "noise": "exclude"}))
        schema = read(planted(0), schema=path).schema
        assert [str(relation) for relation in schema.relations] == ["end is not below start"]

    words = st.sampled_from(
        ["after", "before", "of", "sum", "product", "ratio", "difference", "range", "unique", "with"]
    )
    names = st.sampled_from([*planted(0, 120).columns, "nothing"])
    whats = st.one_of(names, st.lists(names, max_size=3), st.booleans(), st.none(), st.lists(st.floats(), max_size=3))

    @given(stated=st.dictionaries(names, st.dictionaries(words, whats, max_size=2), max_size=3))
    @settings(max_examples=60, deadline=None)
    def test_any_statement_is_kept_or_refused(self, stated):
        frame = planted(3, 120)
        try:
            dataset = read(frame, schema=stated)
        except DataError:
            return
        assert dataset.schema.holds(dataset.values).all()
