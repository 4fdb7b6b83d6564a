"""Recipes: suggested for any data, refused out of range, the same after a round trip."""

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax import registry
from reparax.applications._rows_of_fit import drawn_rows
from reparax.data import Schema, from_array, read, split
from reparax.errors import DataError, RecipeError
from reparax.recipe import Recipe, Units, build, objective, suggest
from reparax.recipe._fitted import Transform

ROWS = np.random.default_rng(0).normal(size=(30, 4))
SCHEMA = from_array(ROWS).schema


@st.composite
def data(draw) -> np.ndarray:
    count = draw(st.integers(1, 6))
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 40)),
            st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 3, 4])),
            st.tuples(*[st.integers(1, 4)] * 4),
        )
    )
    kind = draw(st.sampled_from(["bits", "bytes", "whole", "real", "unit"]))
    seed = draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    size = (count, *shape)
    if kind == "bits":
        return rng.integers(0, 2, size)
    if kind == "bytes":
        return rng.integers(0, 256, size).astype(np.uint8)
    if kind == "whole":
        return rng.integers(-40, 300, size)
    if kind == "unit":
        return rng.uniform(size=size)
    scale = draw(st.sampled_from([1e-6, 1.0, 1e6]))
    return scale * rng.normal(draw(st.sampled_from([0.0, 3.0, 1e5])), 1.0, size)


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(data(), st.integers(1, 10**6))
def test_every_data_set_gets_a_recipe_that_builds_a_model_of_it(values, num_examples):
    dataset = from_array(values)
    recipe = suggest(dataset.schema, num_examples)
    assert recipe.epochs * max(1, num_examples // recipe.batch_size) >= 20
    made = objective(recipe, 10)

    def terms(key, x):
        model = build(recipe, dataset.schema, key=key)
        x = Units.of(dataset.schema, recipe.binarize).transform(x, key)
        drawn = model.sample(key)
        return made(model, x, key=key, step=jnp.asarray(0)), drawn

    # Shapes and types only: nothing is computed.
    x = jax.ShapeDtypeStruct(dataset.schema.event_shape, np.float32)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found, drawn = eqx.filter_eval_shape(terms, jax.random.key(0), x)
    assert found.objective.shape == ()
    assert drawn.shape == dataset.schema.event_shape


@pytest.mark.parametrize(
    ("rows", "steps"),
    [(300, 4000), (5000, 8000), (9999, 8000), (10_000, 10_000), (30_000, 10_000), (99_999, 10_000), (200_000, 5000)],
)
def test_the_steps_of_a_table_hardly_depend_on_its_rows(rows, steps):
    rng = np.random.default_rng(0)
    schema = read(pl.DataFrame({"x": rng.normal(size=300), "group": rng.choice(["a", "b"], 300)})).schema
    recipe = suggest(schema, rows)
    assert recipe.epochs * (rows / recipe.batch_size) == pytest.approx(steps, rel=0.1)
    assert suggest(schema, 2_000_000).epochs == 5
    # A trimmed fit is short whatever the number of rows.
    trimmed = suggest(schema, rows, trim=0.1)
    assert trimmed.batch_size == 64
    assert trimmed.epochs * ((trimmed.rows or 0.9 * rows) // 64) == pytest.approx(500, rel=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", 0), ("latent_dim", -1), ("width", -1), ("depth", -2), ("num_components", 0), ("beta", -0.1),
        ("beta", float("nan")), ("warmup_epochs", -1), ("free_bits", -1.0), ("num_samples", 0), ("epochs", 0),
        ("batch_size", 0), ("learning_rate", 0.0), ("learning_rate", float("inf")), ("patience", 0), ("valid", 1.0),
        ("valid", -0.1), ("seed", -1), ("binarize", "often"), ("latent_dim", 2.5), ("latent_dim", "16"),
        ("epochs", 10**12), ("learning_rate", "fast"), ("estimator", "magic"),
    ],
)  # fmt: skip
def test_settings_out_of_range_or_of_another_type_are_refused(name, value):
    with pytest.raises(RecipeError) as caught:
        suggest(SCHEMA, 100, **{name: value})
    assert name.replace("_", "-") in str(caught.value).replace("_", "-")


