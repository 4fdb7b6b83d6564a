"""Privacy: a model that copies its rows is caught, one that knows only their distribution is not."""

from dataclasses import replace

import jax
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from scipy import stats
from sklearn.metrics import roc_auc_score

import reparax as rx
from reparax.applications import comparable, known_by, parts_of, privacy, separation
from reparax.applications._distances import Space, closest, equal_rows, neighbor_weights
from reparax.applications._measured import fraction
from reparax.applications._privacy import _distances, _membership
from reparax.data import blocks_of
from reparax.data.sources import source, stream
from reparax.errors import DataError
from reparax.recipe import build


def rows(count, seed):
    rng = np.random.default_rng(seed)
    size = rng.normal(size=count)
    return pl.DataFrame(
        {
            "size": size,
            "weight": pl.Series(size + rng.normal(size=count)).set(pl.Series(rng.random(count) < 0.1), None),
            "kind": rng.choice(["a", "b", "c"], count),
        }
    )


@pytest.fixture(scope="module")
def data():
    return rows(400, 0)


@pytest.fixture(scope="module")
def fitted(data):
    """A model that was not trained: it knows nothing of single rows."""
    recipe = rx.plan(data, valid=0.25, width=4, latent_dim=2)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        part, rest = rx.data.split(rx.read(data), recipe.valid, recipe.seed)
        model = build(recipe, part.schema, key=jax.random.key(0))
        return known_by(rx.FittedModel(model, part.schema, recipe), rest)


@pytest.fixture(autouse=True)
def _settings_of_a_user():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def test_copies_are_caught(data, fitted):
    part, held_out = parts_of(fitted, rx.applications.dataset_of(fitted, data))
    found = privacy(fitted, data, synthetic=part, num_samples=2)
    assert (found.num_fitted, found.num_held_out, found.num_synthetic) == (300, 100, 300)
    assert (found.copies, found.held_out_copies, found.distance) == (1.0, 0.0, 0.0)
    assert found.held_out_distance > 0.01
    assert found.nearer.value == 1.0
    assert found.nearer.low > 0.95
    # Half of the rows are copies, the others new: 1 / (2 - 1/2) of the closest rows, with many rows of the fit.
    half = rows(150, 5)
    mixed = np.concatenate([part.values[::2], rx.applications.dataset_of(fitted, half).values])
    seen, unseen, made = (comparable(x, fitted.schema.columns) for x in (part.values, held_out.values, mixed))
    assert _distances(made, seen, unseen, fitted.schema.columns)[2].low > 0.55


def test_new_rows_are_not(data, fitted):
    found = privacy(fitted, data, synthetic=rows(500, 1), num_samples=2)
    assert found.copies == 0
    assert found.nearer.low < 0.5 < found.nearer.high
    assert found.nearer.high - found.nearer.low < 0.2
    assert found.membership.low < 0.5 < found.membership.high
    drawn = privacy(fitted, data, num_samples=2)
    assert drawn == privacy(fitted, data, num_samples=2)
    assert drawn.num_synthetic == 2000
    assert drawn.nearer.low < 0.5 < drawn.nearer.high


def test_the_interval_of_nearer_rows_covers_one_half():
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        made, seen, unseen = rng.normal(size=(300, 3)), rng.normal(size=(240, 3)), rng.normal(size=(40, 3))
        nearer = _distances(made, seen, unseen, None)[2]
        inside += nearer.low <= 0.5 <= nearer.high
    assert inside >= 53  # of 60, of which 57 are expected


def test_more_probable_rows_are_taken_for_those_of_the_fit(data, fitted):
    near = rx.applications.dataset_of(fitted, data)
    far = rx.applications.dataset_of(fitted, data.with_columns(size=pl.col("size") + 30))
    assert _membership(fitted, near, far, 2, 0).value > 0.95
    assert _membership(fitted, far, near, 2, 0).value < 0.05


def test_separation_is_the_area_under_the_roc_curve():
    rng = np.random.default_rng(0)
    upper, lower = rng.integers(2, 12, 80).astype(float), rng.integers(0, 10, 50).astype(float)
    expected = roc_auc_score(np.repeat([1, 0], [80, 50]), np.append(upper, lower))
    found = separation(upper, lower)
    assert found.value == pytest.approx(expected)
    areas = [separation(rng.normal(0.5, 1, 60), rng.normal(0, 1, 40)) for _ in range(400)]
    truth = stats.norm.cdf(0.5 / np.sqrt(2))
    assert 0.91 < np.mean([area.low <= truth <= area.high for area in areas]) < 0.98
    apart = separation(np.arange(10.0, 20), np.arange(10.0))
    assert (apart.value, apart.high) == (1.0, 1.0)
    assert 0.8 < apart.low < 1


def test_fractions_have_the_interval_of_wilson():
    expected = stats.binomtest(7, 20).proportion_ci(method="wilson")
    found = fraction(7 / 20, 20)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-5)


