"""What type checkers see of `reparax.posteriors`; `tests/test_front_door.py` compares it with the folder."""

from reparax.posteriors._base import AbstractFamily as AbstractFamily
from reparax.posteriors._base import AbstractPosterior as AbstractPosterior
from reparax.posteriors._base import Encoder as Encoder
from reparax.posteriors._base import MakeEncoder as MakeEncoder
from reparax.posteriors._base import Posterior as Posterior
from reparax.posteriors.bounded import Beta as Beta
from reparax.posteriors.bounded import Dirichlet as Dirichlet
from reparax.posteriors.bounded import Gamma as Gamma
from reparax.posteriors.bounded import Kumaraswamy as Kumaraswamy
from reparax.posteriors.bounded import LogisticNormal as LogisticNormal
from reparax.posteriors.curved import PoincareNormal as PoincareNormal
from reparax.posteriors.curved import PowerSpherical as PowerSpherical
from reparax.posteriors.curved import VonMisesFisher as VonMisesFisher
from reparax.posteriors.discrete import Bernoulli as Bernoulli
from reparax.posteriors.discrete import Categorical as Categorical
from reparax.posteriors.discrete import Poisson as Poisson
from reparax.posteriors.real import Deterministic as Deterministic
from reparax.posteriors.real import DiagonalNormal as DiagonalNormal
from reparax.posteriors.real import FullCovarianceNormal as FullCovarianceNormal
from reparax.posteriors.real import Laplace as Laplace
from reparax.posteriors.real import NormalMixture as NormalMixture
from reparax.posteriors.real import StudentT as StudentT
