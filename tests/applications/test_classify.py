"""Semi-supervised fits: few labels, classes by name, tables with hidden cells, contexts, saving."""

import jax
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.applications import accuracy
from reparax.data import from_array
from reparax.errors import DataError, RecipeError

CENTERS = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
TRUTH = np.random.default_rng(0).integers(0, 3, 300)
ROWS = (CENTERS[TRUTH] + np.random.default_rng(1).normal(size=(300, 2))).round(3)
SMALL = {"epochs": 30, "width": 16, "latent_dim": 2, "hidden_units": 16, "depth": 1, "learning_rate": 1e-2}


def some_labels(count: int = 4) -> np.ndarray:
    """A few labels of each class, by a name that is not its number."""
    labels = np.full(300, "", "<U5")
    for label, name in enumerate(("red", "white", "blue")):
        labels[np.flatnonzero(label == TRUTH)[:count]] = name
    return labels


@pytest.fixture(scope="module")
def fitted():
    images = np.repeat(ROWS, 2, axis=1).reshape(300, 2, 2, 1)
    data = from_array(images, labels=some_labels())
    return data, rx.fit(data, objective="semi-supervised", seed=1, **SMALL)


def test_few_labels_name_the_clusters_of_all_examples(fitted, tmp_path):
    data, model = fitted
    found = rx.classify(model, data)
    names = np.array(["red", "white", "blue"])[TRUTH]
    assert found.names == ("blue", "red", "white")
    assert (found.labels == names).mean() > 0.95
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
    assert accuracy(found, data) == (pytest.approx((found.labels == names)[some_labels() != ""].mean()), 12)
    rx.save(model, tmp_path / "model")
    again = rx.classify(rx.load(tmp_path / "model"), data)
    assert again.names == found.names
    assert np.array_equal(again.probabilities, found.probabilities)
    np.testing.assert_allclose(rx.encode(model, data)[:, :3], found.probabilities, atol=1e-5)
    assert rx.sample(model, 5, key=jax.random.key(0)).shape == (5, 2, 2, 1)


def test_labels_reach_many_fits_and_sweeps():
    """Fits at once and sweeps see the labels that one fit sees."""
    data = from_array(ROWS.reshape(300, 2, 1, 1), labels=some_labels())
    chosen = SMALL | {"epochs": 2, "objective": "semi-supervised", "valid": 0.1}
    alone, (together,) = rx.fit(data, **chosen), rx.fit_many(data, [{"seed": 0}], **chosen)
    best = rx.sweep(data, {"latent_dim": [2]}, seeds=1, **{k: v for k, v in chosen.items() if k != "latent_dim"}).best
    assert together.schema.classes == best.schema.classes == alone.schema.classes == ("blue", "red", "white")
    probabilities = [rx.classify(model, data).probabilities for model in (alone, together, best)]
    np.testing.assert_allclose(probabilities[1], probabilities[0], atol=1e-4)
    np.testing.assert_allclose(probabilities[2], probabilities[0], atol=1e-4)
    with pytest.raises(DataError, match="--label"):
        rx.fit_many(ROWS, [{"seed": 0}], **chosen)


def test_labels_of_held_out_examples_are_not_seen():
    """Other labels of the held-out rows change nothing; other labels of the others do."""
    labels = np.array(["red", "white", "blue"])[TRUTH]
    data = from_array(ROWS.reshape(300, 2, 1, 1), labels=labels)
    _, held_out = rx.data.split(data.take(np.arange(300)), 0.1, 0)
    seen = [tuple(row) for row in ROWS.tolist()]
    rows = held_out.values.reshape(-1, 2).astype(float).round(3)
    places = [seen.index(tuple(row)) for row in rows.tolist()]
    other = labels.copy()
    other[places] = np.roll(labels[places], 1)
    chosen = SMALL | {"epochs": 2, "objective": "semi-supervised", "valid": 0.1}
    models = [rx.fit(from_array(ROWS.reshape(300, 2, 1, 1), labels=each), **chosen) for each in (labels, other)]
    leaves = [jax.tree.leaves(model.model.posterior) for model in models]
    assert all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True) if isinstance(a, jax.Array))


def test_a_table_with_gaps_hidden_cells_and_a_context():
    kind = np.random.default_rng(3).choice(["a", "b"], 300)
    frame = pl.DataFrame({"x": ROWS[:, 0], "y": ROWS[:, 1], "kind": kind, "color": some_labels(10)})
    frame = frame.with_columns(pl.when(pl.col("color") == "").then(None).otherwise(pl.col("color")).alias("color"))
    data = rx.read(frame, label="color", given=["kind"])
    model = rx.fit(data, objective="semi-supervised", hide=0.3, **SMALL)
    found = rx.classify(model, frame)
    assert (found.labels == np.array(["red", "white", "blue"])[TRUTH]).mean() > 0.8
    gap = frame.with_columns(pl.when(pl.int_range(300) == 0).then(None).otherwise(pl.col("y")).alias("y"))
    assert np.isfinite(rx.impute(model, gap)["y"].to_numpy()).all()


def test_what_is_missing_is_said(fitted):
    data, _ = fitted
    with pytest.raises(DataError, match="--label"):
        rx.fit(ROWS, objective="semi-supervised")
    with pytest.raises(RecipeError, match="class-normal"):
        rx.fit(data, objective="semi-supervised", posterior="diagonal-normal", **(SMALL | {"hidden_units": None}))
    for classes in ({"num_classes": 2}, {"posterior": {"name": "class-normal", "num_classes": 5}}):
        with pytest.raises(RecipeError, match="as many classes as the labels have, 3"):
            rx.fit(data, objective="semi-supervised", **(SMALL | classes))
    plain = rx.fit(ROWS, epochs=1, width=4, depth=1)
    with pytest.raises(RecipeError, match="semi-supervised"):
        rx.classify(plain, ROWS)
