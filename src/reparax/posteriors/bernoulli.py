"""The posterior of binary latent variables."""

from typing import ClassVar

import equinox as eqx
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.bernoulli import Bernoulli as BernoulliDistribution
from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound


class Bernoulli(AbstractPosterior):
    """q(z | x) = prod_d Bernoulli(z_d; sigmoid(logit_d(x))): d independent bits, the logits softly bounded by 15.

    Mnih & Gregor (2014), section 2. Not reparameterizable: its gradients come from a score-function estimator or from
    enumeration.
    """

    latent_space: ClassVar[LatentSpace] = "binary"
    default_prior: ClassVar[str] = "uniform-bernoulli"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        return BernoulliDistribution(soft_bound(self.network(x), -15.0, 15.0)).to_event(1)
