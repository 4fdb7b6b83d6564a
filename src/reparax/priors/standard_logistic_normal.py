"""The standard logistic-Normal prior of proportions."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions.logistic_normal import LogisticNormal
from reparax.posteriors import AbstractPosterior
from reparax.priors._base import AbstractPrior
from reparax.summary import Summary


class StandardLogisticNormal(AbstractPrior):
    """p(z): softmax((y, 0)) with y ~ N(0, I), about the uniform Dirichlet, Srivastava & Sutton (2017), equation 5."""

    latent_spaces: ClassVar[frozenset[str]] = frozenset({"simplex"})
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, posterior: AbstractPosterior, summary: Summary, *, num_components: int, key: jax.Array) -> Self:
        return cls(posterior.latent_shape)

    def __call__(self, posterior: AbstractPosterior) -> dist.Distribution:
        size = self.shape[0] - 1
        return LogisticNormal(jnp.zeros(size), jnp.ones(size))
