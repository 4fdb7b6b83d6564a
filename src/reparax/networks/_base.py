"""What a network architecture is: it makes encoders and decoders of one example."""

from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float

from reparax.networks._initial import lecun_normal

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
        """A network from one example of ``event_shape`` to a vector of ``out_size``."""

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
        return x @ self.weight + self.bias
