"""What type checkers see of `reparax.likelihoods`; `tests/test_front_door.py` compares it with the folder."""

from reparax.likelihoods._base import AbstractLikelihood as AbstractLikelihood
from reparax.likelihoods._base import Likelihood as Likelihood
from reparax.likelihoods._base import MakeDecoder as MakeDecoder
from reparax.likelihoods.bounded import Bernoulli as Bernoulli
from reparax.likelihoods.bounded import Categorical as Categorical
from reparax.likelihoods.bounded import ContinuousBernoulli as ContinuousBernoulli
from reparax.likelihoods.bounded import DiscretizedLogistic as DiscretizedLogistic
from reparax.likelihoods.counts import NegativeBinomial as NegativeBinomial
from reparax.likelihoods.counts import Poisson as Poisson
from reparax.likelihoods.counts import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
from reparax.likelihoods.counts import ZeroInflatedPoisson as ZeroInflatedPoisson
from reparax.likelihoods.pixels import DiscretizedLogisticMixture as DiscretizedLogisticMixture
from reparax.likelihoods.real import Normal as Normal
from reparax.likelihoods.real import StudentT as StudentT
from reparax.tables.columns import Columns as Columns
from reparax.tables.views import ByView as ByView
