"""What type checkers and editors see of the package; ``__init__.py`` imports the same names when they are first used.

`tests/test_front_door.py` holds the two together.
"""

from reparax import applications as applications
from reparax import artifact as artifact
from reparax import data as data
from reparax import distributions as distributions
from reparax import errors as errors
from reparax import estimators as estimators
from reparax import exports as exports
from reparax import likelihoods as likelihoods
from reparax import model as model
from reparax import networks as networks
from reparax import objectives as objectives
from reparax import posteriors as posteriors
from reparax import priors as priors
from reparax import programs as programs
from reparax import recipe as recipe
from reparax import reparameterization as reparameterization
from reparax import reports as reports
from reparax import sklearn as sklearn
from reparax import tables as tables
from reparax import training as training
from reparax.applications import classify as classify
from reparax.applications import compare_samples as compare_samples
from reparax.applications import decode as decode
from reparax.applications import encode as encode
from reparax.applications import encode_std as encode_std
from reparax.applications import evaluate as evaluate
from reparax.applications import evaluate_factors as evaluate_factors
from reparax.applications import explain as explain
from reparax.applications import fit as fit
from reparax.applications import fit_many as fit_many
from reparax.applications import impute as impute
from reparax.applications import impute_draws as impute_draws
from reparax.applications import impute_given as impute_given
from reparax.applications import plan as plan
from reparax.applications import privacy as privacy
from reparax.applications import reconstruct as reconstruct
from reparax.applications import refit_prior as refit_prior
from reparax.applications import sample as sample
from reparax.applications import sample_means as sample_means
from reparax.applications import score as score
from reparax.applications import sweep as sweep
from reparax.artifact import load as load
from reparax.artifact import save as save
from reparax.data import Views as Views
from reparax.data import read as read
from reparax.estimators import compare as compare
from reparax.estimators import elbo_estimate as elbo_estimate
from reparax.estimators import expectation as expectation
from reparax.estimators import iwae_estimate as iwae_estimate
from reparax.estimators import tune as tune
from reparax.exports import export as export
from reparax.model import Model as Model
from reparax.programs import cost as cost
from reparax.programs import draw as draw
from reparax.programs import join as join
from reparax.programs import simulate as simulate
from reparax.recipe import FittedModel as FittedModel
from reparax.recipe import Recipe as Recipe
from reparax.reparameterization import is_reparameterizable as is_reparameterizable
from reparax.reparameterization import parameter_rules as parameter_rules
from reparax.reparameterization import rsample as rsample
from reparax.reports import report as report
from reparax.sklearn import VAE as VAE
from reparax.sklearn import AnomalyDetector as AnomalyDetector

__version__: str
