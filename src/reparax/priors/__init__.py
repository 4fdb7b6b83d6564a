"""The priors, one file each, found by their files' names; `AbstractPrior` says how to add one."""

from reparax.priors._base import AbstractPrior as AbstractPrior
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
