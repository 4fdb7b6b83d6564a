"""Distributions that numpyro lacks or has wrong, and closed-form divergences; everything else is numpyro's."""

from reparax.distributions.bernoulli import Bernoulli as Bernoulli
from reparax.distributions.continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
from reparax.distributions.discretized_logistic import DiscretizedLogistic as DiscretizedLogistic
from reparax.distributions.from_cdf import FromCDF as FromCDF
from reparax.distributions.from_log_density import FromLogDensity as FromLogDensity
from reparax.distributions.from_quantile import FromQuantile as FromQuantile
from reparax.distributions.hyperboloid_normal import HyperboloidNormal as HyperboloidNormal
from reparax.distributions.hyperspherical_uniform import HypersphericalUniform as HypersphericalUniform
from reparax.distributions.integer_categorical import IntegerCategorical as IntegerCategorical
from reparax.distributions.kl import analytic_pairs as analytic_pairs
from reparax.distributions.kl import has_analytic_kl as has_analytic_kl
from reparax.distributions.kl import kl_divergence as kl_divergence
from reparax.distributions.kl import kl_per_dimension as kl_per_dimension
from reparax.distributions.location_scale import LocationScale as LocationScale
from reparax.distributions.log_dirichlet import LogDirichlet as LogDirichlet
from reparax.distributions.log_gamma import LogGamma as LogGamma
from reparax.distributions.logistic_normal import LogisticNormal as LogisticNormal
from reparax.distributions.logit_beta import LogitBeta as LogitBeta
from reparax.distributions.one_hot_categorical import OneHotCategorical as OneHotCategorical
from reparax.distributions.poincare_normal import PoincareNormal as PoincareNormal
from reparax.distributions.power_spherical import PowerSpherical as PowerSpherical
from reparax.distributions.von_mises_fisher import VonMisesFisher as VonMisesFisher
