"""Estimators for scikit-learn: a VAE that transforms, scores, samples and imputes, and an anomaly detector."""

from reparax.extras import extras

with extras():
    from reparax.sklearn._anomaly_detector import AnomalyDetector as AnomalyDetector
    from reparax.sklearn._vae import VAE as VAE
