"""Models of several views: through every application, with views that are missing, against an exact joint Normal."""

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

import reparax as rx
from reparax.data import Schema, by_view, split
from reparax.errors import DataError, RecipeError
from reparax.recipe import FittedModel, build, suggest

RNG = np.random.default_rng(0)
COUNT = 60
LEVELS = RNG.integers(0, 5, (COUNT, 2, 2, 1))
TABLE = pl.DataFrame(
    {"kind": RNG.choice(["oak", "elm", "ash"], COUNT), "height": RNG.normal(20.0, 4.0, COUNT).round(1)}
)
NAMES = np.array([f"tree {number}" for number in range(COUNT)])
WITH = RNG.permutation(COUNT)[:45]
DATA = rx.Views({"photo": LEVELS, "tree": TABLE[WITH]}, id={"photo": NAMES, "tree": NAMES[WITH]})
KEY = jax.random.key(0)


def made(data, **chosen):
    dataset = rx.read(data)
    recipe = suggest(dataset.schema, len(dataset), width=4, depth=1, latent_dim=2, valid=0.1, epochs=1, **chosen)
    part, _ = split(dataset, recipe.valid, recipe.seed)
    of_frame = {"frame_kind": part.frame_kind, "frame_labels": part.frame_labels}
    return FittedModel(build(recipe, part.schema, key=KEY), part.schema, recipe, **of_frame)


