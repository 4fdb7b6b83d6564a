"""What comes out of a model is what could have gone in: values, kinds of frames, and the numbers of the report."""

import warnings

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest

import reparax as rx
from reparax.errors import ColumnsLeftOut, DataError, RecipeError
from reparax.reports import study_of

ROWS = 300


@pytest.fixture(autouse=True)
def _settings_of_a_user():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def rides() -> pl.DataFrame:
    """Times, which shift the matrix, beside amounts that are mostly zero, with and without a step."""
    rng = np.random.default_rng(0)
    start = np.datetime64("2019-03-01T00:00:00") + rng.integers(0, 30 * 86400, ROWS).astype("timedelta64[s]")
    free = rng.random(ROWS) < 0.8
    return pl.DataFrame({
        "start": start.astype("datetime64[us]"),
        "tolls": np.where(free, 0.0, np.round(rng.gamma(4.0, 2.0, ROWS), 2)),
        "load": np.where(free, 0.0, rng.lognormal(size=ROWS)),
        "debt": np.where(free, 0.0, -rng.lognormal(size=ROWS)),
    })  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return rx.fit(rides(), epochs=8, width=16, seed=0, hide=0.0)


def test_zeros_come_out_as_zeros(fitted):
    drawn = rx.sample(fitted, 400, key=jax.random.key(1))
    for name in ("tolls", "load", "debt"):
        cells = drawn[name].to_numpy()
        assert 0.5 < (cells == 0).mean() < 0.98, name
        assert not np.signbit(cells[cells == 0]).any(), name
        assert not ((np.abs(cells) > 0) & (np.abs(cells) < 1e-4)).any(), name
    hundredths = drawn["tolls"].to_numpy() * 100
    np.testing.assert_allclose(hundredths, np.rint(hundredths), atol=1e-6)


def test_the_report_measures_the_cells_that_are_drawn(fitted):
    from reparax.reports.study import distance

    study = study_of(fitted, rides(), label=None, origin=None, num_samples=5, seed=0)
    real, drawn = study.compared
    frame = rx.data.to_frame(drawn, fitted.schema)
    for index, column in enumerate(fitted.schema.columns):
        if column.kind != "datetime":
            np.testing.assert_array_equal(drawn[:, index], frame[column.name].to_numpy())
            assert distance(real[:, index], drawn[:, index], column) < 0.3


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_samples_are_frames_of_the_library_of_the_fit(make):
    rng = np.random.default_rng(0)
    table = make({"x": rng.normal(size=80), "y": rng.normal(size=80)})
    drawn = rx.sample(rx.fit(table, epochs=1, width=4, hide=0.0), 3, key=jax.random.key(0))
    assert type(drawn) is type(table)


LABELS = [
    pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")], names=["place", "what"]),
    pd.Index([30, 10, 20], name="year"),
]


@pytest.mark.parametrize("labels", LABELS)
def test_labels_of_columns_that_are_no_text_come_back(labels):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"p": rng.normal(size=80), "q": rng.choice(["u", "v"], 80), "r": rng.normal(size=80)})
    table.columns = labels
    chosen = {"schema": {labels[0]: "continuous"}, "epochs": 1, "width": 4, "random_state": 0}
    estimator = rx.VAE(**chosen).fit(table)
    gaps = table.mask(rng.random(table.shape) < 0.1)
    frames = [
        rx.sample(estimator.model_, 3, key=jax.random.key(0)),
        estimator.sample(3),
        estimator.inverse_transform(estimator.transform(table)[:3]),
        estimator.impute(gaps),
        rx.impute(estimator.model_, rx.read(gaps).take(np.arange(3)), num_samples=3),
    ]
    for frame in frames:
        pd.testing.assert_index_equal(frame.columns, labels)


@pytest.mark.full
def test_such_labels_are_taken_where_names_are():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({30: rng.normal(size=80), 10: rng.choice(["u", "v"], 80), 20: rng.normal(size=80)})
    fitted = rx.fit(rx.read(table, label=30), epochs=1, width=4)
    drawn = rx.sample(fitted, 3, key=jax.random.key(0), where={10: "u"})
    assert (drawn[10] == "u").all()
    assert drawn.columns.tolist() == [10, 20]


def test_labels_that_are_written_alike_are_refused():
    with pytest.raises(DataError, match="'1' as text and as something else"):
        rx.read(pd.DataFrame({1: [1.0, 2.0], "1": [2.0, 3.0]}))


def test_columns_that_are_left_out_are_said():
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"id": np.arange(80), "x": rng.normal(size=80), "y": rng.normal(size=80)})
    with pytest.warns(ColumnsLeftOut, match="column 'id' was left out: a count of the rows"):
        rx.fit(table, epochs=1, width=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rx.fit(rx.read(table, exclude=["id"]), epochs=1, width=4)


@pytest.mark.parametrize("count", [1.5, 10**12, 0, "3"])
def test_impossible_numbers_of_samples_are_refused_at_once(fitted, count):
    with pytest.raises(RecipeError, match="samples"):
        rx.sample(fitted, count, key=jax.random.key(0))


def test_data_and_models_are_shown_in_a_few_lines(fitted):
    data = repr(rx.read(rides()))
    assert data.startswith("Dataset(300 rows of 4 columns; start: datetime, tolls: zero-inflated")
    assert len(data) < 400
    model = repr(fitted)
    assert model.startswith("FittedModel(posterior diagonal-normal, prior standard-normal, likelihood columns")
    assert "after 8 epochs" in model
    assert len(model) < 300
    assert repr(rx.read(np.zeros((4, 8, 8), np.uint8))).startswith("Dataset(4 images of 8x8x1")
