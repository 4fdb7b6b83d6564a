"""The first step of an encoder: the user's units become numbers near one."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from reparax.networks._base import Network
from reparax.pytrees import Frozen


class Standardized(eqx.Module):
    """network((x - mean) / std) with a mean and a standard deviation that are not trained.

    Only what the encoder sees is standardized; densities stay in the user's units.
    """

    network: Network
    mean: Frozen
    std: Frozen

    def __init__(self, network: Network, mean: np.ndarray, std: np.ndarray) -> None:
        self.network = network
        self.mean = Frozen(jnp.asarray(mean, jnp.float32))
        self.std = Frozen(jnp.asarray(std, jnp.float32))

    def __call__(self, x: Num[Array, "*event"]) -> Float[Array, "..."]:
        x = jnp.asarray(x, self.mean.value.dtype)
        mean = jnp.broadcast_to(self.mean.value, x.shape)
        std = jnp.broadcast_to(self.std.value, x.shape)
        return self.network((x - mean) / std)
