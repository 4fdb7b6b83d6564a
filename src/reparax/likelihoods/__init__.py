"""The likelihoods, one file each, found by their files' names; `AbstractLikelihood` says how to add one."""

from reparax.likelihoods._base import AbstractLikelihood as AbstractLikelihood
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
