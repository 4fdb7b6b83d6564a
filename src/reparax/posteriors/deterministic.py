"""The point posterior of a deterministic autoencoder, the baseline."""

from typing import ClassVar

import equinox as eqx
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace


class Deterministic(AbstractPosterior):
    """All of the mass at z = f(x): no density, so no KL and no bound; train it with the reconstruction objective.

    With a Normal fitted to its codes after training it generates too, Ghosh et al. (2020), section 4.
    """

    latent_space: ClassVar[LatentSpace] = "point"
    default_prior: ClassVar[str] = "fitted-normal"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        return dist.Delta(self.network(x), event_dim=1)
