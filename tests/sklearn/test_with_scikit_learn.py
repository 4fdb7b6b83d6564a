"""The estimators among those of scikit-learn: pipelines, searches, cross-validation, output containers."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import reparax as rx

TINY = {
    "epochs": 2, "latent_dim": 2, "width": 8, "depth": 1, "valid": 0, "hide": 0, "importance_samples": 5,
    "random_state": 0,
}  # fmt: skip


def data(rows=60):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, rows)
    return rng.normal(size=(rows, 3)) + labels[:, None], labels


def table(rows=60):
    values, _ = data(rows)
    kinds = np.random.default_rng(1).choice(["a", "b"], rows)
    return pl.DataFrame({"kind": kinds, "width": values[:, 0], "height": values[:, 1], "weight": values[:, 2]})


def test_pipeline():
    X, y = data()
    pipeline = make_pipeline(StandardScaler(), rx.VAE(**TINY), LogisticRegression())
    assert pipeline.fit(X, y).predict(X).shape == y.shape
    assert_array_equal(pipeline[:2].get_feature_names_out(), ["vae0", "vae1"])
    codes = pipeline[:2].transform(X)
    assert_allclose(codes, pipeline[1].transform(pipeline[0].transform(X)))
    density = make_pipeline(StandardScaler(), rx.VAE(**TINY)).fit(X)
    assert density.score(X) == np.mean(density.score_samples(X))


def test_column_transformer():
    frame = table()
    parts = [("codes", rx.VAE(**TINY), ["kind", "width"]), ("same", "passthrough", ["weight"])]
    transformer = ColumnTransformer(parts).set_output(transform="polars")
    found = transformer.fit_transform(frame)
    assert found.columns == ["codes__vae0", "codes__vae1", "same__weight"]
    alone = rx.VAE(**TINY).fit(frame.select("kind", "width")).transform(frame.select("kind", "width"))
    assert_array_equal(found.select("codes__vae0", "codes__vae1").to_numpy(), alone)


def test_grid_search_in_worker_processes():
    X, _ = data()
    once = ShuffleSplit(n_splits=1, test_size=0.5, random_state=0)
    search = GridSearchCV(rx.VAE(**TINY), {"beta": [0.5, 1.0]}, cv=once, n_jobs=2, error_score="raise").fit(X)
    found = search.cv_results_["mean_test_score"]
    assert len(set(found)) == 2
    assert search.best_score_ == max(found)
    assert search.best_params_["beta"] == search.best_estimator_.model_.recipe.option("objective", "beta", 1.0)
    assert_allclose(cross_val_score(rx.VAE(**TINY, beta=0.5), X, cv=once), found[:1], rtol=1e-4)  # fitted here


@pytest.mark.full
def test_cross_validation_of_a_frame():
    frame, once = table(), ShuffleSplit(n_splits=1, test_size=0.5, random_state=0)
    train, test = next(once.split(frame))
    by_hand = rx.VAE(**TINY).fit(frame[train]).score(frame[test])
    assert cross_val_score(rx.VAE(**TINY), frame, cv=once).tolist() == [by_hand]


def test_clones_have_the_parameters_and_no_model():
    vae = rx.VAE(**TINY, schema={"width": "continuous"}, exclude=["weight"]).fit(table())
    copy = clone(vae)
    assert copy.get_params() == vae.get_params()
    assert not hasattr(copy, "model_")
    assert_array_equal(copy.fit(table()).transform(table()), vae.transform(table()))


def test_output_as_polars():
    found = rx.VAE(**TINY).set_output(transform="polars").fit_transform(table())
    assert isinstance(found, pl.DataFrame)
    assert found.columns == ["vae0", "vae1"]
    vae = rx.VAE(**TINY).set_output(transform="polars").fit(table())
    assert vae.inverse_transform(vae.transform(table())).schema == table().schema


def test_output_as_pandas():
    pandas = pytest.importorskip("pandas")
    frame = table().to_pandas().set_index(pandas.Index(range(100, 160)))
    vae = rx.VAE(**TINY).set_output(transform="pandas").fit(frame)
    found = vae.transform(frame)
    assert isinstance(found, pandas.DataFrame)
    assert list(found.columns) == ["vae0", "vae1"]
    assert found.index.equals(frame.index)
    gaps = frame.copy()
    gaps.loc[105, "width"] = None
    assert vae.impute(gaps).index.equals(frame.index)


@pytest.mark.full
@pytest.mark.parametrize("name", ["VAE", "AnomalyDetector"])
def test_the_check_that_needs_a_setting_of_scipy(name):
    """scikit-learn runs it only where SCIPY_ARRAY_API is set before scipy is imported."""
    code = f"""if True:
        import reparax as rx
        from sklearn.utils.estimator_checks import check_array_api_input
        estimator = rx.{name}(epochs=2, latent_dim=2, width=8, depth=1, valid=0, importance_samples=5)
        check_array_api_input("{name}", estimator, "numpy", expect_only_array_outputs=False)
        print("passed")
    """
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == "passed", done.stderr