@pytest.mark.parametrize("room", ["posterior", "prior", "likelihood", "objective", "network"])
def test_unknown_parts_are_refused_with_those_that_exist(room):
    with pytest.raises(RecipeError) as caught:
        suggest(SCHEMA, 100, **{room: "no-such-part"})
    rooms = {"posterior": "posteriors", "prior": "priors", "likelihood": "likelihoods", "objective": "objectives",
             "network": "networks"}  # fmt: skip
    assert all(name in caught.value.expected for name in registry.names(rooms[room]))


def test_unknown_fields_are_refused():
    with pytest.raises(RecipeError, match="latent_dims"):
        suggest(SCHEMA, 100, latent_dims=3)


@pytest.mark.parametrize(
    "chosen",
    [{}, {"posterior": "bernoulli", "objective": "iwae", "num_samples": 5}, {"beta": 0.25, "warmup_epochs": 3},
     {"latent_dim": np.int64(3), "learning_rate": np.float32(0.5), "valid": np.float64(0.25), "beta": 2}],
)  # fmt: skip
def test_recipes_survive_json(chosen):
    recipe = suggest(SCHEMA, 100, **chosen)
    text = msgspec.json.encode(recipe)
    assert msgspec.json.decode(text, type=Recipe) == recipe
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text.replace(b'"epochs"', b'"eras"'), type=Recipe)


def test_out_of_range_json_is_refused_too():
    text = msgspec.json.encode(suggest(SCHEMA, 100)).replace(b'"seed":0', b'"seed":-4')
    with pytest.raises((RecipeError, msgspec.ValidationError), match="seed"):
        msgspec.json.decode(text, type=Recipe)


def test_rules_follow_the_kind_of_values():
    rng = np.random.default_rng(0)
    expected = {
        "columns": rng.normal(size=(9, 5)),
        "bernoulli": rng.integers(0, 2, (9, 5, 5)),
        "negative-binomial": rng.integers(0, 50, (9, 5, 2, 3, 2)),
        "normal": rng.normal(size=(9, 5, 5)),
    }
    for likelihood, values in expected.items():
        assert suggest(from_array(values).schema, 9).likelihood == likelihood
    images = from_array(rng.integers(0, 256, (9, 40, 40)).astype(np.uint8)).schema
    recipe = suggest(images, 9)
    assert (recipe.likelihood, recipe.network) == ("discretized-logistic", "convolutional")
    assert suggest(images, 9, binarize="dynamic").likelihood == "bernoulli"
    assert suggest(SCHEMA, 9, objective="reconstruction").posterior == "deterministic"
    assert suggest(SCHEMA, 9, posterior="bernoulli").prior == "uniform-bernoulli"
    assert suggest(SCHEMA, 9, latent_dim=None).latent_dim == suggest(SCHEMA, 9).latent_dim


def pictures(side: int, channels: int = 3) -> Schema:
    rng = np.random.default_rng(0)
    return from_array(rng.integers(0, 256, (9, side, side, channels)).astype(np.uint8)).schema


def test_large_pictures_of_colors_have_the_mixture_and_convolutions():
    assert suggest(pictures(32), 9).likelihood == "discretized-logistic-mixture"
    assert suggest(pictures(32), 9, network="mlp").likelihood == "discretized-logistic"
    assert suggest(pictures(32), 9, binarize="dynamic").likelihood == "bernoulli"
    assert suggest(pictures(8), 9).likelihood == "discretized-logistic"
    assert suggest(pictures(40, channels=1), 9).likelihood == "discretized-logistic"
    assert suggest(pictures(40, channels=4), 9).likelihood == "discretized-logistic"


@pytest.mark.parametrize(
    ("side", "examples", "seen"),
    [(32, 19_000, 390_625), (32, 50_000, 390_625), (64, 19_000, 97_657), (128, 5000, 64_000), (32, 10**6, 10**6),
     (32, 1000, 390_625), (32, 200, 256_000)],
)  # fmt: skip
def test_the_length_of_a_fit_of_pictures_follows_from_their_pixels_and_number(side, examples, seen):
    recipe = suggest(pictures(side), examples)
    assert recipe.batch_size == 32
    assert seen <= recipe.epochs * examples < seen + examples
    assert suggest(pictures(side), examples, epochs=3).epochs == 3


