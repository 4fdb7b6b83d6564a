"""The posteriors; `AbstractFamily` and `AbstractPosterior` say how to add one."""

from reparax.posteriors._base import AbstractFamily as AbstractFamily
from reparax.posteriors._base import AbstractPosterior as AbstractPosterior
from reparax.posteriors._base import Encoder as Encoder
from reparax.posteriors._base import MakeEncoder as MakeEncoder
from reparax.posteriors._base import Posterior as Posterior
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
