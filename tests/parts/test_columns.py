"""Rows of tables: a density that is normalized over mixed columns, exact about missing cells, in the table's units."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from msgspec import structs

from reparax.data import read
from reparax.errors import DataError, RecipeError
from reparax.likelihoods import Columns as ColumnsPart
from reparax.objectives import ELBO
from reparax.pytrees import partition
from reparax.recipe import build, suggest
from reparax.summary import Column
from reparax.tables import RADII, HidingCells, Layout, Numbers, RowDistribution, hiding, num_features
from reparax.tables._features import features

ROWS = 400


def frame(scale: float = 1.0) -> pl.DataFrame:
    """Weights in kilograms times ``scale``, rounded amounts, spikes at zero, dice, two kinds of categories."""
    weight = rng_of("weight").gamma(3.0, 2.0, ROWS)
    spiked = np.where(rng_of("spiked").random(ROWS) < 0.4, 0.0, rng_of("amount").lognormal(1.0, 0.7, ROWS))
    return pl.DataFrame(
        {
            "weight": weight * scale,
            "tenths": np.round(rng_of("tenths").normal(5.0, 0.6, ROWS), 1),
            "spiked": spiked,
            "die": rng_of("die").integers(1, 7, ROWS),
            "sex": rng_of("sex").choice(["f", "m"], ROWS),
            "town": rng_of("town").choice(["a", "b", "c"], ROWS, p=[0.6, 0.3, 0.1]),
        }
    )


def rng_of(name: str) -> np.random.Generator:
    return np.random.default_rng(list(name.encode()))


def law_of(source: pl.DataFrame, size: float = 0.7) -> tuple[RowDistribution, list[Column]]:
    """A distribution of rows with parameters drawn at random, and its columns."""
    schema = read(source).schema
    layout = Layout.of(schema.columns, schema.num_examples)
    draw = np.random.default_rng(5)
    parameters = jnp.asarray(size * draw.normal(size=layout.num_parameters), jnp.float32)
    return RowDistribution(parameters, layout), list(schema.columns)


def density(law: RowDistribution, column: int, values: np.ndarray) -> np.ndarray:
    """exp(log density) of one column at many values, the other cells missing."""
    rows = np.full((len(values), law.layout.size), np.nan, np.float32)
    rows[:, column] = values
    return np.exp(log_probs(law, rows).astype(np.float64))


def log_probs(law: RowDistribution, rows: np.ndarray) -> np.ndarray:
    """The log density of many rows, in batches of one shape: one program for all of them."""
    size = 8192
    padded = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, 0)])
    return np.concatenate([np.asarray(batch(law, some)) for some in np.split(padded, len(padded) // size)])[: len(rows)]


@jax.jit
def batch(law: RowDistribution, rows: jax.Array) -> jax.Array:
    return jax.vmap(lambda row: law.log_prob(row))(rows)


def grid(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """All values of a column, with the measure of each: 1 for a category or an spike, a length for others."""
    if column.is_category:
        codes = np.arange(len(column.categories) + 1.0)
        return codes, np.ones(len(codes))
    width = column.high - column.low
    if column.step:
        low = round((column.low - 12 * width) / column.step)
        high = round((column.high + 12 * width) / column.step)
        return np.arange(low, high + 1) * column.step, np.full(high - low + 1, column.step)
    edges = np.concatenate([
        column.low - width * np.geomspace(30, 1e-3, 4000),
        np.linspace(column.low, column.high, 60001)[1:-1],
        column.high + width * np.geomspace(1e-3, 30, 4000),
    ])  # fmt: skip
    middles = (edges[1:] + edges[:-1]) / 2
    single = ~np.isin(middles.astype(np.float32), np.asarray(column.spikes, np.float32))
    values = np.concatenate([middles[single], np.asarray(column.spikes)])
    return values, np.concatenate([np.diff(edges)[single], np.ones(len(column.spikes))])


LAW, COLUMNS = law_of(frame())


@pytest.mark.parametrize("index", range(len(COLUMNS)), ids=[column.name for column in COLUMNS])
def test_density_of_each_column_integrates_to_one_over_numbers_atoms_and_categories(index):
    values, measure = grid(COLUMNS[index])
    assert abs(density(LAW, index, values) @ measure - 1) < 2e-3


def test_density_is_the_same_where_other_columns_are_rounded_and_where_none_is():
    alone, columns = law_of(frame().select("weight"))
    beside, _ = law_of(frame().select("weight", "tenths"))
    assert (numbers_of(alone).rounded, numbers_of(beside).rounded) == (False, True)
    values, measure = grid(columns[0])
    found = density(alone, 0, values)
    assert abs(found @ measure - 1) < 2e-3
    location, log_scale = alone.parameters
    beside = RowDistribution(jnp.asarray([location, 0.5, log_scale, -0.5]), beside.layout)
    np.testing.assert_allclose(found, density(beside, 0, values), rtol=1e-5, atol=1e-15)


def numbers_of(law: RowDistribution) -> Numbers:
    """The columns of numbers."""
    return next(family for family in law.layout.families if isinstance(family, Numbers))


def radii_of(column: Column) -> list[float]:
    return [0.0 if column.is_category else radius * column.spread for radius in RADII]


def log_masses(row):
    """For each radius a row of log-masses, in the order of the table."""
    return LAW.log_prob_near(LAW.layout.neighborhood(row, RADII))


@pytest.mark.parametrize("index", range(len(COLUMNS)), ids=[column.name for column in COLUMNS])
def test_mass_near_a_cell_is_the_integral_of_the_density_over_each_radius(index):
    column, (values, measure) = COLUMNS[index], grid(COLUMNS[index])
    mass = density(LAW, index, values) * measure
    cells = read(frame()).values[:12]
    found = np.exp(jax.jit(jax.vmap(log_masses))(jnp.asarray(cells))[:, :, index])
    # A rounded number holds the cell around it, so that the ends of an interval cut cells.
    cut = density(LAW, index, values).max() * column.step
    for cell, near in zip(cells[:, index], found, strict=True):
        away = np.abs(values - cell)
        exact = [mass[away <= radius + 1e-6 * column.std].sum() for radius in radii_of(column)]
        np.testing.assert_allclose(near, exact, rtol=0, atol=3e-3 + cut)


def test_nothing_is_near_a_missing_cell():
    row = jnp.asarray(read(frame()).values[0]).at[jnp.array([0, 2, 4])].set(jnp.nan)
    for found in log_masses(row):
        assert (np.asarray(found[jnp.array([0, 2, 4])]) == 0).all()
        assert (np.asarray(found[jnp.array([1, 3, 5])]) < 0).all()


def test_the_kinds_of_this_table_cover_every_branch():
    steps = [column.step for column in COLUMNS]
    assert [bool(column.spikes) for column in COLUMNS[:4]] == [False, False, True, True]
    assert (steps[0], steps[2]) == (0.0, 0.0)
    assert steps[1] == pytest.approx(0.1)


def test_a_row_has_the_product_of_its_cells_and_missing_ones_are_left_out():
    rows = jnp.asarray(read(frame()).values[:20])
    joint = log_probs(LAW, np.asarray(rows))
    cells = jax.jit(jax.vmap(LAW.log_prob_of_columns))(rows)
    np.testing.assert_allclose(joint, cells.sum(1), rtol=1e-5)
    for missing in itertools.combinations(range(6), 2):
        gone = rows.at[:, jnp.asarray(missing)].set(jnp.nan)
        kept = [i for i in range(6) if i not in missing]
        np.testing.assert_allclose(
            log_probs(LAW, np.asarray(gone)), cells[:, jnp.asarray(kept)].sum(1), rtol=1e-4, atol=1e-4
        )


def test_marginal_over_a_missing_cell_is_the_integral_over_it():
    row = np.asarray(read(frame()).values[3], np.float32)
    for index, column in enumerate(COLUMNS):
        values, measure = grid(column)
        filled = np.repeat(row[None], len(values), 0)
        filled[:, index] = values
        total = np.exp(log_probs(LAW, filled).astype(np.float64)) @ measure
        gone = row.copy()
        gone[index] = np.nan
        assert total == pytest.approx(np.exp(float(log_probs(LAW, gone[None])[0])), rel=2e-3)


def test_another_unit_changes_the_log_density_by_the_jacobian():
    grams, _ = law_of(frame(1000.0))
    kilograms = read(frame()).values
    other = read(frame(1000.0)).values
    difference = log_probs(LAW, kilograms.astype(np.float32)) - log_probs(grams, other.astype(np.float32))
    np.testing.assert_allclose(difference, np.log(1000.0), atol=2e-3)


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    return np.asarray(jax.jit(lambda key: LAW.sample(key, (20_000,)))(jax.random.key(0)))


@pytest.mark.parametrize("index", range(len(COLUMNS)), ids=[column.name for column in COLUMNS])
def test_samples_follow_the_density_of_each_column(draws, index):
    column, sample = COLUMNS[index], draws[:, index]
    values, measure = grid(column)
    mass = density(LAW, index, values) * measure
    if column.is_category:
        counts = np.bincount(sample.astype(int), minlength=len(values))
        error = np.sqrt(mass * (1 - mass) / len(sample)) + 1e-4
        # No row of an unseen category is drawn, whatever its share.
        assert np.max(np.abs(counts / len(sample) - mass)[:-1] / error[:-1]) <= 5
        return
    for level in (0.05, 0.3, 0.5, 0.7, 0.95):
        at = np.quantile(sample, level)
        below = mass[values <= at + 1e-6].sum() if column.low < at < column.high else None
        if below is not None:
            found = (sample <= at + 1e-6).mean()
            assert abs(found - below) <= 5 * np.sqrt(found * (1 - found) / len(sample)) + 3e-3


def test_samples_keep_rounding_range_and_spikes(draws):
    for column, sample in zip(COLUMNS, draws.T, strict=True):
        assert sample.min() >= np.float32(column.low)
        assert sample.max() <= np.float32(column.high)
        if column.step:
            np.testing.assert_allclose(sample / column.step, np.rint(sample / column.step), atol=1e-3)
    assert 0.1 < (draws[:, 2] == 0).mean() < 0.9


def test_mean_is_the_expectation_of_numbers_and_the_most_probable_category(draws):
    mean = np.asarray(jax.jit(lambda: LAW.mean)())
    for index, column in enumerate(COLUMNS):
        if column.is_category:
            assert mean[index] == np.bincount(draws[:, index].astype(int)).argmax()
        else:
            spread = draws[:, index].std()
            assert abs(mean[index] - draws[:, index].mean()) < 0.05 * spread


def test_unseen_category_has_the_share_that_was_kept_for_it():
    values, measure = grid(COLUMNS[5])
    found = density(LAW, 5, values)
    assert found[-1] == pytest.approx(0.5 / (ROWS + 1), rel=1e-4)
    assert found @ measure == pytest.approx(1.0, abs=1e-5)


def test_rare_categories_share_a_state_and_stay_normalized():
    names = [f"t{i}" for i in rng_of("many").zipf(1.2, 4000) % 1500]
    law, columns = law_of(pl.DataFrame({"town": names, "x": rng_of("x").normal(size=4000)}))
    count = len(columns[0].categories)
    assert count > 400
    assert density(law, 0, np.arange(count + 1.0)).sum() == pytest.approx(1.0, abs=1e-4)
    draws = np.asarray(jax.jit(lambda key: law.sample(key, (5000,)))(jax.random.key(1)))[:, 0]
    assert (draws >= 256).mean() > 0.01
    assert draws.max() < count


def test_a_kind_of_numbers_is_a_word_of_the_schema_and_changes_no_density():
    schema = read(frame()).schema
    columns = [structs.replace(c, kind="positive") if c.kind == "continuous" else c for c in schema.columns]
    assert columns != list(schema.columns)
    pairs = zip(jax.tree.leaves(Layout.of(columns, ROWS)), jax.tree.leaves(LAW.layout), strict=True)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def test_features_show_missing_and_unseen_cells_and_nothing_else_of_them():
    layout = LAW.layout
    row = jnp.asarray(read(frame()).values[0], jnp.float32)
    gone = features(layout, row.at[5].set(jnp.nan))
    unseen = features(layout, row.at[5].set(3.0))
    assert gone.shape == (num_features(layout),)
    np.testing.assert_array_equal(gone, unseen)
    shown = num_features(layout) - layout.size + layout.order.index(5)
    assert gone[shown] == 1.0
    assert features(layout, row)[shown] == 0.0


def test_derivatives_are_finite_far_outside_the_data():
    def total(scale: jax.Array) -> jax.Array:
        law = RowDistribution(LAW.parameters * scale, LAW.layout)
        return law.log_prob(jnp.asarray([1e6, -300.0, 1e7, 40.0, 2.0, 3.0]))

    value, slope = jax.value_and_grad(total)(jnp.asarray(1.0))
    assert np.isfinite(value)
    assert np.isfinite(slope)


def test_parameters_of_zero_are_the_columns_of_the_data():
    law, table = RowDistribution.of_data(LAW.layout), frame()
    town = [density(law, 5, np.asarray([float(code)]))[0] for code in range(3)]
    names = COLUMNS[5].categories
    found = [(table["town"] == name).mean() for name in names]
    np.testing.assert_allclose(town, found, atol=5e-3)
    die = density(law, 3, np.asarray(COLUMNS[3].spikes))
    np.testing.assert_allclose(die, COLUMNS[3].spike_fractions, atol=5e-3)


def many_spikes() -> tuple[RowDistribution, Column]:
    """A column of forty whole numbers, each of which many rows share."""
    rows = rng_of("age").binomial(39, 0.4, 20_000) + rng_of("more").integers(0, 12, 20_000)
    schema = read(pl.DataFrame({"age": rows, "x": rng_of("x").normal(size=20_000)})).schema
    return RowDistribution.of_data(Layout.of(schema.columns, schema.num_examples)), schema.columns[0]


def test_what_moves_one_of_many_atoms_moves_those_near_it():
    law, column = many_spikes()
    count = len(column.spikes)
    assert count > 20
    (group,) = numbers_of(law).spikes
    assert group.num_parameters <= count / 2
    before = density(law, 0, np.asarray(column.spikes))
    slope = RowDistribution(law.parameters.at[0].set(1.0), law.layout)
    gain = np.log(density(slope, 0, np.asarray(column.spikes)) / before)
    assert (np.diff(gain) > 0).all()  # the first function is the rank's score
    hat = RowDistribution(law.parameters.at[2 + 3].set(3.0), law.layout)
    gain = np.log(density(hat, 0, np.asarray(column.spikes)) / before)
    top = int(gain.argmax())
    assert gain[top - 1] > gain[0] + 0.5
    assert gain[top + 1] > gain[-1] + 0.5


def test_an_atom_that_stands_alone_moves_without_those_beside_it():
    rng = rng_of("amounts")
    amounts = np.array([0, 114, 594, 2174, 2407, 3103, 3325, 4386, 5013, 5178, 7298, 7688, 10520, 15024, 99999.0])
    rows = np.append(rng.choice(amounts, 20_000), np.repeat([594.0, 596.0], 300))
    columns = read(pl.DataFrame({"gain": rows, "x": rng.normal(size=len(rows))})).schema.columns
    law = RowDistribution.of_data(Layout.of(columns, len(rows)))
    spikes = np.asarray(columns[0].spikes)
    near = np.isin(spikes, [594, 596])
    assert near.sum() == 2
    (group,) = numbers_of(law).spikes
    own = np.asarray(group.functions[0])[-(len(spikes) - 2) :]
    np.testing.assert_array_equal(own, np.eye(len(spikes) + 1)[np.flatnonzero(~near)])
    before = density(law, 0, spikes)
    assert before.sum() == pytest.approx(1.0, abs=1e-4)
    last = group.num_parameters - 1
    after = density(RowDistribution(law.parameters.at[last].set(2.0), law.layout), 0, spikes)
    assert after.sum() == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(np.diff(np.log(after / before)[:-1]), 0.0, atol=1e-4)
    assert np.log(after / before)[-1] - np.log(after / before)[0] == pytest.approx(2.0, abs=0.02)


def test_transform_and_its_inverse_and_slope_agree_inside_and_outside_the_data():
    numbers = numbers_of(LAW)
    transforms, low, high = numbers.transforms, np.asarray(numbers.low), np.asarray(numbers.high)
    for share in (-0.7, 0.03, 0.2, 0.5, 0.81, 0.97, 1.6):
        x = jnp.asarray(low + share * (high - low) + 1e-3)
        u = transforms(x)
        np.testing.assert_allclose(transforms.inverse(u), x, rtol=2e-4, atol=2e-4)
        slope = jax.jacfwd(transforms)(x)
        np.testing.assert_allclose(slope, np.diag(np.asarray(transforms.slope(x))), rtol=1e-5)


def test_hidden_cells_are_as_good_as_missing_for_an_encoder():
    schema = read(frame()).schema
    model = build(suggest(schema, ROWS), schema, key=jax.random.key(0))
    row = jnp.asarray(read(frame()).values[0], jnp.float32)
    hidden = jnp.asarray([True, False, True, False, True, False])
    seen = jax.jit(lambda: hiding(model.posterior, hidden)(row).mean)()
    gone = jax.jit(lambda: model.posterior(jnp.where(hidden, jnp.nan, row)).mean)()
    np.testing.assert_array_equal(seen, gone)
    assert not np.allclose(gone, jax.jit(lambda: model.posterior(row).mean)())


def trained(slopes) -> list[jax.Array]:
    """The derivatives of what training changes, without those of the knots of T and the like."""
    return jax.tree.leaves(partition(slopes)[0])


def test_hidden_cells_teach_the_encoder_alone_and_change_nothing_that_is_reported():
    schema = read(frame()).schema
    model = build(suggest(schema, ROWS), schema, key=jax.random.key(0))
    row = jnp.asarray(read(frame()).values[0], jnp.float32)
    plain = ELBO()

    @eqx.filter_jit
    def slopes(objective, step):
        def value(model):
            terms = objective(model, row, key=jax.random.key(3), step=step)
            return terms.objective, terms

        return eqx.filter_grad(value, has_aux=True)(model)

    # The same key as the objective draws inside.
    key = jax.random.split(jax.random.key(3), 4)[0]
    expected, whole = eqx.filter_jit(
        eqx.filter_grad(lambda m: (lambda t: (t.objective, t))(plain(m, row, key=key, step=0)), has_aux=True)
    )(model)
    for step in range(4):
        found, terms = slopes(HidingCells(plain, 0.9), jnp.asarray(step))
        np.testing.assert_allclose(terms.bound, whole.bound, rtol=1e-6)
        np.testing.assert_allclose(terms.objective, whole.objective, rtol=1e-6)
        for part in ("likelihood", "prior"):
            pairs = zip(trained(getattr(found, part)), trained(getattr(expected, part)), strict=True)
            assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)
        pairs = zip(trained(found.posterior), trained(expected.posterior), strict=True)
        assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs) == (step != 0)


def test_images_are_refused():
    schema = read(np.zeros((5, 4, 4), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None]).schema
    with pytest.raises(DataError, match="a table for the columns likelihood"):
        ColumnsPart().create(lambda n, shape=None, key=None: lambda z: z, schema.summary(), key=jax.random.key(0))


def test_pseudo_rows_are_refused():
    schema = read(frame()).schema
    recipe = suggest(schema, ROWS, prior="vamp")
    with pytest.raises(RecipeError, match="pseudo-rows"):
        build(recipe, schema, key=jax.random.key(0))
