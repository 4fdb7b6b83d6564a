"""Imputation from rows that resemble a row: what neighbors lend, against the same computed by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.applications import impute, impute_draws
from reparax.applications._donors import donors_of
from reparax.data import read, read_as
from reparax.errors import RecipeError
from reparax.tables import Donors, Layout, RowDistribution
from reparax.tables._donors import FEWEST_EFFECTIVE, LARGEST_SHARE, _with_effective

ROWS = 60


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b", "c"], ROWS)
    size = np.where(group == "a", 0.0, 5.0) + rng.normal(0, 1, ROWS)
    columns = {
        "group": group, "size": size, "wind": (size * 30 + rng.normal(0, 5, ROWS)) % 360,
        "count": rng.poisson(np.abs(size) + 1), "other": rng.normal(0, 1, ROWS),
    }  # fmt: skip
    whole = pl.DataFrame(columns)
    hidden = rng.random(whole.shape) < 0.2
    hidden[:2] = False
    return whole.with_columns(
        pl.when(pl.Series(hidden[:, at])).then(None).otherwise(pl.col(name)).alias(name)
        for at, name in enumerate(whole.columns)
    )


@pytest.fixture(scope="module")
def fitted(table):
    return rx.fit(read(table, schema={"wind": "degrees"}), epochs=2, latent_dim=2, width=8)


@pytest.fixture(scope="module")
def dataset(table, fitted):
    return read_as(table, fitted.schema)


@pytest.fixture(scope="module")
def donors(fitted, dataset):
    (found,) = donors_of(fitted, dataset, seed=3)
    return found


def by_hand(donors: Donors, x: np.ndarray) -> np.ndarray:
    """The probability of each neighbor of a row, without the power: the mean over its draws, other rows alone."""
    layout = donors.layout.value

    @jax.jit
    def log_prob(parameters):
        return RowDistribution(parameters, layout).log_prob_of_cells(jnp.asarray(x))

    of_draws = np.asarray(jax.vmap(jax.vmap(log_prob))(donors.parameters), np.float64)
    density = np.exp(of_draws - of_draws.max()).mean(axis=1)
    density[[np.array_equal(row, x, equal_nan=True) for row in np.asarray(donors.rows)]] = 0
    return density / density.sum()


@pytest.mark.parametrize("place", [0, 7, 30])
def test_neighbors_are_other_rows_in_proportion_to_the_density_of_the_known_cells(donors, place):
    x = donors.rows[place]
    log_weights, share = eqx.filter_jit(lambda: donors._log_weights(x, uses_gaps=False))()
    weights, expected = np.asarray(jax.nn.softmax(log_weights), np.float64), by_hand(donors, np.asarray(x))
    assert weights[place] == 0
    assert float(share) == pytest.approx(LARGEST_SHARE * ROWS / (ROWS + 100))
    assert 1 / np.sum(expected**2) > FEWEST_EFFECTIVE
    np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_what_neighbors_have_is_mixed_with_what_the_model_expects(fitted, dataset, donors):
    """The share of the neighbors is the mean of their cells; categories count by their probabilities."""
    place = int(np.flatnonzero(np.isnan(dataset.values).sum(axis=1) >= 2)[0])
    x, layout = donors.rows[place], donors.layout.value
    own = RowDistribution(jnp.zeros(layout.num_parameters), layout).statistics()
    mixed = eqx.filter_jit(lambda: donors.mixed(x, own, uses_gaps=False))()
    weights = by_hand(donors, np.asarray(x))
    rows, share = np.asarray(donors.rows), donors.share
    places = {family.__class__.__name__: at for at, family in enumerate(layout.families)}
    numbers = layout.families[places["Numbers"]]
    for at, column in enumerate(numbers.columns):
        cells = np.where(np.isnan(rows[:, column]), float(own[places["Numbers"]][at]), rows[:, column])
        expected = (1 - share) * float(own[places["Numbers"]][at]) + share * weights @ cells
        assert float(mixed[places["Numbers"]][at]) == pytest.approx(expected, abs=1e-4)
    ((group,), column) = mixed[places["Categories"]], layout.families[places["Categories"]].columns[0]
    known = ~np.isnan(rows[:, column])
    codes = np.where(known, rows[:, column], 0).astype(int)
    of_rows = np.where(known[:, None], np.eye(group.shape[1])[codes], np.asarray(own[places["Categories"]][0][0]))
    expected = (1 - share) * np.asarray(own[places["Categories"]][0][0]) + share * weights @ of_rows
    np.testing.assert_allclose(np.asarray(group[0]), expected, atol=1e-5)


def test_known_cells_are_their_own_statistics(table, fitted, dataset):
    """Of each kind of column: what `with_known` makes of a row without gaps is the row."""
    units = fitted.units
    layout = Layout.of_summary(units.summary)
    rows = jnp.asarray(units.stored(dataset.values[:2]), jnp.float32)
    law = RowDistribution(jnp.zeros(layout.num_parameters), layout)
    for row in rows:
        families = zip(layout.families, layout.split(row), law.statistics(), strict=True)
        known = [family.with_known(cells, others) for family, cells, others in families]
        np.testing.assert_allclose(law.typical(known), row, rtol=1e-4)
        nothing = zip(layout.families, layout.split(jnp.full_like(row, jnp.nan)), law.statistics(), strict=True)
        kept = [family.with_known(cells, others) for family, cells, others in nothing]
        assert eqx.tree_equal(kept, law.statistics())


@pytest.mark.parametrize("seed", range(5))
def test_the_power_leaves_four_effective_neighbors_or_is_one(seed):
    rng = np.random.default_rng(seed)
    for scale in (0.1, 3.0, 300.0):
        log_weights = jnp.asarray(rng.normal(0, scale, 50), jnp.float32).at[3].set(-jnp.inf)
        tempered = _with_effective(log_weights, FEWEST_EFFECTIVE)
        before, after = (np.asarray(jax.nn.softmax(each), np.float64) for each in (log_weights, tempered))
        assert after[3] == 0
        if 1 / np.sum(before**2) >= FEWEST_EFFECTIVE:
            np.testing.assert_allclose(after, before, rtol=1e-4)
        else:
            assert FEWEST_EFFECTIVE <= 1 / np.sum(after**2) < FEWEST_EFFECTIVE + 0.1


def test_draws_take_the_cells_of_neighbors_as_often_as_they_should(fitted, dataset, donors):
    place = int(np.flatnonzero(np.isnan(dataset.values[:, 4]))[0])
    x, own = donors.rows[place], jnp.full((4000, donors.rows.shape[1]), -99.0)
    drawn = np.asarray(eqx.filter_jit(lambda: donors.replaced(x, own, jax.random.key(0), uses_gaps=False))())
    taken = drawn[:, 4] != -99
    weights, values = by_hand(donors, np.asarray(x)), np.asarray(donors.rows[:, 4])
    knowing = float(weights @ ~np.isnan(values))
    assert taken.mean() == pytest.approx(donors.share * knowing, abs=5 * 0.5 / 4000**0.5)
    some = int(np.argmax(np.where(np.isnan(values), 0, weights)))
    assert (drawn[taken, 4] == values[some]).mean() == pytest.approx(
        weights[some] / knowing, abs=5 * 0.5 / taken.sum() ** 0.5
    )


def test_without_neighbors_rows_are_independent_of_each_other(table, fitted):
    gaps = [row for row in range(ROWS) if None in table.row(row)][:3]
    alone = impute(fitted, table[gaps], neighbors="ignore", duplicates="ignore", num_samples=20)
    assert impute(fitted, table, neighbors="ignore", duplicates="ignore", num_samples=20)[gaps].equals(alone)
    # Of three rows none resembles another one.
    assert impute(fitted, table[gaps], num_samples=20).equals(alone)
    assert not impute(fitted, table, num_samples=20)[gaps].equals(alone)
    with pytest.raises(RecipeError, match="neighbors to be use or ignore"):
        impute(fitted, table, neighbors="some")


@pytest.mark.full
def test_unseen_categories_are_not_lent(table, fitted):
    strange = table.with_columns(group=pl.lit("z"))
    strange[0, "group"] = None
    for filled in impute_draws(fitted, strange, 3, num_samples=20):
        assert filled["group"][0] in {"a", "b", "c"}
        assert (filled["group"][1:] == "z").all()


@pytest.mark.full
def test_keys_are_not_lent(table):
    numbered = table.with_columns(key=pl.Series([f"k{number}" for number in range(ROWS)]))
    data = read(numbered, schema={"key": {"kind": "categorical", "unique": True}, "wind": "degrees"})
    of_keys = rx.fit(data, epochs=1, latent_dim=2, width=8)
    (donors,) = donors_of(of_keys, data, seed=0)
    at = [column.name for column in of_keys.schema.columns].index("key")
    assert np.isnan(np.asarray(donors.lent)[:, at]).all()
    assert not np.isnan(np.asarray(donors.rows)[:, at]).any()
