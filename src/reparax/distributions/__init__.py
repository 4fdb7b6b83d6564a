"""Distributions that numpyro lacks or has wrong, and closed-form divergences; everything else is numpyro's."""

from reparax.distributions.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
from reparax.distributions.discretized_logistic import DiscretizedLogistic as DiscretizedLogistic
from reparax.distributions.integer_categorical import IntegerCategorical as IntegerCategorical
from reparax.distributions.kl import analytic_pairs as analytic_pairs
from reparax.distributions.kl import has_analytic_kl as has_analytic_kl
from reparax.distributions.kl import kl_divergence as kl_divergence
from reparax.distributions.kl import kl_per_dimension as kl_per_dimension
from reparax.distributions.logistic_normal import LogisticNormal as LogisticNormal
from reparax.distributions.one_hot_categorical import OneHotCategorical as OneHotCategorical
