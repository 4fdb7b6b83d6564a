"""Distributions of the channels of a pixel, which depend on each other."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from reparax.distributions._logistic import log_mass_of_rounded_logistic
from reparax.distributions.discrete import DiscretizedLogistic


class DiscretizedLogisticMixture(dist.Distribution):
    """A mixture of discretized logistics: p(x) = sum_k pi_k prod_j p_k(x_j | x_<j), x the channels of one pixel.

    p_k(x_j | x_<j) is a discretized logistic with the location loc_jk + sum_{i < j} a_jik (x_i - loc_ik): Salimans et
    al. (2017), "PixelCNN++", equations 1 to 3, written in deviations from the locations, so that these are those of
    every channel by itself as long as nothing is cut off at the ends of the range; nats.

    Args:
        logits: The logits of the components, shape (*batch, k).
        loc: Locations, in the user's units, shape (*batch, c, k).
        scale: Scales, in the user's units, shape (*batch, c, k).
        slopes: The a_jik, of (1, 0), (2, 0), (2, 1), (3, 0), ... in this order, shape (*batch, c (c - 1) / 2, k).
        low: The least value.
        high: The greatest value.
    """

    arg_constraints = {}
    pytree_data_fields = ("logits", "loc", "scale", "slopes")
    pytree_aux_fields = ("low", "high")

    def __init__(
        self,
        logits: Float[Array, "*batch k"],
        loc: Float[Array, "*batch c k"],
        scale: Float[Array, "*batch c k"],
        slopes: Float[Array, "*batch s k"],
        low: int = 0,
        high: int = 255,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.logits, self.loc, self.scale, self.slopes = logits, loc, scale, slopes
        self.low, self.high = low, high
        super().__init__(jnp.shape(loc)[:-2], jnp.shape(loc)[-2:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.integer_interval(self.low, self.high), 1)

    @validate_sample
    def log_prob(self, value: Float[Array, "*sample c"]) -> Float[Array, "*sample"]:
        x = jnp.asarray(value, self.loc.dtype)
        shape = lax.broadcast_shapes(jnp.shape(x)[:-1], self.batch_shape)
        locs, scales, slopes = (_rows(self._wide(each, shape)) for each in (self.loc, self.scale, self.slopes))
        channels = [jnp.broadcast_to(x[..., channel], locs[0].shape) for channel in range(self.event_shape[0])]
        total = jax.nn.log_softmax(_first(self._wide(self.logits, shape)), axis=0)
        deviations: list[Array] = []
        for channel, (x_j, loc, scale) in enumerate(zip(channels, locs, scales, strict=True)):
            of_those_before = (slopes[at] * each for at, each in zip(_places(channel), deviations, strict=True))
            shifted = sum(of_those_before, start=loc)
            total = total + log_mass_of_rounded_logistic(x_j, shifted, scale, self.low, self.high)
            deviations.append(x_j - loc)
        inside = jnp.all((x >= self.low) & (x <= self.high), axis=-1)
        return jnp.where(inside, jax.nn.logsumexp(total, axis=0), -jnp.inf)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample c"]:
        shape = (*sample_shape, *self.batch_shape)
        for_component, *for_channels = jax.random.split(key, 1 + self.event_shape[0])
        component = jax.random.categorical(for_component, self.logits, shape=shape)[..., None]

        def chosen(parameter: Array) -> Array:
            return jnp.take_along_axis(self._wide(parameter, shape), component, axis=-1)

        drawn: list[Array] = []
        for channel, each in enumerate(for_channels):
            loc, scale = chosen(self.loc[..., channel, :]), chosen(self.scale[..., channel, :])
            if drawn:
                before = jnp.stack([x - chosen(self.loc[..., i, :]) for i, x in enumerate(drawn)], axis=-2)
                slopes = jnp.stack([chosen(self.slopes[..., at, :]) for at in _places(channel)], axis=-2)
                loc = loc + jnp.sum(slopes * before, axis=-2)
            drawn.append(DiscretizedLogistic(loc, scale, self.low, self.high).sample(each))
        return jnp.concatenate(drawn, axis=-1)

    @property
    def mean(self) -> Float[Array, "*batch c"]:
        """The means of the locations: exact but for what is cut off at the ends of the range given other channels."""
        of_components = DiscretizedLogistic(self.loc, self.scale, self.low, self.high).mean
        return jnp.sum(jax.nn.softmax(self.logits)[..., None, :] * of_components, axis=-1)

    def _wide(self, parameter: Array, shape: tuple[int, ...]) -> Array:
        """A parameter of every element of a sample."""
        return jnp.broadcast_to(parameter, (*shape, *parameter.shape[len(self.batch_shape) :]))


def _rows(parameter: Float[Array, "*batch r k"]) -> list[Float[Array, "k *batch"]]:
    """The rows, with the components first, so that neighbors in memory are pixels, of which there are more.

    They are split at once, because the derivatives of indices would be added to zeros one by one.
    """
    count = parameter.shape[-2]
    return [_first(jnp.squeeze(row, -2)) for row in jnp.split(parameter, count, axis=-2)] if count else []


def _first(parameter: Float[Array, "*batch k"]) -> Float[Array, "k *batch"]:
    return jnp.moveaxis(parameter, -1, 0)


def _places(channel: int) -> range:
    """Where the slopes of a channel are."""
    return range(channel * (channel - 1) // 2, channel * (channel + 1) // 2)
