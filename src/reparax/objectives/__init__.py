"""The objectives; `AbstractObjective` says how to add one."""

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
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
