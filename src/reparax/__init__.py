"""reparax: differentiating through randomness, and variational autoencoders built on it.

Names are imported when first used, so that ``import reparax`` costs nothing.
"""

import importlib
from typing import Any

from reparax._xla import avoid_wrong_sums

avoid_wrong_sums()

__version__ = "0.1.0"

_ROOMS = (
    "applications", "artifact", "data", "distributions", "errors", "estimators", "exports", "likelihoods", "model",
    "networks", "objectives", "posteriors", "priors", "programs", "recipe", "reparameterization", "reports", "sklearn",
    "tables", "training",
)  # fmt: skip

_EXPORTS = {
    "expectation": "estimators",
    "elbo_estimate": "estimators",
    "iwae_estimate": "estimators",
    "tune": "estimators",
    "explain": "applications",
    "compare": "estimators",
    "draw": "programs",
    "cost": "programs",
    "join": "programs",
    "simulate": "programs",
    "rsample": "reparameterization",
    "parameter_rules": "reparameterization",
    "is_reparameterizable": "reparameterization",
    "Model": "model",
    "FittedModel": "recipe",
    "Recipe": "recipe",
    "fit": "applications",
    "fit_many": "applications",
    "sweep": "applications",
    "plan": "applications",
    "encode": "applications",
    "classify": "applications",
    "encode_std": "applications",
    "decode": "applications",
    "reconstruct": "applications",
    "sample": "applications",
    "sample_means": "applications",
    "score": "applications",
    "impute": "applications",
    "impute_draws": "applications",
    "impute_given": "applications",
    "compare_samples": "applications",
    "evaluate": "applications",
    "evaluate_factors": "applications",
    "privacy": "applications",
    "refit_prior": "applications",
    "report": "reports",
    "export": "exports",
    "read": "data",
    "Views": "data",
    "load": "artifact",
    "save": "artifact",
    "VAE": "sklearn",
    "AnomalyDetector": "sklearn",
}

__all__ = ["__version__", *_EXPORTS, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"reparax.{name}")
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"reparax.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'reparax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
