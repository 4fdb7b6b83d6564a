"""scikit-learn's own checks of an estimator, all of them."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from reparax.sklearn import VAE, AnomalyDetector

TINY = {
    "epochs": 2, "latent_dim": 2, "width": 8, "depth": 1, "valid": 0, "trim": 0, "importance_samples": 5,
}  # fmt: skip

CANNOT_APPLY: dict[str, str] = {}
"""The checks that cannot hold for these estimators, and why; none."""


@parametrize_with_checks(
    [VAE(**TINY), AnomalyDetector(**TINY)], expected_failed_checks=lambda estimator: CANNOT_APPLY, xfail_strict=True
)
def test_check(estimator, check):
    check(estimator)
