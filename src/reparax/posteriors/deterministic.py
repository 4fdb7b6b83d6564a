"""The point posterior of a deterministic autoencoder, the baseline."""

from typing import ClassVar, Self

import equinox as eqx
import jax
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.networks import Network
from reparax.posteriors._base import AbstractPosterior, LatentSpace, MakeEncoder


class Deterministic(AbstractPosterior):
    """All of the mass at z = f(x): no density, so no KL and no bound; train it with the reconstruction objective.

    With a Normal fitted to its codes after training it generates too, Ghosh et al. (2020), section 4.
    """

    latent_space: ClassVar[LatentSpace] = "point"
    default_prior: ClassVar[str] = "fitted-normal"
    network: Network
    latent_dim: int = eqx.field(static=True)

    @classmethod
    def create(cls, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> Self:
        return cls(make_encoder(latent_dim), latent_dim)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.latent_dim,)

    def __call__(self, x: Float[Array, "*event"]) -> dist.Distribution:
        return dist.Delta(self.network(x), event_dim=1)