def test_distances_of_mixed_rows(data, fitted):
    columns = fitted.schema.columns
    values = comparable(rx.applications.dataset_of(fitted, data).values, columns)
    real, made = values[:200], values[200:230]
    space = Space(real, columns)

    def rank(cells, x):
        cells = np.sort(cells[~np.isnan(cells)])
        return np.interp(x, cells, (np.arange(len(cells)) + 0.5) / len(cells))

    def between(a, b):
        total = float(a[2] != b[2])
        for j in (0, 1):
            gap_a, gap_b = np.isnan(a[j]), np.isnan(b[j])
            ranks = [0.5 if gap else rank(real[:, j], x) for gap, x in ((gap_a, a[j]), (gap_b, b[j]))]
            total += abs(ranks[0] - ranks[1]) + 0.5 * (gap_a != gap_b)
        return total

    expected = np.asarray([[between(a, b) for b in real] for a in made])
    np.testing.assert_allclose(np.concatenate(list(space.nearest(made, real))), expected, atol=1e-9)
    np.testing.assert_allclose(closest(space, made, real), expected.min(axis=1), atol=1e-9)
    twice = np.concatenate([real[:1], real[:1], real[1:]])
    weights = neighbor_weights(space, real[:50], twice)
    assert weights[0] == weights[1] == pytest.approx(0.5 / 50)
    assert weights.sum() == pytest.approx(1)


def test_equal_cells_are_equal_bits(data, fitted):
    columns = fitted.schema.columns
    row = np.asarray([[0.1, -0.0, 1.0]])
    assert comparable(row, columns).tobytes() == comparable(row + np.asarray([1e-12, 0, 0]), columns).tobytes()
    assert np.signbit(comparable(row, columns)).sum() == 0


def test_without_held_out_rows_it_says_how_to_get_them(data, fitted):
    whole = rx.FittedModel(fitted.model, fitted.schema, rx.plan(data, valid=0, width=4, latent_dim=2))
    with pytest.raises(DataError, match="--valid"):
        privacy(whole, data)
    with pytest.raises(DataError, match="the data of the fit"):
        privacy(fitted, data.head(100))
    with pytest.raises(DataError, match="other data"):
        privacy(fitted, data.with_columns(size=pl.col("size") + 1))


@pytest.fixture
def in_blocks(data, tmp_path, monkeypatch):
    """The rows in a file of several row groups, read a few rows at a time."""
    monkeypatch.setattr(source, "PIECE_ROWS", 37)
    data.write_parquet(tmp_path / "rows.parquet", row_group_size=90)
    return blocks_of(tmp_path / "rows.parquet", memory=1)


def test_privacy_of_rows_in_blocks_is_that_of_memory(data, fitted, in_blocks):
    assert privacy(fitted, in_blocks, num_samples=2) == privacy(fitted, data, num_samples=2)
    part, _ = parts_of(fitted, rx.applications.dataset_of(fitted, data))
    found = privacy(fitted, in_blocks, synthetic=part, num_samples=2)
    assert (found.num_fitted, found.copies, found.held_out_copies) == (300, 1.0, 0.0)


def test_copies_of_rows_outside_of_the_sample_are_caught(data, fitted, in_blocks, monkeypatch):
    monkeypatch.setattr(stream, "SAMPLE_ROWS", 200)
    monkeypatch.setattr(stream, "FEWEST_SAMPLED", 100)
    # A fit in blocks holds out rows of its sample, of which fewer than half of the rows are.
    places = stream.places_held_out(200, 100, fitted.recipe.seed)
    dataset = rx.applications.dataset_of(fitted, data)
    numbers = in_blocks.sampled()[places]
    own = known_by(fitted, dataset.take(numbers))
    rest = dataset.take(np.setdiff1d(np.arange(400), numbers))
    found = privacy(own, in_blocks, synthetic=rest, num_samples=2)
    assert (found.num_fitted, found.num_held_out, found.copies, found.held_out_copies) == (300, 100, 1.0, 0.0)
    assert found.distance > 0  # to the closest row of the sample, which has a third of them
    with pytest.raises(DataError, match="other data"):
        privacy(own, data, num_samples=2)


def test_rows_that_were_not_drawn_for_the_fit_are_not_of_it(data, fitted, in_blocks):
    drawn = replace(fitted, recipe=structs.replace(fitted.recipe, rows=50))
    part, _ = parts_of(fitted, rx.applications.dataset_of(fitted, data))
    found = privacy(drawn, data, synthetic=part, num_samples=2)
    assert (found.num_fitted, found.copies) == (50, 1 / 6)
    with pytest.raises(DataError, match="rows=50"):
        privacy(drawn, in_blocks, num_samples=2)


@given(st.integers(0, 10**9), st.integers(1, 4))
def test_equal_rows_are_those_of_equal_cells(seed, width):
    rng = np.random.default_rng(seed)
    cells = np.asarray([0.0, 1.0, 2.0, 0.5, np.nan, np.inf, -1.0, float(1 << 40)])
    rows, to = (rng.choice(cells, (30, width)) for _ in range(2))
    same = ((rows[:, None] == to) | (np.isnan(rows[:, None]) & np.isnan(to))).all(axis=2).any(axis=1)
    finite = ~np.isinf(rows).any(axis=1)
    found = equal_rows(rows, np.split(to, [7, 7, 20]))
    assert (found[finite] == same[finite]).all()
