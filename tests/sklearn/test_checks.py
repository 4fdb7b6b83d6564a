"""scikit-learn's own checks, all of them; the slow ones and those that pass by shared code are marked full."""

from functools import partial

import pytest
from sklearn.utils.estimator_checks import (
    check_outlier_contamination,
    check_outliers_fit_predict,
    check_outliers_train,
    parametrize_with_checks,
)

from reparax.sklearn import VAE, AnomalyDetector

TINY = {
    "epochs": 2, "latent_dim": 2, "width": 8, "depth": 1, "valid": 0, "trim": 0, "hide": 0, "importance_samples": 5,
}  # fmt: skip

CANNOT_APPLY: dict[str, str] = {}
"""The checks that cannot hold for these estimators, and why; none."""


def expected_failures(estimator):
    return CANNOT_APPLY


@parametrize_with_checks([VAE(**TINY)], expected_failed_checks=expected_failures, xfail_strict=True)
def test_vae(estimator, check):
    check(estimator)


@pytest.mark.full
@parametrize_with_checks([AnomalyDetector(**TINY)], expected_failed_checks=expected_failures, xfail_strict=True)
def test_anomaly_detector(estimator, check):
    check(estimator)


OF_OUTLIERS = {
    "contamination": check_outlier_contamination,
    "fit_predict": check_outliers_fit_predict,
    "train": check_outliers_train,
    "train, read-only": partial(check_outliers_train, readonly_memmap=True),
}


@pytest.mark.parametrize("name", OF_OUTLIERS)
def test_anomaly_detector_finds_outliers(name):
    OF_OUTLIERS[name]("AnomalyDetector", AnomalyDetector(**TINY))
