"""The likelihoods; `AbstractLikelihood` says how to add one."""

from reparax.likelihoods._base import AbstractLikelihood as AbstractLikelihood
from reparax.likelihoods._base import Likelihood as Likelihood
from reparax.likelihoods._base import MakeDecoder as MakeDecoder
from reparax.registry import lazy_parts

__getattr__, __dir__ = lazy_parts(__name__)
