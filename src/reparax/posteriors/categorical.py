"""The posterior of categorical latent variables."""

from typing import ClassVar

import equinox as eqx
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import OneHotCategorical
from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace
from reparax.pytrees import soft_bound

CLASSES = 10


class Categorical(AbstractPosterior):
    """q(z | x) = prod_d Categorical(z_d; softmax(logits_d(x))), each z_d a one-hot vector of ``num_classes``.

    Jang et al. (2017), section 3.1. Not reparameterizable: its gradients come from a score-function estimator or from
    enumeration.
    """

    latent_space: ClassVar[LatentSpace] = "one-hot"
    default_prior: ClassVar[str] = "uniform-categorical"
    network: Network
    latent_dim: int = eqx.field(static=True)
    num_classes: int = eqx.field(static=True, default=CLASSES)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return latent_dim * CLASSES

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim, self.num_classes)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        logits = soft_bound(self.network(x), -15.0, 15.0).reshape(self.latent_shape)
        return OneHotCategorical(logits).to_event(1)
