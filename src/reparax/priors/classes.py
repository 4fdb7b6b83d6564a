"""Priors of a class and of numbers given the class."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import NormalOf
from reparax.distributions.classes import ClassNormal
from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.posteriors.classes import ClassNormal as ClassPart
from reparax.posteriors.classes import CodebookLadder, HasClasses
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


class ClassTopDown(AbstractPrior):
    """p(y, u) = pi_y N(u; m(c_y), diag(s(c_y)^2)): a vector of a codebook on top, and a Normal given that vector.

    The chain of Rezende, Mohamed & Wierstra (2014), "Stochastic backpropagation", equations 4 to 8, with a codebook as
    its deepest layer. The posterior `codebook-ladder` has the codebook and the network; for others they are learned. In
    a conditional model u depends on the context.

    Args:
        code_dim: The size of a vector, for a posterior without codebook.
    """

    latent_spaces: ClassVar[frozenset[str]] = CLASSES
    code_dim: int = option(4, low=1, high=10_000)

    def create(self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array) -> Prior:
        """Equally probable vectors, drawn from a standard Normal."""
        (classes, size), (one, two) = _sizes(posterior), jax.random.split(key)
        if posterior.shares_layers:
            return SharedCodebook(jnp.zeros(classes))
        vectors = jax.random.normal(one, (classes, self.code_dim))
        return OwnCodebook(jnp.zeros(classes), vectors, NormalOf(make_network(self.code_dim, (2, size), key=two)))


class SharedCodebook(Prior):
    """How often each vector of the posterior's codebook is used.

    Args:
        logits: One for each, softly bounded.
    """

    latent_spaces: ClassVar[frozenset[str]] = CLASSES
    logits: Float[Array, " k"]

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        assert isinstance(posterior, HasClasses)
        return _of_moments(self.logits, posterior.of_classes)


class OwnCodebook(Prior):
    """The weights of `ClassTopDown` for a posterior without codebook.

    Args:
        logits: One for each vector, softly bounded.
        codebook: The vectors.
        generative: From a vector to mean and log standard deviation of u.
    """

    latent_spaces: ClassVar[frozenset[str]] = CLASSES
    logits: Float[Array, " k"]
    codebook: Float[Array, "k c"]
    generative: NormalOf

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        return _of_moments(self.logits, jax.vmap(self.generative)(self.codebook))


def _of_moments(logits: Float[Array, " k"], moments: Float[Array, "k 2 d"]) -> ClassNormal:
    return ClassNormal(soft_bound(logits, -30.0, 30.0), moments[:, 0], jnp.exp(moments[:, 1]))


def _sizes(posterior: Posterior) -> tuple[int, int]:
    """The number of classes, and of the other dimensions."""
    assert isinstance(posterior.part, ClassPart | CodebookLadder)
    classes = posterior.part.num_classes
    return classes, posterior.latent_shape[0] - classes
