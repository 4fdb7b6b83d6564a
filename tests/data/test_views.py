"""Views that are joined by names: against dictionaries, for random names, orders and gaps."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reparax.data import Views, by_view, label_names, read
from reparax.errors import DataError

NAMES = st.lists(st.text("abc", min_size=1, max_size=3), min_size=2, max_size=8, unique=True)


@settings(max_examples=40, deadline=None)
@given(first=NAMES, second=NAMES, in_column=st.booleans())
def test_each_thing_has_its_own_values(first, second, in_column):
    """Values follow from the name, so that every row shows whose it is."""
    value = {name: float(place) + 0.25 for place, name in enumerate(sorted({*first, *second}))}
    array = np.array([[value[name], -value[name]] for name in first])
    table = pl.DataFrame({"who": second, "x": [value[name] for name in second]})
    if in_column:
        frame = pl.DataFrame({"p": array[:, 0], "who": first, "q": array[:, 1]})
        views = Views({"a": frame, "b": table}, id="who")
    else:
        views = Views({"a": array, "b": table.drop("who")}, id={"a": first, "b": second})
    dataset = read(views)
    assert dataset.ids.tolist() == list(dict.fromkeys([*first, *second]))
    for row, name in enumerate(dataset.ids.tolist()):
        wanted = [value[name], -value[name]] if name in first else [np.nan, np.nan]
        wanted += [value[name]] if name in second else [np.nan]
        np.testing.assert_array_equal(dataset.values[row], np.float32(wanted))
    some = dataset.take(np.arange(len(dataset))[::-1])
    again = by_view(some)
    assert [some.ids[row] for row in again["b"].rows.tolist()] == [n for n in some.ids.tolist() if n in second]


@settings(max_examples=40, deadline=None)
@given(gone=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=8))
def test_rows_without_a_view_are_gaps_and_rows_without_any_are_refused(gone):
    gone = np.array([(False, False), *gone, (False, False)])
    rows = np.arange(len(gone)) + 0.5
    first = np.where(gone[:, :1], np.nan, np.stack([rows, -rows], axis=1))
    table = pl.DataFrame({"x": [None if gap else row for gap, row in zip(gone[:, 1], rows, strict=True)]})
    views = Views({"a": first, "b": table})
    if gone.all(axis=1).any():
        with pytest.raises(DataError, match=f"none of row {np.argmax(gone.all(axis=1)) + 1};"):
            read(views)
        return
    found = by_view(read(views))
    assert found["a"].rows.tolist() == np.flatnonzero(~gone[:, 0]).tolist()
    assert found["b"].rows.tolist() == np.flatnonzero(~gone[:, 1]).tolist()
    assert found["b"].dataset.schema.columns[0].missing == 0


ABSENT = [None, np.nan, pd.NA, pd.NaT, "", "  ", "NA"]


@settings(max_examples=60, deadline=None)
@given(
    absent=st.sampled_from(ABSENT),
    names=st.sampled_from(["text", "number", "date"]),
    held=st.sampled_from([pd.DataFrame, pl.DataFrame, list, pd.Series, np.array]),
    row=st.integers(0, 4),
)
def test_rows_without_a_name_are_refused_whatever_holds_them(absent, names, held, row):
    """Absent names become text such as "nan" in some libraries, which would be one thing in all views."""
    assume(not (held is pl.DataFrame and names == "date" and isinstance(absent, str)))  # polars cannot hold these
    values = {"text": ["p1", "p2", "p3", "p4", "p5"], "number": [1.0, 2.0, 3.0, 4.0, 5.0]}.get(names)
    values = values or pd.date_range("2020-01-01", periods=5).to_list()
    some = [absent if place == row else value for place, value in enumerate(values)]
    x = np.arange(5) + 0.5
    if held is pl.DataFrame:
        some = [None if place == row and not isinstance(absent, str) else value for place, value in enumerate(some)]
        tables = (pl.DataFrame({"part": pl.Series(each, strict=False), "x": x}) for each in (some, values))
    elif held is pd.DataFrame:
        tables = (pd.DataFrame({"part": each, "x": x}) for each in (some, values))
    else:
        kind = {"dtype": object} if held is not list else {}
        ids = {"a": held(some, **kind), "b": held(values, **kind)}
        with pytest.raises(DataError, match=f"view 'a'; got row {row + 1} without one"):
            read(Views({"a": x[:, None], "b": x[:, None]}, id=ids))
        return
    first, second = tables
    with pytest.raises(DataError, match=f"view 'a'; got row {row + 1} without one"):
        read(Views({"a": first, "b": second}, id="part"))


@pytest.mark.parametrize("absent", [None, np.nan, pd.NA, pd.NaT])
def test_labels_of_pandas_that_are_absent_are_none(absent):
    frame = pd.DataFrame({"x": np.arange(4.0), "words": ["u", "v", absent, "u"], "numbers": [0.0, 1.0, np.nan, 1.0]})
    assert label_names(read(frame[["x", "words"]], label="words").labels) == ["u", "v", None, "u"]
    assert label_names(read(frame[["x", "numbers"]], label="numbers").labels) == ["0", "1", None, "1"]
    assert read(np.array([[absent, 1.0], [2.0, 3.0]], object)).values[0].tolist() == pytest.approx(
        [np.nan, 1.0], nan_ok=True
    )