@pytest.fixture(scope="module")
def model():
    """Not trained, which makes no difference here."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return made(DATA)


def test_views_are_aligned_by_their_names():
    dataset = rx.read(DATA)
    assert dataset.ids.tolist() == NAMES.tolist()
    found = by_view(dataset)
    assert sorted(found["tree"].rows.tolist()) == sorted(WITH.tolist())
    for place, row in enumerate(found["tree"].rows.tolist()):
        code, height = found["tree"].dataset.values[place]
        kind = dataset.schema.views[1][1].columns[0].categories[int(code)]
        assert (kind, np.float32(height)) == (TABLE["kind"][row], np.float32(TABLE["height"][row]))
    np.testing.assert_array_equal(found["photo"].dataset.values, LEVELS)
    assert found["photo"].dataset.values.dtype == np.uint8
    assert "tree of 15" in dataset.notes[-1]
    # Facts on a view are those of the rows that have it.
    alone = rx.read(TABLE[np.sort(WITH)])
    assert {c.name: c.category_fractions for c in dataset.schema.views[1][1].columns if c.is_category} == {
        c.name: c.category_fractions for c in alone.schema.columns if c.is_category
    }
    assert all(column.missing == 0 for column in dataset.schema.views[1][1].columns)


def test_views_are_aligned_by_their_order_where_they_have_no_names():
    gaps = np.where(np.arange(COUNT)[:, None] % 3 == 0, np.nan, RNG.normal(size=(COUNT, 2)))
    found = by_view(rx.read(rx.Views({"a": gaps, "b": LEVELS})))
    assert found["a"].rows.tolist() == [row for row in range(COUNT) if row % 3]
    np.testing.assert_allclose(found["a"].dataset.values, gaps[found["a"].rows], rtol=1e-6)
    table = TABLE.with_columns(pl.when(pl.arange(COUNT) < 4).then(None).otherwise(pl.all()).name.keep())
    assert by_view(rx.read(rx.Views({"a": table, "b": LEVELS})))["a"].rows.tolist() == list(range(4, COUNT))


def test_a_missing_view_and_one_that_is_left_out_are_the_same(model):
    """To the last bit; and the order of the rows of one view has no influence."""
    missing = np.setdiff1d(np.arange(COUNT), WITH)
    only = rx.Views({"photo": LEVELS})
    every, alone = rx.encode(model, DATA), rx.encode(model, only)
    np.testing.assert_array_equal(every[missing], alone[missing])
    assert (every[WITH] != alone[WITH]).any(axis=1).all()
    scores, of_photo = rx.score(model, DATA, num_samples=3), rx.score(model, only, num_samples=3)
    np.testing.assert_array_equal(scores.log_density[missing], of_photo.log_density[missing])
    turned = rx.Views({"photo": LEVELS, "tree": TABLE[WITH[::-1]]}, id={"photo": NAMES, "tree": NAMES[WITH[::-1]]})
    np.testing.assert_array_equal(rx.encode(model, turned), every)
    means = rx.evaluate(model, DATA, num_samples=3).columns
    assert list(means) == ["photo", "tree"]


def test_one_view_is_generated_from_another_in_its_units(model):
    filled = rx.impute(model, DATA, num_samples=3)
    np.testing.assert_array_equal(filled["photo"], LEVELS)
    kept = filled["tree"][np.sort(WITH).tolist()]
    assert kept["kind"].to_list() == TABLE["kind"][np.sort(WITH).tolist()].to_list()
    np.testing.assert_allclose(kept["height"], TABLE["height"][np.sort(WITH).tolist()], rtol=1e-6)
    assert filled["tree"].null_count().sum_horizontal().item() == 0
    assert set(filled["tree"]["kind"]) <= {"oak", "elm", "ash"}
    from_table = rx.impute_draws(model, rx.Views({"tree": TABLE}), 2, num_samples=3)
    assert all(one["photo"].dtype == np.uint8 and one["photo"].shape == LEVELS.shape for one in from_table)
    assert (from_table[0]["photo"] != from_table[1]["photo"]).any()
    assert all(one["photo"].max() <= 4 for one in from_table)


@pytest.mark.parametrize(
    "form", ["pandas", *(pytest.param(form, marks=pytest.mark.full) for form in ("polars", "pyarrow", "files"))]
)
def test_observed_values_come_back_as_they_were_given(form, tmp_path):
    """Numbers with more digits than single precision has, or than those of the fit; categories that it did not have."""
    rng = np.random.default_rng(1)
    photo, waves = rng.random((COUNT, 2, 3)), rng.normal(size=(COUNT, 3))
    table = TABLE.with_columns(
        width=pl.Series(rng.normal(3.0, 1.0, COUNT)), count=pl.Series(rng.integers(0, 9, COUNT)),
        day=pl.lit(np.datetime64("2024-01-01")) + pl.duration(days=pl.Series(rng.integers(0, 500, COUNT))),
    )  # fmt: skip
    fitted = made(rx.Views({"photo": photo, "waves": waves, "tree": table}))
    first = pl.int_range(pl.len()) == 0
    table = table.with_columns(
        kind=pl.when(first).then(pl.lit("yew")).otherwise(pl.col("kind").replace("elm", None)),
        height=pl.when(first).then(20.123456789).otherwise("height"),
        count=pl.col("count").replace(3, None),
    )[WITH]
    waves = np.where(rng.random(waves.shape) < 0.2, np.nan, waves)
    given = {"photo": photo[WITH[5:]], "waves": waves, "tree": table}
    if form == "files":
        np.save(tmp_path / "photo.npy", given["photo"])
        table.write_parquet(tmp_path / "tree.parquet")
        given |= {name: tmp_path / f"{name}.{end}" for name, end in (("photo", "npy"), ("tree", "parquet"))}
    elif form != "polars":
        given["tree"] = table.to_pandas() if form == "pandas" else table.to_arrow()
    data = rx.Views(given, id={"photo": NAMES[WITH[5:]], "waves": NAMES, "tree": NAMES[WITH]})
    place = {name: row for row, name in enumerate(rx.read(data).ids.tolist())}
    rows = {"photo": WITH[5:], "waves": np.arange(COUNT), "tree": WITH}
    rows = {name: [place[one] for one in NAMES[which]] for name, which in rows.items()}
    for filled in (rx.impute(fitted, data, num_samples=3), *rx.impute_draws(fitted, data, 1, num_samples=3)):
        np.testing.assert_array_equal(filled["photo"][rows["photo"], :, :, 0], photo[WITH[5:]])
        known = ~np.isnan(waves)
        np.testing.assert_array_equal(filled["waves"][rows["waves"]][known], waves[known])
        tree = filled["tree"]
        assert type(tree).__module__.split(".")[0] == (form if form != "files" else "polars")
        tree = pl.from_pandas(tree) if form == "pandas" else pl.DataFrame(tree)
        assert tree.null_count().sum_horizontal().item() == 0
        for name in table.columns:
            is_known = table[name].is_not_null()
            kept = tree[name][rows["tree"]].filter(is_known)
            assert kept.cast(table[name].dtype).to_list() == table[name].filter(is_known).to_list(), name


def test_samples_reconstructions_and_decoded_codes_have_every_view(model):
    drawn = rx.sample(model, 4, key=KEY)
    assert drawn["photo"].shape == (4, 2, 2, 1)
    assert drawn["photo"].dtype == np.uint8
    assert drawn["tree"].columns == ["kind", "height"]
    assert (drawn["tree"]["height"] * 10 == (drawn["tree"]["height"] * 10).round(6)).all()
    again = rx.sample(model, 4, key=KEY, like="pandas")
    assert again["tree"]["height"].tolist() == drawn["tree"]["height"].to_list()
    for found in (rx.reconstruct(model, DATA), rx.sample_means(model, COUNT, key=KEY)):
        assert {name: values.shape for name, values in found.items()} == {"photo": LEVELS.shape, "tree": (COUNT, 2)}
        assert all(np.isfinite(values).all() for values in found.values())
    decoded = rx.decode(model, rx.encode(model, DATA))
    np.testing.assert_allclose(decoded["photo"], rx.reconstruct(model, DATA)["photo"], rtol=1e-5)


def test_a_saved_model_is_the_same_to_the_last_bit(model, tmp_path):
    rx.save(model, tmp_path / "m")
    assert {path.suffix for path in (tmp_path / "m").iterdir()} == {".json", ".safetensors", ".md", ".csv"}
    loaded = rx.load(tmp_path / "m")
    assert loaded.schema == model.schema
    assert loaded.recipe == model.recipe
    assert loaded.recipe.options("likelihood") == {"views": "photo=discretized-logistic,tree=columns"}
    pairs = zip(jax.tree.leaves(model.model), jax.tree.leaves(loaded.model), strict=True)
    assert all(jnp.array_equal(a, b, equal_nan=True) for a, b in pairs)
    np.testing.assert_array_equal(rx.encode(loaded, DATA), rx.encode(model, DATA))
    assert msgspec.json.decode(msgspec.json.encode(model.schema), type=Schema) == model.schema
    card = (tmp_path / "m" / "README.md").read_text()
    assert "rx.Views({'photo': 'photo.npy', 'tree': 'tree.csv'})" in card


REFUSED = {
    "expected a model of one kind of data to export": lambda m: rx.export(m, "x.html", format="html"),
    "to report on": lambda m: rx.report(m, DATA, "x.html"),
    "to measure privacy of": lambda m: rx.privacy(m, DATA),
    "to serve": lambda m: __import__("reparax.serving").serving.application(m),
    "one of the views photo, tree; use encode": lambda m: __import__("reparax.explorer").explorer.load(m, None, ""),
    "no condition on columns": lambda m: rx.sample(m, 2, key=KEY, where={"height": 3}),
    "write --view photo=FILE": lambda m: rx.encode(m, LEVELS),
    "some of the views photo, tree; got scan": lambda m: rx.encode(m, rx.Views({"scan": LEVELS})),
    "at least one view of each example; got none of row 2": lambda m: rx.encode(
        m, rx.Views({"tree": TABLE[:2].with_columns(pl.when(pl.arange(2) < 1).then(pl.all()).name.keep())})
    ),
    "data of one kind, as in the fit; got several views": lambda m: rx.data.read_as(DATA, rx.read(LEVELS).schema),
    "a table for scikit-learn": lambda m: rx.VAE().fit(DATA),
    "compare the views one by one": lambda m: rx.compare_samples(DATA, DATA),
    "keep relations between its columns; got several views": lambda m: rx.fit(DATA, relations="found", epochs=1),
    "at least 2 views": lambda m: rx.fit(rx.Views({"photo": LEVELS})),
    "equally many rows": lambda m: rx.read(rx.Views({"photo": LEVELS, "tree": TABLE[:3]})),
    "got 'a' more than once": lambda m: rx.read(rx.Views({"tree": TABLE[:2]}, id={"tree": ["a", "a"]})),
    "row 2 without one": lambda m: rx.read(rx.Views({"tree": TABLE[:2]}, id={"tree": ["a", None]})),
    "1 names for 2 rows": lambda m: rx.read(rx.Views({"tree": TABLE[:2]}, id={"tree": ["a"]})),
    "called 'who'": lambda m: rx.read(rx.Views({"photo": LEVELS}, id="who")),
    "names of the rows of every view": lambda m: rx.read(rx.Views({"photo": LEVELS}, id={"tree": NAMES})),
    "choose another name": lambda m: rx.Views({"../x": LEVELS}),
    "views by name": lambda m: rx.Views({}),
    "rx.read('clinic.csv'": lambda m: rx.read(DATA, exclude=["kind"]),
    "statements on its columns": lambda m: rx.read(
        rx.Views({"t": rx.read(TABLE, schema={"height": {"range": [0, 90]}})})
    ),
    "a sparse matrix": lambda m: rx.read(rx.Views({"s": __import__("scipy").sparse.csr_array(np.eye(4))})),
    "name all views in one rx.Views": lambda m: rx.read(rx.Views({"s": rx.read(DATA)})),
    "leave --binarize out": lambda m: made(DATA, likelihood="by-view", binarize="dynamic"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_work_is_refused_by_name(words, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((DataError, RecipeError)) as caught:
        REFUSED[words](model)
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


WEIGHT, NOISE = np.array([1.0, -0.6, 0.8, 1.5, 0.7]), np.array([0.5, 0.8, 0.6, 0.4, 0.9])
MEAN = np.array([3.0, 0.0, -1.0, 10.0, 2.0])
COVARIANCE = np.outer(WEIGHT, WEIGHT) + np.diag(NOISE**2)


def linear_rows(count, seed):
    rng = np.random.default_rng(seed)
    return MEAN + rng.normal(size=(count, 1)) * WEIGHT + NOISE * rng.normal(size=(count, 5))


def linear_views(rows):
    return rx.Views({"a": rows[:, :3], "b": rows[:, 3:]})


@pytest.mark.full
@pytest.mark.parametrize("posterior", ["product-of-experts", "mixture-of-experts", "mixture-of-products"])
def test_a_linear_model_agrees_with_the_exact_joint_normal(posterior):
    """Bounds on new rows, of both views and of one, do not pass the exact density, and one view follows from another.

    A product of experts has the exact posterior in its family, so that its bounds are near the exact ones.
    """
    rows, new = linear_rows(2000, 0), linear_rows(1000, 1)
    fitted = rx.fit(
        linear_views(rows), posterior=posterior, network="linear", views="a=normal,b=normal", latent_dim=1, depth=0,
        epochs=60, patience=60, batch_size=100, learning_rate=0.02,
    )  # fmt: skip
    both = stats.multivariate_normal.logpdf(new, MEAN, COVARIANCE)
    first = stats.multivariate_normal.logpdf(new[:, :3], MEAN[:3], COVARIANCE[:3, :3])
    only = rx.Views({"a": new[:, :3]})
    near = 0.02 if posterior == "product-of-experts" else 0.3
    for data, exact in ((linear_views(new), both), (only, first)):
        found = rx.evaluate(fitted, data)
        # The expected log density of new rows is highest under the distribution that they come from.
        assert found.elbo <= found.iwae <= exact.mean() + 0.01
        assert found.elbo > exact.mean() - near
    slope = np.linalg.solve(COVARIANCE[:3, :3], COVARIANCE[:3, 3:])
    expected = MEAN[3:] + (new[:, :3] - MEAN[:3]) @ slope
    error = np.sqrt(np.mean((np.asarray(rx.impute(fitted, only)["b"]) - expected) ** 2, axis=0))
    assert (error < 0.12 * np.sqrt(np.diag(COVARIANCE)[3:])).all()


@pytest.mark.full
@pytest.mark.parametrize(
    "chosen",
    [
        {"ensemble": 2}, {"context": {"group": np.arange(COUNT) % 2}}, {"posterior": "ladder"},
        {"posterior": "spline-flow", "prior": "coupling-flow", "objective": "iwae"}, {"objective": "reconstruction"},
        {"posterior": "mixture-of-experts", "objective": "info-vae"},
    ],
    ids=lambda chosen: "-".join(chosen),
)  # fmt: skip
def test_views_go_with_other_parts_and_with_conditions(chosen):
    gaps = np.where(np.arange(COUNT)[:, None] < 9, np.nan, RNG.normal(size=(COUNT, 2)))
    data, given = rx.Views({"photo": LEVELS, "x": gaps}), {k: v for k, v in chosen.items() if k == "context"}
    fitted = rx.fit(data, views="x=normal", epochs=1, width=4, depth=1, latent_dim=2, **chosen)
    assert np.isfinite(rx.score(fitted, data, num_samples=2, **given).anomaly_score).all()
    filled = rx.impute(fitted, rx.Views({"photo": LEVELS}), num_samples=2, **given)
    assert np.isfinite(filled["x"]).all()
    assert rx.sample(fitted, 3, key=KEY)["x"].shape == (3, 2)


def test_a_killed_fit_of_views_goes_on_to_the_same_bits(tmp_path):
    gaps = np.where(np.arange(COUNT)[:, None] < 9, np.nan, RNG.normal(size=(COUNT, 2)))
    data = rx.read(rx.Views({"a": gaps, "b": LEVELS[:, :, :, 0].reshape(COUNT, 4, 1, 1, 1)}))
    settings = {"views": "a=normal,b=normal", "width": 4, "depth": 0, "latent_dim": 1, "checkpoints": tmp_path / "c"}
    whole = rx.fit(data, epochs=2, **settings)
    again = rx.fit(data, epochs=2, resume=True, **settings)
    np.testing.assert_array_equal(rx.encode(whole, data), rx.encode(again, data))


def test_labels_of_the_columns_of_views_come_back():
    years, places = pd.Index([2020, 2021], name="year"), pd.MultiIndex.from_tuples([("a", "x"), ("b", 1)])
    numbers = pd.DataFrame(RNG.normal(size=(COUNT, 2)).round(2), columns=years)
    words = pd.DataFrame({"kind": TABLE["kind"].to_list(), "height": TABLE["height"].to_list()}).set_axis(
        places, axis=1
    )
    fitted = made(rx.Views({"numbers": numbers, "words": words}))
    gaps = rx.Views({"words": words.mask(RNG.random(words.shape) < 0.1, other=None)[:5]})
    for found in (rx.sample(fitted, 3, key=KEY), rx.impute(fitted, gaps, num_samples=3)):
        pd.testing.assert_index_equal(found["numbers"].columns, years)
        pd.testing.assert_index_equal(found["words"].columns, places)
