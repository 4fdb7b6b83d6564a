"""What a network architecture is: it makes encoders and decoders of one example."""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from reparax.networks._precision import in_dtype_of
from reparax.pytrees import Frozen

STD_OF_TRUNCATED = 0.87962566103423978
"""The standard deviation of a standard Normal truncated to [-2, 2]."""


def lecun_normal(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> Float[Array, "..."]:
    """Draws of a Normal of variance 1 / fan_in, truncated at two standard deviations: LeCun et al. (1998), section 4.6.

    The same bits as ``jax.nn.initializers.lecun_normal``. One size is compiled for all shapes of up to 65,536 numbers
    (the draws of a shape are the first ones of a longer array), because compiling would take most of the time of
    building a model.
    """
    count = math.prod(shape)
    longer = 16 ** max(4, math.ceil(math.log(max(count, 1), 16)))
    return _cut(_truncated_normal(key, longer), jnp.sqrt(1 / max(1, fan_in)) / STD_OF_TRUNCATED, shape)


@partial(jax.jit, static_argnums=1)
def _truncated_normal(key: jax.Array, count: int) -> Float[Array, " n"]:
    return jax.random.truncated_normal(key, -2.0, 2.0, (count,))


@partial(jax.jit, static_argnums=2)
def _cut(draws: Float[Array, " n"], scale: Float[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    return draws[: math.prod(shape)].reshape(shape) * scale


Network = Callable[[Array], Array]


class AbstractArchitecture(eqx.Module):
    """Makes the two networks of a variational autoencoder.

    Attributes:
        width: Units of a hidden layer, or channels of the first convolution.
        depth: The number of hidden layers.
    """

    width: eqx.AbstractVar[int]
    depth: eqx.AbstractVar[int]

    @abstractmethod
    def encoder(self, event_shape: tuple[int, ...], out_size: int, *, key: jax.Array) -> Network:
        """A network from one example of shape ``event_shape`` to a vector of ``out_size`` numbers."""

    @abstractmethod
    def decoder(self, in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> Network:
        """A network from a latent vector to ``out_shape``, which is ``(parameters, *event_shape)``."""


class Affine(eqx.Module):
    """x W + b for one vector x; W has shape (in, out), so that a batch is one matrix product without a transpose."""

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"]

    def __init__(self, in_size: int, out_size: int, *, key: jax.Array) -> None:
        self.weight = lecun_normal(key, (in_size, out_size), in_size)
        self.bias = jax.numpy.zeros(out_size)

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        return in_dtype_of(self.weight, x) @ self.weight + self.bias


class LastOf(eqx.Module):
    """A network of the last numbers of a vector, such as the layer of z on which the data depend directly.

    Attributes:
        network: The network.
        size: How many numbers it sees.
    """

    network: Network
    size: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, "..."]:
        return self.network(x[-self.size :])


class Standardized(eqx.Module):
    """network((x - mean) / std) with a mean and a standard deviation that are not trained.

    Only the input of the encoder is standardized; densities are in the user's units.
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


class OfCounts(eqx.Module):
    """network((log(1 + x) - log(1 + mean)) / scale), for counts, whose spread grows with their mean.

    The scale is std / (1 + mean), about the standard deviation of log(1 + x), and at least 1/2, so that a count of a
    dimension that is mostly 0 does not become a large number.
    """

    network: Network
    center: Frozen
    scale: Frozen

    def __init__(self, network: Network, mean: np.ndarray, std: np.ndarray) -> None:
        self.network = network
        self.center = Frozen(jnp.asarray(np.log1p(mean), jnp.float32))
        self.scale = Frozen(jnp.asarray(np.clip(std / (1 + mean), 0.5, 1.0), jnp.float32))

    def __call__(self, x: Num[Array, "*event"]) -> Float[Array, "..."]:
        x = jnp.asarray(x, self.center.value.dtype)
        center = jnp.broadcast_to(self.center.value, x.shape)
        scale = jnp.broadcast_to(self.scale.value, x.shape)
        return self.network((jnp.log1p(x) - center) / scale)
