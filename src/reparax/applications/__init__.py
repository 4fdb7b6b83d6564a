"""Fitting models and applying them to data; all arrays are in the user's units."""

from reparax.applications._distances import comparable as comparable
from reparax.applications._door import dataset_of as dataset_of
from reparax.applications._door import held_out_of as held_out_of
from reparax.applications._door import parts_of as parts_of
from reparax.applications._encode import decode as decode
from reparax.applications._encode import drawn_std as drawn_std
from reparax.applications._encode import encode as encode
from reparax.applications._encode import encode_std as encode_std
from reparax.applications._encode import reconstruct as reconstruct
from reparax.applications._explain import explain as explain
from reparax.applications._fit import fit as fit
from reparax.applications._fit import plan as plan
from reparax.applications._impute import impute as impute
from reparax.applications._impute import impute_draws as impute_draws
from reparax.applications._measured import Measured as Measured
from reparax.applications._measured import separation as separation
from reparax.applications._privacy import Privacy as Privacy
from reparax.applications._privacy import privacy as privacy
from reparax.applications._sample import sample as sample
from reparax.applications._sample import sample_means as sample_means
from reparax.applications._sample import sample_values as sample_values
from reparax.applications._score import ACTIVE_VARIANCE as ACTIVE_VARIANCE
from reparax.applications._score import Evaluation as Evaluation
from reparax.applications._score import Scores as Scores
from reparax.applications._score import evaluate as evaluate
from reparax.applications._score import score as score
