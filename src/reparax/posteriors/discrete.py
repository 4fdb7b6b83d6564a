"""Posteriors of bits, categories and counts, which cannot be reparameterized."""

from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import OneHotCategorical
from reparax.distributions.discrete import Bernoulli as BernoulliDistribution
from reparax.parts import option
from reparax.posteriors._base import AbstractFamily, LatentSpace
from reparax.pytrees import soft_bound

MOST_CLASSES = 10_000


class Bernoulli(AbstractFamily):
    """q(z | x) = prod_d Bernoulli(z_d; sigmoid(logit_d(x))): d independent bits, the logits softly bounded by 15.

    Mnih & Gregor (2014), section 2. Not reparameterizable: its gradients come from a score-function estimator or from
    enumeration.
    """

    latent_space: ClassVar[LatentSpace] = "binary"
    default_prior: ClassVar[str] = "uniform-bernoulli"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return BernoulliDistribution(soft_bound(outputs, -15.0, 15.0)).to_event(1)


class Categorical(AbstractFamily):
    """q(z | x) = prod_d Categorical(z_d; softmax(logits_d(x))), each z_d a one-hot vector.

    Jang et al. (2017), section 3.1. Not reparameterizable: its gradients come from a score-function estimator or from
    enumeration.

    Args:
        num_classes: The number of classes of each variable.
    """

    latent_space: ClassVar[LatentSpace] = "one-hot"
    default_prior: ClassVar[str] = "uniform-categorical"
    num_classes: int = option(10, low=2, high=MOST_CLASSES)

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim * self.num_classes

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        logits = soft_bound(outputs, -15.0, 15.0).reshape(latent_dim, self.num_classes)
        return OneHotCategorical(logits).to_event(1)


class Poisson(AbstractFamily):
    """q(z | x) = prod_d Poisson(z_d; lambda_d(x)), the network giving log lambda, softly bounded.

    Not reparameterizable: its gradients come from a score-function or a measure-valued estimator.
    """

    latent_space: ClassVar[LatentSpace] = "count"
    default_prior: ClassVar[str] = "unit-poisson"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim

    def distribution(self, outputs: Float[Array, " outputs"], latent_dim: int) -> dist.Distribution:
        return dist.Poisson(jnp.exp(soft_bound(outputs, -8.0, 5.0))).to_event(1)
