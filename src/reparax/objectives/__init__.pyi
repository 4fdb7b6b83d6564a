"""What type checkers see of `reparax.objectives`; `tests/test_front_door.py` compares it with the folder."""

from reparax.objectives._base import AbstractCompanionObjective as AbstractCompanionObjective
from reparax.objectives._base import AbstractObjective as AbstractObjective
from reparax.objectives._base import Accompanied as Accompanied
from reparax.objectives._base import InContext as InContext
from reparax.objectives._base import Penalized as Penalized
from reparax.objectives._base import Terms as Terms
from reparax.objectives._base import check_objective as check_objective
from reparax.objectives._by_dimension import ByDimension as ByDimension
from reparax.objectives._precision import InPrecision as InPrecision
from reparax.objectives._precision import with_low_networks as with_low_networks
from reparax.objectives.adversarial import Adversarial as Adversarial
from reparax.objectives.adversarial import FactorVAE as FactorVAE
from reparax.objectives.bounds import ELBO as ELBO
from reparax.objectives.bounds import IWAE as IWAE
from reparax.objectives.labels import SemiSupervised as SemiSupervised
from reparax.objectives.multiple import CIWAE as CIWAE
from reparax.objectives.multiple import PIWAE as PIWAE
from reparax.objectives.multiple import MultipleIWAE as MultipleIWAE
from reparax.objectives.reconstruction import Reconstruction as Reconstruction
from reparax.objectives.regularized import DIP as DIP
from reparax.objectives.regularized import Capacity as Capacity
from reparax.objectives.regularized import InfoVAE as InfoVAE
from reparax.objectives.regularized import TotalCorrelation as TotalCorrelation