def test_networks_without_convolutions_see_images_as_often_as_before():
    recipe = suggest(pictures(32), 50_000, network="mlp")
    assert (recipe.batch_size, recipe.epochs) == (100, 20)
    small = suggest(pictures(8), 1797, network="convolutional")
    assert (small.batch_size, small.epochs) == (64, -(-8000 * 64 // 1797))


def test_a_private_fit_warms_up_within_its_epochs():
    for chosen in ({}, {"epochs": 6}, {"batch_size": 10}):
        recipe = suggest(SCHEMA, 1000, dp=3.0, valid=0.0, **chosen)
        assert 0 < 2 * recipe.warmup_epochs < recipe.epochs


def test_cells_are_hidden_from_the_encoder_where_hardly_one_is_missing():
    values = np.random.default_rng(0).normal(size=(400, 5))
    gaps = np.where(np.random.default_rng(1).random(values.shape) < 0.1, np.nan, values)
    assert suggest(from_array(values).schema, 400).hide > 0.3
    assert suggest(from_array(gaps).schema, 400).hide == 0
    assert suggest(from_array(values).schema, 400, trim=0.1).hide == 0
    assert suggest(from_array(values).schema, 400, hide=0.2).hide == 0.2


def table_schema(columns: int) -> Schema:
    return from_array(np.random.default_rng(0).normal(size=(60, columns))).schema


def rows_seen(columns: int, rows: int) -> int:
    """How many rows a trimmed fit sees, each counted as often as it is seen."""
    recipe = suggest(table_schema(columns), rows, trim=0.1)
    used = min(round(0.9 * rows), recipe.rows or rows)
    batch = min(recipe.batch_size, used)
    return used // batch * batch * recipe.epochs


def test_what_a_trimmed_fit_sees_depends_on_the_columns_not_on_the_rows():
    for columns, expected in ((3, 32_000), (10, 32_000), (40, 64_000)):
        for rows in (150, 200, 700, 1999, 2000, 9_999, 10_000, 24_000, 35_000, 600_000):
            assert 0.75 * expected <= rows_seen(columns, rows) <= 1.06 * expected, (columns, rows)
    assert rows_seen(100, 5_000) == pytest.approx(160_000, rel=0.05)


def test_no_other_rule_of_a_trimmed_fit_depends_on_the_rows():
    few, many = (suggest(table_schema(5), rows, trim=0.1) for rows in (300, 400_000))
    for name in ("prior", "latent_dim", "width", "depth", "batch_size", "learning_rate", "weight_decay", "hide"):
        assert getattr(few, name) == getattr(many, name), name


def test_epochs_that_are_asked_for_see_all_rows():
    assert suggest(table_schema(5), 400_000, trim=0.1, epochs=3).rows == 0
    assert suggest(table_schema(5), 400_000).rows == 0


def test_rows_are_drawn_at_random_and_keep_their_order():
    dataset = from_array(np.arange(2000.0).reshape(1000, 2))
    found = drawn_rows(dataset, suggest(dataset.schema, 1000, rows=300, seed=5)).values[:, 0]
    assert len(found) == 300
    assert (np.diff(found) > 0).all()
    assert abs(found.mean() - 999) < 100
    for rows in (0, 1000, 5000):
        assert drawn_rows(dataset, suggest(dataset.schema, 1000, rows=rows)) is dataset


def test_weights_of_few_rows_are_pulled_to_zero_more():
    pulls = [suggest(SCHEMA, count).weight_decay for count in (50, 500, 5000)]
    assert 1 >= pulls[0] > pulls[1] > pulls[2] > 0


@pytest.mark.parametrize("binarize", ["dynamic", "threshold"])
def test_binarization_draws_each_pixel_from_its_intensity(binarize):
    schema = from_array(np.array([[[0, 4, 8, 12, 16]], [[16, 0, 3, 1, 2]]])).schema
    units = Units.of(schema, binarize)
    assert (units.low, units.high) == (0, 16)
    row = jnp.asarray([[[0], [4], [8], [12], [16]]], jnp.uint8)
    bits = jax.vmap(lambda key: units.transform(row, key))(jax.random.split(jax.random.key(0), 4000))
    assert bits.dtype == jnp.float32
    share = np.asarray(bits).mean(axis=0).ravel()
    expected = np.array([0, 0.25, 0.5, 0.75, 1]) if binarize == "dynamic" else np.array([0.0, 0, 0, 1, 1])
    error = 5 * np.sqrt(expected * (1 - expected) / 4000) if binarize == "dynamic" else 0
    assert np.all(np.abs(share - expected) <= error)


def test_binarization_of_negative_values_is_refused():
    with pytest.raises(RecipeError, match="intensities"):
        Units.of(SCHEMA, "dynamic")


def test_drawn_bits_are_independent_and_have_their_probabilities():
    levels = np.arange(256, dtype=np.uint8)
    transform = Transform("dynamic", 0.0, 255.0)
    keys = jax.random.split(jax.random.key(0), 40_000)
    bits = np.asarray(jax.jit(jax.vmap(lambda key: transform(jnp.asarray(levels), key)))(keys))
    probability = levels / 255
    assert (bits[:, 0] == 0).all()
    assert (bits[:, -1] == 1).all()
    error = np.sqrt(probability * (1 - probability) / len(bits))
    inside = slice(1, -1)
    assert np.abs((bits.mean(0) - probability)[inside] / error[inside]).max() < 5
    # Two bits share each random number.
    centered = (bits - probability)[:, inside] / (error[inside] * np.sqrt(len(bits)))
    for distance in (1, 2, 127):
        correlations = (centered[:, distance:] * centered[:, :-distance]).mean(0)
        assert np.abs(correlations).max() < 5 / np.sqrt(len(bits)) * 4
        assert abs(correlations.mean()) < 5 / np.sqrt(correlations.size * len(bits))


GAP = pl.DataFrame({"x": [1, None, 3, 0] * 10, "y": [0, 1, 2, 4] * 10})
COLOR = pl.DataFrame({"x": ["red", "green", "blue", "red"] * 10, "y": [0, 1, 2, 4] * 10})


@pytest.mark.parametrize("name", [n for n in registry.names("likelihoods") if n not in {"columns", "by-view"}])
@pytest.mark.parametrize(("table", "what"), [(GAP, "missing cells in 'x'"), (COLOR, "categories in 'x'")])
def test_only_columns_has_a_density_of_gaps_and_categories(table, what, name):
    dataset = read(table)
    recipe = suggest(dataset.schema, len(dataset), likelihood=name, latent_dim=2)
    with pytest.raises(DataError, match=what):
        build(recipe, dataset.schema, key=jax.random.key(0))


def test_gaps_among_the_held_out_rows_alone_are_refused():
    rows = np.random.default_rng(1).normal(size=(40, 3))
    dataset = read(rows)
    held_out = split(dataset, 0.1, 0)[1].values[0]
    rows[np.abs(rows - held_out).sum(axis=1).argmin(), 1] = np.nan
    with pytest.raises(DataError, match="1 missing cell in rows that are held out"):
        rx.fit(rows, likelihood="normal", valid=0.1, latent_dim=2, width=4)


@pytest.mark.parametrize("name", ["poisson", "discretized-logistic", "categorical"])
def test_dates_are_no_whole_numbers(name):
    dataset = read(pl.DataFrame({"day": np.datetime64("1970-01-01") + np.arange(40), "y": [0, 1, 2, 4] * 10}))
    recipe = suggest(dataset.schema, len(dataset), likelihood=name, latent_dim=2)
    with pytest.raises(DataError, match="whole numbers"):
        build(recipe, dataset.schema, key=jax.random.key(0))


def test_counts_are_refused_before_their_logarithms_are_taken():
    dataset = read(np.arange(-1, 39).reshape(20, 2))
    recipe = suggest(dataset.schema, len(dataset), likelihood="poisson", latent_dim=2)
    with pytest.raises(DataError, match="none negative"):  # warnings are errors here
        build(recipe, dataset.schema, key=jax.random.key(0))
