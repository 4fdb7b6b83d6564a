"""What type checkers see of `reparax.priors`; `tests/test_front_door.py` compares it with the folder."""

from reparax.priors._base import AbstractFixedPrior as AbstractFixedPrior
from reparax.priors._base import AbstractPrior as AbstractPrior
from reparax.priors._base import MakeNetwork as MakeNetwork
from reparax.priors._base import Prior as Prior
from reparax.priors.classes import ClassMixture as ClassMixture
from reparax.priors.classes import UniformClass as UniformClass
from reparax.priors.fixed import HypersphericalUniform as HypersphericalUniform
from reparax.priors.fixed import PoincareNormal as PoincareNormal
from reparax.priors.fixed import StandardLogisticNormal as StandardLogisticNormal
from reparax.priors.fixed import StandardNormal as StandardNormal
from reparax.priors.fixed import Uniform as Uniform
from reparax.priors.fixed import UniformBernoulli as UniformBernoulli
from reparax.priors.fixed import UniformCategorical as UniformCategorical
from reparax.priors.fixed import UniformDirichlet as UniformDirichlet
from reparax.priors.fixed import UnitExponential as UnitExponential
from reparax.priors.fixed import UnitPoisson as UnitPoisson
from reparax.priors.flows import AutoregressiveFlow as AutoregressiveFlow
from reparax.priors.flows import ConditionalFlow as ConditionalFlow
from reparax.priors.flows import CouplingFlow as CouplingFlow
from reparax.priors.flows import SplineFlow as SplineFlow
from reparax.priors.layered import TopDown as TopDown
from reparax.priors.learned import ConditionalNormal as ConditionalNormal
from reparax.priors.learned import FittedNormal as FittedNormal
from reparax.priors.learned import LearnedBernoulli as LearnedBernoulli
from reparax.priors.learned import NormalMixture as NormalMixture
from reparax.priors.vamp import Vamp as Vamp
