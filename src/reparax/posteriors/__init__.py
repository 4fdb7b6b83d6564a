"""The posteriors, one file each, found by their files' names; `AbstractPosterior` says how to add one."""

from reparax.posteriors._base import AbstractPosterior as AbstractPosterior
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
