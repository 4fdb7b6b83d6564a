"""A standard Normal pushed through affine couplings: a learnable density with exact samples and probabilities."""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.reparameterization import declared, rule

LARGEST_LOG_SCALE = 2.0


class Coupling(eqx.Module):
    """One affine coupling: the dimensions of a mask stay, the others are scaled and shifted by a network of those.

    Attributes:
        network: From z with the other dimensions set to zero, shape ``(d,)``, to log-scales and shifts, ``(2 d,)``.
        mask: One where a dimension stays.
    """

    network: Callable[[Array], Array]
    mask: tuple[int, ...] = eqx.field(static=True)

    def scale_and_shift(self, z: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Log-scales and shifts of the dimensions that do not stay; zeros for the others."""
        stays = jnp.asarray(self.mask, z.dtype)
        log_scale, shift = jnp.split(self.network(z * stays), 2)
        return LARGEST_LOG_SCALE * jnp.tanh(log_scale / LARGEST_LOG_SCALE) * (1 - stays), shift * (1 - stays)

    def forward_and_log_det(self, e: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """e scaled and shifted, and the log-determinant: the coupling is a transform of a `Pushforward`."""
        log_scale, shift = self.scale_and_shift(e)
        return e * jnp.exp(log_scale) + shift, jnp.sum(log_scale)

    def inverse_and_log_det(self, z: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        """What was scaled and shifted to z, and the log-determinant of the way back."""
        log_scale, shift = self.scale_and_shift(z)
        return (z - shift) * jnp.exp(-log_scale), -jnp.sum(log_scale)


def halves(latent_dim: int, depth: int) -> tuple[tuple[int, ...], ...]:
    """Masks of so many couplings: halves of the dimensions, mixed differently, each followed by the other half."""
    masks = []
    for index in range(depth):
        half = [(i * 7 + (index // 2) * 3) % latent_dim < -(-latent_dim // 2) for i in range(latent_dim)]
        if latent_dim > 1 and len(set(half)) == 1:
            half = [i % 2 == 0 for i in range(latent_dim)]
        masks.append(tuple(int(stays != bool(index % 2)) for stays in half))
    return tuple(masks)


class CouplingFlow(dist.Distribution):
    """z = f_L(... f_1(eps)), eps ~ N(0, I): Dinh et al. (2017), "Density estimation using Real NVP", equations 7, 8.

    log p(z) = log N(f^-1(z); 0, I) - sum of the log-scales of all couplings; nats.

    Args:
        layers: The couplings, in the order in which they are applied to eps.
        latent_dim: The number of dimensions.
    """

    arg_constraints = {}
    support = constraints.real_vector
    pytree_data_fields = ("layers",)

    def __init__(self, layers: Sequence[Coupling], latent_dim: int, *, validate_args: bool | None = None) -> None:
        self.layers = tuple(layers)
        super().__init__(event_shape=(latent_dim,), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        noise = jax.random.normal(key, (math.prod(sample_shape), *self.event_shape))
        return jax.vmap(self._forward)(noise).reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Float[Array, "*s d"]) -> Float[Array, "*s"]:
        flat = jnp.reshape(value, (-1, *self.event_shape))
        return jax.vmap(self._log_prob)(flat).reshape(value.shape[:-1])

    def _forward(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        for layer in self.layers:
            z, _ = layer.forward_and_log_det(z)
        return z

    def _log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        total = jnp.zeros((), z.dtype)
        for layer in reversed(self.layers):
            z, log_det = layer.inverse_and_log_det(z)
            total = total + log_det
        return total - 0.5 * jnp.sum(z**2) - 0.5 * z.shape[0] * math.log(2 * math.pi)


@rule(CouplingFlow, declare=declared("composed (location-scale)", "layers"))
def _coupling_flow(q: CouplingFlow, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return q.sample(key, sample_shape)
