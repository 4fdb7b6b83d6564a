"""Priors without weights."""

from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions import OneHotCategorical
from reparax.distributions.bounded import LogisticNormal
from reparax.distributions.discrete import Bernoulli as BernoulliDistribution
from reparax.distributions.hyperbolic import PoincareNormal as PoincareNormalDistribution
from reparax.distributions.sphere import HypersphericalUniform as HypersphericalUniformDistribution
from reparax.priors._base import AbstractFixedPrior


class StandardNormal(AbstractFixedPrior):
    """p(z) = N(z; 0, I), Kingma & Welling (2014), section 3."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"real"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return dist.Normal(jnp.zeros(shape), jnp.ones(shape)).to_event(len(shape))


class Uniform(AbstractFixedPrior):
    """p(z) = 1 on the unit cube."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"unit interval"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return dist.Uniform(jnp.zeros(shape), jnp.ones(shape)).to_event(len(shape))


class UnitExponential(AbstractFixedPrior):
    """p(z) = prod_d exp(-z_d), the exponential of rate 1, as a Gamma, so that the KL has a closed form."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"positive"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return dist.Gamma(jnp.ones(shape), jnp.ones(shape)).to_event(len(shape))


class UniformDirichlet(AbstractFixedPrior):
    """p(z) = (d - 1)! on the simplex of d proportions: the Dirichlet with all concentrations 1."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"simplex"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return dist.Dirichlet(jnp.ones(shape))


class StandardLogisticNormal(AbstractFixedPrior):
    """z = softmax((y, 0)) with y ~ N(0, I), close to the uniform Dirichlet, Srivastava & Sutton (2017), equation 5."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"simplex"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        size = shape[0] - 1
        return LogisticNormal(jnp.zeros(size), jnp.ones(size))


class UniformBernoulli(AbstractFixedPrior):
    """p(z) = 2^-d over the vectors of d bits."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"binary"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return BernoulliDistribution(jnp.zeros(shape)).to_event(len(shape))


class UniformCategorical(AbstractFixedPrior):
    """p(z) = c^-d over d one-hot vectors of c classes."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"one-hot"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return OneHotCategorical(jnp.zeros(shape)).to_event(len(shape) - 1)


class UnitPoisson(AbstractFixedPrior):
    """p(z) = prod_d Poisson(z_d; 1)."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"count"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return dist.Poisson(jnp.ones(shape)).to_event(len(shape))


class HypersphericalUniform(AbstractFixedPrior):
    """p(z) = 1 / area of the sphere, Davidson et al. (2018), section 3.1."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"sphere"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return HypersphericalUniformDistribution(shape[0])


class PoincareNormal(AbstractFixedPrior):
    """z = exp_0(v) with v ~ N(0, I), Mathieu et al. (2019), section 3.2."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"ball"})

    def distribution(self, shape: tuple[int, ...]) -> dist.Distribution:
        return PoincareNormalDistribution(jnp.zeros(shape), jnp.ones(shape))
