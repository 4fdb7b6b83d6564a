"""Every kind of model and data: each operation works, or is refused in words."""

import jax
import numpy as np
import polars as pl
import pytest
from scipy import stats

import reparax as rx
from reparax.data import split
from reparax.errors import ReparaxError
from reparax.explorer import load
from reparax.explorer import messages as ask
from reparax.explorer.cells import without_needles
from reparax.explorer.look import _of_labels
from reparax.recipe import FittedModel, build

RNG = np.random.default_rng(0)
IMAGES = (RNG.random((40, 6, 6)) * 17).astype(np.uint8)
ROWS = RNG.normal(size=(60, 4)).astype(np.float32)
TABLE = pl.DataFrame(
    {"a": RNG.normal(size=60), "group": RNG.choice(list("xyz"), 60), "n": RNG.choice([1.5, 2.5], 60), "b": ROWS[:, 0]}
)


def untrained(data, **chosen):
    dataset = rx.read(data)
    recipe = rx.plan(dataset, width=4, depth=1, **chosen)
    part, _ = split(dataset, recipe.valid, recipe.seed)
    return FittedModel(build(recipe, part.schema, key=jax.random.key(0)), part.schema, recipe), dataset


QUICK = {
    "sphere": (IMAGES, {"latent_dim": 2, "posterior": "power-spherical"}, "sphere", "image"),
    "one-hot": (IMAGES, {"latent_dim": 2, "posterior": "categorical"}, "other", "image"),
    "bits and intensities": (IMAGES, {"latent_dim": 2, "binarize": "dynamic"}, "line", "image"),
    "numbers": (ROWS, {"latent_dim": 1, "likelihood": "normal"}, "line", "table"),
}
FULL = {
    "ball": (IMAGES, {"latent_dim": 3, "posterior": "poincare-normal"}, "ball", "image"),
    "binary": (IMAGES, {"latent_dim": 4, "posterior": "bernoulli"}, "other", "image"),
    "class": (IMAGES, {"latent_dim": 2, "posterior": "class-normal"}, "other", "image"),
    "simplex": (IMAGES, {"latent_dim": 3, "posterior": "dirichlet"}, "line", "image"),
    "count": (IMAGES, {"latent_dim": 3, "posterior": "poisson"}, "other", "image"),
    "deterministic": (IMAGES, {"latent_dim": 2, "posterior": "deterministic"}, "line", "image"),
    "layers": (IMAGES, {"latent_dim": 4, "posterior": "bottom-up"}, "line", "image"),
    "curves": (np.tile(ROWS, (1, 20)), {"latent_dim": 2, "likelihood": "student-t"}, "line", "curve"),
    "arrays": (RNG.normal(size=(30, 2, 2, 2, 2)), {"latent_dim": 2}, "line", "curve"),
    "two channels": (RNG.random((30, 4, 4, 2)), {"latent_dim": 2}, "line", "image"),
    "points of a table": (TABLE, {"latent_dim": 2, "posterior": "deterministic", "relations": "none"}, "line", "table"),
}


@pytest.mark.parametrize(
    ("data", "chosen", "space", "shown"),
    [*(pytest.param(*case, id=name) for name, case in QUICK.items()),
     *(pytest.param(*case, id=name, marks=pytest.mark.full) for name, case in FULL.items())],
)  # fmt: skip
def test_every_operation_works_or_is_refused_in_words(data, chosen, space, shown):
    fitted, dataset = untrained(data, **chosen)
    explorer = load(fitted, dataset, "")
    about = explorer.answer(ask.Describe(id=0)).fields
    assert (about["space"], about["shown"], about["data"]) == (space, shown, shown)
    z = [latent["mean"] for latent in about["latent"]]
    assert all(latent["low"] < latent["high"] for latent in about["latent"])
    positions = explorer.answer(ask.Map(id=0)).arrays["positions"]
    assert positions.shape == (len(dataset), 2)
    assert np.isfinite(positions).all()
    decoded = explorer.answer(ask.Decode(id=0, z=z))
    if shown == "image":
        height, width, channels = fitted.schema.event_shape
        assert decoded.arrays["pixels"].shape == (height, width, 1 if channels == 2 else channels)
        wanted = explorer.things.pixels(rx.decode(fitted, [decoded.fields["z"]]), of_model=True)
        np.testing.assert_allclose(decoded.arrays["pixels"].astype(int), wanted[0].astype(int), atol=1)
    elif shown == "curve":
        wanted = rx.decode(fitted, [decoded.fields["z"]]).ravel()
        np.testing.assert_allclose(decoded.arrays["values"], wanted, rtol=1e-4, atol=1e-4)
    path = explorer.answer(ask.Path(id=0, start=0, end=2, steps=5))
    assert path.fields["kind_of_path"] == {"sphere": "great circle", "ball": "geodesic"}.get(space, "line")
    nearest = explorer.answer(ask.Nearest(id=0, index=0, k=3)).fields["rows"]
    assert [row["distance"] for row in nearest] == sorted(row["distance"] for row in nearest)
    assert 0 not in {row["index"] for row in nearest}
    explained = explorer.answer(ask.Explain(id=0, index=1))
    np.testing.assert_allclose(explained.fields["score"], rx.score(fitted, dataset).anomaly_score[1], rtol=1e-4)
    for message in (
        ask.Row(id=0, index=1), ask.Strip(id=0, z=z, dim=0, steps=5), ask.Place(id=0, position=(0.1, 0.1), z=z),
        ask.Sample(id=0, n=3), ask.Blind(id=0, num=4), ask.Export(id=0, rows=[0]), ask.WhatIf(id=0, index=1),
    ):  # fmt: skip
        name = message.__struct_config__.tag
        if name in about["can"]:
            answer = explorer.answer(message)
            assert answer.fields or answer.arrays
        else:
            with pytest.raises(ReparaxError, match=about["reasons"][name][:20]):
                explorer.answer(message)
    colors = {color["id"] for color in about["colors"]}
    assert ("density" in colors) == fitted.model.posterior.has_density


