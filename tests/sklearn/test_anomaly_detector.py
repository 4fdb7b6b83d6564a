"""The anomaly detector: scores, threshold, contributions of columns."""

from functools import cache

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

import reparax as rx
from reparax.errors import RecipeError

TINY = {"epochs": 2, "latent_dim": 2, "width": 8, "depth": 1, "valid": 0, "importance_samples": 5, "random_state": 0}


def contaminated(rows=300, anomalies=15):
    """Rows on a line in a box, and some that are in the box but far from the line."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=rows)
    data = np.column_stack([hidden, hidden, -hidden]) + 0.05 * rng.normal(size=(rows, 3))
    data[:anomalies, 1] = -np.sign(data[:anomalies, 1]) * rng.uniform(1, 2, anomalies)
    return data, np.arange(rows) < anomalies


@cache
def fitted():
    return rx.AnomalyDetector(**TINY, contamination=0.05).fit(contaminated()[0])


@pytest.fixture
def detector(climate):
    return fitted()


def test_scores_are_those_of_the_functions(detector):
    data, _ = contaminated()
    found = rx.score(detector.model_, data, num_samples=5)
    assert_array_equal(detector.score_samples(data), -found.anomaly_score.astype(np.float64))
    assert_allclose(detector.decision_function(data), detector.score_samples(data) - detector.offset_, rtol=1e-12)
    shares = detector.column_shares(data)
    assert_array_equal(shares, found.shares.astype(np.float64))
    assert_allclose(shares.sum(axis=1), -detector.score_samples(data), rtol=1e-5)
    assert detector.columns_ == ("column_0", "column_1", "column_2")


@pytest.mark.parametrize(("contamination", "anomalies"), [(0.2, 60), ("auto", 30)])
def test_contamination_sets_the_threshold_alone(detector, contamination, anomalies):
    data, _ = contaminated()
    other = rx.AnomalyDetector(**TINY, contamination=contamination)
    labels = other.fit_predict(data)
    assert (labels == -1).sum() == anomalies
    assert_array_equal(labels, other.predict(data))
    assert_array_equal(labels, np.where(other.decision_function(data) < 0, -1, 1))
    assert_array_equal(other.score_samples(data), detector.score_samples(data))
    assert (detector.predict(data) == -1).sum() == 15


@pytest.mark.parametrize(("trim", "least"), [(0.1, 0.95), (0.0, 0.97)])
def test_rows_off_the_line_are_found(trim, least):
    """Each single cell is common; the dependence between columns reveals the anomalies.

    Trimming takes none of these away, but the ends of the columns.
    """
    data, anomalies = contaminated()
    settings = TINY | {"epochs": 60, "latent_dim": 1, "width": 32, "learning_rate": 0.01, "importance_samples": 50}
    detector = rx.AnomalyDetector(**settings, contamination=0.05, trim=trim).fit(data)
    assert roc_auc_score(anomalies, -detector.score_samples(data)) > least
    shares = detector.column_shares(data)[anomalies]
    assert (shares.argmax(axis=1) == 1).mean() > 0.6


def test_training_leaves_out_anomalous_rows(detector):
    assert detector.model_.recipe.trim == 0.1


def test_scales_and_shares_are_those_of_the_rows_that_are_left():
    rng = np.random.default_rng(0)
    sizes, kinds = rng.normal(size=200), rng.choice(["a", "b"], 200)
    sizes[:10], kinds[:10] = 1000.0, "c"
    detector = rx.AnomalyDetector(**TINY).fit(pl.DataFrame({"size": sizes, "kind": kinds}))
    size, kind = detector.model_.schema.columns
    assert size.std < 2
    assert size.mean == pytest.approx(0, abs=0.3)
    assert size.high == 1000
    assert kind.category_fractions[kind.categories.index("c")] == 0
    assert detector.model_.schema.num_examples == 200


def test_frames_with_categories_and_gaps():
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"kind": rng.choice(["a", "b"], 80), "size": rng.normal(size=80)})
    table = table.with_columns(size=pl.when(pl.int_range(80) % 7 == 0).then(None).otherwise("size"))
    detector = rx.AnomalyDetector(**TINY).fit(table)
    assert detector.columns_ == ("kind", "size")
    scores = detector.score_samples(table)
    assert_array_equal(detector.score_samples(table[::-1]), scores[::-1])
    shares = detector.column_shares(table)
    assert (shares[::7, 1] > 0).all()  # a gap is surprising as a rare category is
    gone = table.with_columns(kind=pl.lit(None, pl.String))  # of no row of the fit: nothing is known of such gaps
    assert (detector.column_shares(gone)[:, 0] == 0).all()
    unseen = table.with_columns(kind=pl.lit("never"))
    assert (detector.score_samples(unseen) < scores - 1).all()


@pytest.mark.parametrize("contamination", [0, -0.1, 0.6, "much", True, None])
def test_a_contamination_out_of_range_is_refused(contamination):
    with pytest.raises(RecipeError, match=r"expected contamination above 0 and up to 0\.5, or 'auto'"):
        rx.AnomalyDetector(**TINY, contamination=contamination).fit(contaminated()[0])


@pytest.mark.full
def test_shares_need_the_columns_likelihood():
    data, _ = contaminated()
    detector = rx.AnomalyDetector(**TINY, likelihood="normal", trim=0.25).fit(data)
    assert detector.model_.recipe.trim == 0.25
    assert (detector.predict(data) == -1).sum() == 30
    with pytest.raises(RecipeError, match="expected a model with the columns likelihood"):
        detector.column_shares(data)
