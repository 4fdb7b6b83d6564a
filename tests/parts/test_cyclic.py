"""Columns of directions and times of day: a density on the circle, whatever the cut."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax import registry
from reparax.data import read
from reparax.errors import DataError
from reparax.tables import RADII, Cyclic, Layout, RowDistribution
from reparax.tables.cyclic import PERIODS

ROWS = 3000
KINDS = {"wind": "degrees", "hour": "hours", "phase": "radians"}


def frame(turn: float = 0.0) -> pl.DataFrame:
    """Winds around north, hours around midnight that are whole, phases on an arc; all of one day or night."""
    rng = np.random.default_rng(0)
    night = rng.random(ROWS) < 0.7
    wind = np.where(night, rng.normal(0, 25, ROWS), rng.normal(150, 15, ROWS))
    hour = np.round(np.where(night, rng.normal(0, 1.5, ROWS), rng.normal(13, 1, ROWS)))
    phase = np.where(night, rng.uniform(-1, 1, ROWS), rng.vonmises(2.5, 8.0, ROWS))
    return pl.DataFrame({
        "wind": np.mod(wind + turn, 360.0),
        "hour": np.mod(hour, 24).astype(int),
        "phase": np.mod(phase, 2 * np.pi),
    })  # fmt: skip


def distribution(size: float, seed: int = 1) -> RowDistribution:
    schema = read(frame(), schema=KINDS).schema
    layout = Layout.of(schema.columns, schema.num_examples)
    draw = np.random.default_rng(seed).normal(size=layout.num_parameters)
    return RowDistribution(jnp.asarray(size * draw, jnp.float32), layout)


def test_the_kinds_are_listed_without_importing_their_family():
    assert {kind for kind, place in registry.column_kinds().items() if place.attribute == "Cyclic"} == set(PERIODS)
    assert all(set(family.kinds) <= set(registry.column_kinds()) for family in registry.column_families())


def circle(column: int, points: int = 24_000) -> tuple[np.ndarray, float]:
    """Values around the circle, and the length that each of them stands for."""
    name = list(KINDS)[column]
    period = PERIODS[KINDS[name]]
    return (np.arange(24.0), 1.0) if name == "hour" else ((np.arange(points) + 0.5) / points * period, period / points)


def density(law: RowDistribution, column: int, values: np.ndarray) -> np.ndarray:
    rows = np.full((len(values), 3), np.nan, np.float32)
    rows[:, column] = values
    return np.exp(np.asarray(jax.jit(jax.vmap(law.log_prob))(jnp.asarray(rows)), np.float64))


@pytest.mark.parametrize("size", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("column", range(3), ids=list(KINDS))
def test_the_density_integrates_to_one_and_is_periodic(column, size):
    law = distribution(size)
    values, length = circle(column)
    assert density(law, column, values).sum() * length == pytest.approx(1, abs=2e-3)
    period = PERIODS[list(KINDS.values())[column]]
    some = values[:: max(1, len(values) // 50)]
    np.testing.assert_allclose(density(law, column, some + period), density(law, column, some), rtol=2e-2)


@pytest.mark.parametrize("column", range(3), ids=list(KINDS))
def test_zeros_are_the_distribution_of_the_data(column):
    law = distribution(0.0)
    values, length = circle(column)
    bins = np.linspace(0, PERIODS[list(KINDS.values())[column]], 25) - (0.5 if column == 1 else 0)
    found = np.histogram(values, bins, weights=density(law, column, values) * length)[0]
    exact = np.histogram(frame()[:, column].to_numpy(), bins)[0] / ROWS
    # Whole hours have a probability each; other numbers follow quantiles, which are 5 % apart in the middle.
    np.testing.assert_allclose(np.cumsum(found), np.cumsum(exact), atol=0.004 if column == 1 else 0.05)


@pytest.mark.parametrize("column", range(3), ids=list(KINDS))
def test_draws_follow_the_density_and_keep_the_rounding(column):
    law = distribution(1.0)
    draws = np.asarray(jax.jit(lambda key: law.sample(key, (20_000,)))(jax.random.key(0)), np.float64)[:, column]
    values, length = circle(column)
    bins = np.linspace(0, PERIODS[list(KINDS.values())[column]], 13) - (0.5 if column == 1 else 0)
    exact = np.histogram(values, bins, weights=density(law, column, values) * length)[0]
    found = np.histogram(draws, bins)[0] / len(draws)
    assert np.max(np.abs(found - exact) / np.sqrt(exact * (1 - exact) / len(draws) + 1e-6)) < 6
    assert column != 1 or set(draws) <= set(range(24))


def test_draws_and_means_stay_within_the_range_of_the_data():
    law, data = distribution(0.7), frame().to_numpy()
    draws = np.asarray(jax.jit(lambda key: law.sample(key, (50_000,)))(jax.random.key(3)))
    assert (draws.min(axis=0) >= np.float32(data.min(axis=0))).all()
    assert (draws.max(axis=0) <= np.float32(data.max(axis=0))).all()
    (family,) = law.layout.families
    angles = jnp.linspace(0, 2 * jnp.pi, 2001)
    points = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    means = np.asarray(jax.vmap(lambda point: family.typical(jnp.tile(point, (3, 1))))(points))
    assert (means.min(axis=0) >= np.float32(data.min(axis=0))).all()
    assert (means.max(axis=0) <= np.float32(data.max(axis=0))).all()


@pytest.mark.parametrize("column", [0, 2], ids=["wind", "phase"])
def test_the_probability_of_a_neighborhood_crosses_the_cut(column):
    law = distribution(0.8)
    (family,) = law.layout.families
    assert isinstance(family, Cyclic)
    values, length = circle(column)
    mass = density(law, column, values) * length
    period = float(family.period[column])
    for at in (0.01 * period, 0.3 * period, 0.99 * period):
        row = jnp.full(3, at, jnp.float32)
        near = law.log_prob_near(law.layout.neighborhood(row, RADII))
        apart = np.abs((values - at + period / 2) % period - period / 2)
        for found, radius in zip(near, RADII, strict=True):
            exact = mass[apart <= radius * float(family.spread[column])].sum()
            assert float(jnp.exp(found[column])) == pytest.approx(exact, abs=3e-3)


def test_the_mean_is_a_direction_and_not_an_average_of_numbers():
    north = pl.DataFrame({"wind": np.mod(np.random.default_rng(1).normal(0, 20, 500), 360.0)})
    schema = read(north, schema={"wind": "degrees"}).schema
    mean = float(RowDistribution.of_data(Layout.of(schema.columns, schema.num_examples)).mean[0])
    assert min(mean, 360 - mean) < 5


def test_another_unit_changes_the_log_density_by_the_jacobian():
    degrees = frame().select("wind")
    radians = degrees.select(pl.col("wind") * (np.pi / 180))
    values = []
    for table, kind in ((degrees, "degrees"), (radians, "radians")):
        data = read(table, schema={"wind": kind})
        law = RowDistribution.of_data(Layout.of(data.schema.columns, data.schema.num_examples))
        values.append(np.asarray(jax.jit(jax.vmap(law.log_prob))(jnp.asarray(data.values, jnp.float32))))
    # Between two quantiles a number that is rounded otherwise has the density of the next interval.
    assert np.mean(np.abs(values[1] - values[0] - np.log(180 / np.pi)) < 5e-3) > 0.998
    assert np.abs(values[1] - values[0] - np.log(180 / np.pi)).max() < 1.0


def test_derivatives_are_finite_at_the_cut_and_with_nothing_learned():
    for size in (0.0, 50.0):
        law = distribution(size)
        row = jnp.asarray([0.0, 0.0, 2 * np.pi], jnp.float32)
        slope = jax.grad(lambda p, law=law, row=row: RowDistribution(p, law.layout).log_prob(row))(law.parameters)
        assert np.isfinite(slope).all()


def test_values_beyond_one_period_are_refused():
    with pytest.raises(DataError, match="within 24 in column 'hour'"):
        rx.fit(read(pl.DataFrame({"hour": np.arange(0.0, 50.0, 0.3)}), schema={"hour": "hours"}), epochs=1)


@pytest.fixture(scope="module")
def fitted():
    return rx.fit(read(frame()[:1500], schema=KINDS), epochs=20, width=32, seed=1, hide=0.0)


def test_a_fit_keeps_what_belongs_together_across_midnight(fitted, tmp_path):
    drawn = rx.sample(fitted, 2000, key=jax.random.key(2))
    table = drawn.to_frame() if hasattr(drawn, "to_frame") else drawn
    night = np.isin(table["hour"], [20, 21, 22, 23, 0, 1, 2, 3, 4])
    real = np.isin(frame()["hour"], [20, 21, 22, 23, 0, 1, 2, 3, 4])
    assert abs(night.mean() - real.mean()) < 0.1
    north = np.cos(np.deg2rad(np.asarray(table["wind"], float)))
    assert north[night].mean() > 0.6
    assert north[~night].mean() < -0.25
    rx.save(fitted, tmp_path / "model")
    again = rx.score(rx.load(tmp_path / "model"), frame()[:50]).log_density
    np.testing.assert_array_equal(again, rx.score(fitted, frame()[:50]).log_density)


def test_gaps_are_filled_with_directions(fitted):
    rows = frame()[:100]
    gaps = rows.with_columns(wind=pl.lit(None, pl.Float64))
    filled = np.asarray(rx.impute(fitted, gaps)["wind"], float)
    apart = np.abs((filled - rows["wind"].to_numpy() + 180) % 360 - 180)
    assert np.median(apart) < 30
    assert filled.min() >= 0
    assert filled.max() < 360
