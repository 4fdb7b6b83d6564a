"""The priors; `AbstractFixedPrior` and `AbstractPrior` say how to add one."""

from reparax.priors._base import AbstractFixedPrior as AbstractFixedPrior
from reparax.priors._base import AbstractPrior as AbstractPrior
from reparax.priors._base import MakeNetwork as MakeNetwork
from reparax.priors._base import Prior as Prior
from reparax.priors._base import RegressedPrior as RegressedPrior
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
