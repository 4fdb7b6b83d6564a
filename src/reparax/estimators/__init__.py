"""Expectations E_q[f(z)] and their derivatives, by many estimators.

`expectation` estimates the value, and its derivative is an estimate of the derivative. `AbstractEstimator` says how to
add an estimator.
"""

from reparax.continuity import AssumedContinuous as AssumedContinuous
from reparax.estimators._base import AbstractBoundEstimator as AbstractBoundEstimator
from reparax.estimators._base import AbstractEstimator as AbstractEstimator
from reparax.estimators._base_of import base_of as base_of
from reparax.estimators._base_of import code_of as code_of
from reparax.estimators._base_of import sample_with_log_prob as sample_with_log_prob
from reparax.estimators._compare import Comparison as Comparison
from reparax.estimators._compare import compare as compare
from reparax.estimators._estimates import elbo_estimate as elbo_estimate
from reparax.estimators._estimates import expectation as expectation
from reparax.estimators._estimates import iwae_estimate as iwae_estimate
from reparax.estimators._explain import Explanation as Explanation
from reparax.estimators._explain import Line as Line
from reparax.estimators._explain import explain as explain
from reparax.estimators._integrand import support_interval as support_interval
from reparax.estimators._tune import adapt as adapt
from reparax.estimators._tune import tune as tune
from reparax.estimators.bounds import log_mean_exp as log_mean_exp
from reparax.estimators.bounds import path_only as path_only
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
