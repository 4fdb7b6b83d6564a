"""Columns and labels that are given: random tables with random given columns, there and back again."""

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reparax.data import Schema, column_lines, described, joint_values, read, read_as, split, to_frame
from reparax.errors import DataError, ReparaxError

NAMES = ("a", "b", "c d", "é,è", "label")
GAP = st.sampled_from([False] * 15 + [True])
KINDS = {
    "real": st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
    "few": st.integers(0, 3),
    "many": st.integers(-100, 10_000),
    "large": st.integers(2**53, 2**53 + 5),
    "bits": st.integers(0, 1),
    "truth": st.booleans(),
    "text": st.sampled_from(["x", "y", " y", "Z", "01", "1"]),
    "words": st.text("ab ", min_size=1, max_size=8),
    "date": st.dates(),
    "same": st.just(7),
}


@st.composite
def tables(draw) -> pl.DataFrame:
    count = draw(st.integers(2, 30))
    columns = {}
    for name in NAMES[: draw(st.integers(2, len(NAMES)))]:
        cells = draw(st.lists(KINDS[draw(st.sampled_from(sorted(KINDS)))], min_size=count, max_size=count))
        gaps = draw(st.lists(GAP, min_size=count, max_size=count)) if draw(st.booleans()) else [False] * count
        columns[name] = [None if gap else cell for cell, gap in zip(cells, gaps, strict=True)]
    return pl.DataFrame(columns)


def read_or_none(*arguments, **options):
    """The data; None where they are refused with a sentence."""
    try:
        return read(*arguments, **options)
    except ReparaxError:
        return None


@settings(deadline=None, max_examples=60)
@given(tables(), st.sets(st.sampled_from(NAMES), min_size=1, max_size=3))
def test_given_columns_come_back_where_they_were(table, names):
    plain, data = read_or_none(table), read_or_none(table, given=sorted(names))
    if plain is None or data is None:
        # Nothing is refused but what is unknown, left out, missing, or all there is.
        columns = () if plain is None else plain.schema.columns
        kept = {column.name for column in columns}
        missing = any(column.missing for column in columns if column.name in names)
        assert plain is None or missing or not names <= kept or names == kept
        return
    np.testing.assert_allclose(joint_values(data), plain.values.astype(np.float64), rtol=1e-6)
    assert [column.name for column in data.schema.joint.columns] == [column.name for column in plain.schema.columns]
    # The rest is as if the table had never had these columns.
    rest = read(table.drop(names))
    joint = to_frame(joint_values(data), data.schema.joint)
    assert joint.select(*sorted(names)).equals(to_frame(plain.values, plain.schema).select(*sorted(names)))
    assert joint.drop(*names).equals(to_frame(rest.values, rest.schema))
    np.testing.assert_array_equal(data.values, rest.values)
    assert data.values.dtype == rest.values.dtype
    fields = ("kind", "event_shape", "value_kind", "low", "high", "dtype", "names")
    assert [getattr(data.schema, field) for field in fields] == [getattr(rest.schema, field) for field in fields]
    for field in ("mean", "std"):
        np.testing.assert_allclose(getattr(data.schema, field), getattr(rest.schema, field), rtol=1e-12)
    assert sum(data.schema.given.row_counts) == len(table)


@settings(deadline=None, max_examples=40)
@given(tables(), st.sets(st.sampled_from(NAMES), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_later_data_are_matched_by_name(table, names, random):
    data = read_or_none(table, given=sorted(names))
    assume(data is not None)
    schema = msgspec.json.decode(msgspec.json.encode(data.schema), type=Schema)
    assert schema == data.schema
    order = random.sample(table.columns, len(table.columns))
    for source in (table, table.select(order), read(table), read(table).take(np.arange(len(table))), data):
        again = read_as(source, schema, allow_missing=True)
        np.testing.assert_array_equal(again.values, data.values)
        np.testing.assert_array_equal(again.conditions.values, data.conditions.values)
    rows = np.asarray(random.sample(range(len(table)), len(table)))
    np.testing.assert_array_equal(joint_values(data.take(rows)), joint_values(data)[rows])
    one = table.select(order[:1]) if order[0] not in names else table.drop(order[0])
    with pytest.raises(ReparaxError):
        read_as(one, schema)
    assert len(column_lines(schema)) == len(table.columns)


TABLE = pl.DataFrame(
    {
        "site": ["Ulm", "Bonn", "Ulm", "Köln"] * 10,
        "dose": [0.5, 1.0, 2.0, 4.0, 8.0] * 8,
        "x": np.random.default_rng(0).normal(size=40),
        "kind": [0, 1] * 20,
    }
)


def test_a_split_describes_what_is_given_by_its_first_part():
    fitted_on, held_out = split(read(TABLE, given=["site", "dose"]), 0.25, 0)
    assert fitted_on.schema == held_out.schema == described(fitted_on)
    assert fitted_on.conditions.schema == held_out.conditions.schema == fitted_on.schema.given
    assert sum(fitted_on.schema.given.row_counts) == 30
    assert fitted_on.schema.given.num_examples == 30


def test_many_combinations_are_kept_as_a_sample():
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"x": rng.normal(size=5000), "c": rng.normal(size=5000)})
    schema = read(table, given=["c"]).schema.given
    assert len(schema.rows) == sum(schema.row_counts) == 1000
    assert set(np.asarray(schema.rows).ravel()) <= set(table["c"].to_numpy().astype(np.float32).astype(np.float64))


def test_labels_are_given_as_categories():
    for names in (["kind"], ["label"]):
        data = read(TABLE, label="kind", given=names)
        (column,) = data.schema.given_columns
        assert (column.name, column.kind, column.categories) == (names[0], "binary", (0, 1))
        assert [column.name for column in data.schema.columns] == ["site", "dose", "x"]
        np.testing.assert_array_equal(data.conditions.values[:, 0], TABLE["kind"].to_numpy())
    with pytest.raises(DataError, match="--label"):
        read(np.zeros((4, 3, 3)) + np.arange(4)[:, None, None], given=["label"])
    texts = read(TABLE, label="site", given=["site"])
    assert texts.schema.given_columns[0].categories[0] == "Ulm"
    with pytest.raises(DataError, match="row 3"):
        read(TABLE.with_columns(pl.Series("site", ["a", "b", None, "a"] * 10)), label="site", given=["site"])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (TABLE.with_columns(pl.Series("site", ["Ulm", "Rom", *["Bonn"] * 38])), "'Rom' in row 2"),
        (TABLE.with_columns(pl.Series("dose", [1.0, None, *[2.0] * 38])), "'dose'.*1 missing, the first in row 2"),
        (TABLE.with_columns(pl.Series("dose", ["much"] * 40)), "numbers in column 'dose'"),
        (TABLE.with_columns(pl.Series("dose", [np.inf] * 40)), "infinite"),
        (TABLE.drop("dose"), "'dose'"),
    ],
)
def test_wrong_later_data_are_refused_with_the_row(table, words):
    with pytest.raises(DataError, match=words):
        read_as(table, read(TABLE, given=["site", "dose"]).schema)


def test_a_number_beyond_those_of_the_fit_is_noted():
    schema = read(TABLE, given=["dose"]).schema
    data = read_as(TABLE.with_columns(pl.Series("dose", [9.0, *[1.0] * 39])), schema)
    assert any("'dose'" in note and "0.5 to 8" in note for note in data.notes)