def test_given_columns_are_chosen_and_kept():
    fitted = rx.fit(TABLE, given=["group"], latent_dim=1, relations="none", width=4, depth=1, epochs=1)
    explorer = load(fitted, TABLE, "")
    about = explorer.answer(ask.Describe(id=0)).fields
    assert [each["name"] for each in about["given"]] == ["group"]
    shown = [explorer.answer(ask.Decode(id=0, z=[0.4], given={"group": name})).fields["columns"] for name in ("x", "y")]
    for columns, name in zip(shown, ("x", "y"), strict=True):
        wanted = rx.decode(fitted, [[0.4]], context={"group": name})[0]
        names = [column.name for column in fitted.schema.columns]
        got = float(next(column["text"] for column in columns if column["name"] == "a"))
        np.testing.assert_allclose(got, wanted[names.index("a")], rtol=1e-3, atol=1e-4)
    assert shown[0] != shown[1]
    for message in (ask.WhatIf(id=0, index=2, cells={"group": None}), ask.Decode(id=0, z=[0.4], given={"group": "w"}),
                    ask.Decode(id=0, z=[0.4], given={"moon": "w"})):  # fmt: skip
        with pytest.raises(ReparaxError):
            explorer.answer(message)
    drawn = explorer.answer(ask.Sample(id=0, n=4, where=["group=y"])).fields
    assert {row[drawn["columns"].index("group")] for row in drawn["rows"]} == {"y"}


@pytest.mark.full
def test_what_if_something_else_were_given():
    fitted = rx.fit(TABLE, given=["group"], latent_dim=1, relations="none", width=4, depth=1, epochs=1)
    explorer = load(fitted, TABLE, "")
    changed = TABLE[2:3].with_columns(group=pl.lit("z"))
    answer = explorer.answer(ask.WhatIf(id=0, index=2, cells={"group": "z"})).fields
    np.testing.assert_allclose(answer["score"], rx.score(fitted, changed).anomaly_score[0], rtol=1e-4)


def test_without_data_there_are_sliders_and_reasons():
    fitted, _ = untrained(IMAGES, latent_dim=2)
    explorer = load(fitted, None, "")
    about = explorer.answer(ask.Describe(id=0)).fields
    assert (about["data"], about["map"], about["colors"]) == (None, None, [])
    assert {"decode", "strip", "path", "sample"} <= set(about["can"])
    assert "reparax explore MODEL DATA" in about["reasons"]["map"]
    assert explorer.answer(ask.Decode(id=0, z=[0.0, 0.5])).arrays["pixels"].shape == (6, 6, 1)
    with pytest.raises(ReparaxError, match="needs data"):
        explorer.answer(ask.Map(id=0))


def test_the_blind_test_counts_right_answers_and_withholds_the_truth():
    fitted, dataset = untrained(IMAGES, latent_dim=2)
    explorer = load(fitted, dataset, "")
    game = explorer.answer(ask.Blind(id=0, seed=3, num=12))
    assert "truth" not in game.fields
    other = explorer.answer(ask.Blind(id=0, seed=3, num=12))
    np.testing.assert_array_equal(game.arrays["pixels"], other.arrays["pixels"])
    first = explorer.answer(ask.Reveal(id=0, game=game.fields["game"], answers=[True] * 12)).fields
    truth = first["truth"]
    assert first["right"] == sum(truth)
    assert explorer.answer(ask.Reveal(id=0, game=other.fields["game"], answers=truth)).fields["right"] == 12
    with pytest.raises(ReparaxError, match="a game that was begun"):
        explorer.answer(ask.Reveal(id=0, game=game.fields["game"], answers=truth))
    real = {image.tobytes() for image in explorer.things.pixels(np.asarray(dataset.values), of_model=False)}
    shown = [image.tobytes() in real for image in game.arrays["pixels"]]
    assert [is_real for is_real, drawn in zip(truth, shown, strict=True) if drawn] == [True] * sum(shown)
    assert sum(shown) == sum(truth)


def test_blank_labels_are_missing_in_the_colors_of_the_map():
    answer = _of_labels(np.array(["a", "", "b", " ", "a"]))
    assert answer.fields["categories"] == ["a", "b"]
    assert answer.arrays["values"].tolist() == [0, -1, 1, -1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_needles_of_a_density_do_not_fill_the_picture(seed):
    rng = np.random.default_rng(seed)
    normal = stats.norm(0, rng.uniform(0.05, 3))
    # As on the page: evenly spaced points, and quantiles.
    smooth = np.unique(np.concatenate([np.linspace(-10, 10, 26), normal.ppf(np.linspace(0.004, 0.996, 32))]))
    drawn = without_needles(smooth, normal.pdf(smooth))
    assert np.trapezoid(drawn, smooth) == pytest.approx(1, abs=0.15)
    heights = normal.pdf(smooth)
    heights[rng.integers(1, 10)] += 1e3  # a millionth of the probability, at one of the points
    assert np.trapezoid(heights, smooth) > 2
    assert np.trapezoid(without_needles(smooth, heights), smooth) < 1.3
