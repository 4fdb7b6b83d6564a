"""Priors of a class and of numbers given the class."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.classes import ClassNormal
from reparax.posteriors import Posterior
from reparax.posteriors.classes import ClassNormal as ClassPart
from reparax.priors._base import AbstractPrior, MakeNetwork, Prior
from reparax.pytrees import soft_bound
from reparax.summary import Summary

CLASSES = frozenset({"class and real"})


class UniformClass(AbstractPrior):
    """p(y, u) = N(u; 0, I) / k: all classes equally probable, u independent of them.

    Kingma et al. (2014), "Semi-supervised learning with deep generative models", equation 2, with equal probabilities.
    """

    latent_spaces: ClassVar[frozenset[str]] = CLASSES

    def create(self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array) -> Prior:
        """There are no weights."""
        return EqualClasses()


class EqualClasses(Prior):
    """Equally probable classes, and a standard Normal."""

    latent_spaces: ClassVar[frozenset[str]] = CLASSES

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        classes, size = _sizes(posterior)
        return ClassNormal(jnp.zeros(classes), jnp.zeros((classes, size)), jnp.ones((classes, size)))


class ClassMixture(AbstractPrior):
    """p(y, u) = pi_y N(u; m_y, diag(s_y^2)), all learned: a mixture of Normals whose component is the class.

    Jiang et al. (2017), "Variational deep embedding", equations 1 and 2.
    """

    latent_spaces: ClassVar[frozenset[str]] = CLASSES

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "LearnedClasses":
        """Equally probable unit Normals around draws from a standard Normal."""
        shape = _sizes(posterior)
        return LearnedClasses(jnp.zeros(shape[0]), jax.random.normal(key, shape), jnp.zeros(shape))


class LearnedClasses(Prior):
    """The weights of `ClassMixture`.

    Args:
        logits: Of the classes, softly bounded.
        loc: The mean of u for each.
        log_scale: The logarithm of its standard deviation, softly bounded.
    """

    latent_spaces: ClassVar[frozenset[str]] = CLASSES
    logits: Float[Array, " k"]
    loc: Float[Array, "k d"]
    log_scale: Float[Array, "k d"]

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        scale = jnp.exp(soft_bound(self.log_scale, -6.0, 4.0))
        return ClassNormal(soft_bound(self.logits, -30.0, 30.0), self.loc, scale)


def _sizes(posterior: Posterior) -> tuple[int, int]:
    """The number of classes, and of the other dimensions."""
    assert isinstance(posterior.part, ClassPart)
    classes = posterior.part.num_classes
    return classes, posterior.latent_shape[0] - classes
