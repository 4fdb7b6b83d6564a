"""The multilayer perceptron, for anything that can be flattened; without hidden layers, one affine map."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.networks._base import AbstractArchitecture, Affine


class Perceptron(eqx.Module):
    """Affine layers with GELU between them, from one flattened array to one of ``out_shape``."""

    layers: tuple[Affine, ...]
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, in_size: int, hidden: tuple[int, ...], out_shape: tuple[int, ...], *, key: jax.Array) -> None:
        sizes = (in_size, *hidden, math.prod(out_shape))
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(Affine(a, b, key=k) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True))
        self.out_shape = out_shape

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        hidden = jnp.ravel(x)
        for layer in self.layers[:-1]:
            hidden = jax.nn.gelu(layer(hidden))
        return self.layers[-1](hidden).reshape(self.out_shape)

    def last_layer(self) -> Affine:
        return self.layers[-1]


def zero_at_first(network: Perceptron) -> Perceptron:
    """The network with weights of zero in its last layer, so that a map that it parametrizes is the identity."""
    last = network.layers[-1]
    return eqx.tree_at(lambda made: made.layers[-1].weight, network, jnp.zeros_like(last.weight))


class MLP(AbstractArchitecture):
    """A multilayer perceptron: ``depth`` hidden layers of ``width`` units with GELU, for encoder and decoder."""

    width: int = 512
    depth: int = 2

    def encoder(self, event_shape: tuple[int, ...], out_size: int, *, key: jax.Array) -> Perceptron:
        return Perceptron(math.prod(event_shape), (self.width,) * self.depth, (out_size,), key=key)

    def decoder(self, in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> Perceptron:
        return Perceptron(in_size, (self.width,) * self.depth, out_shape, key=key)


class Linear(AbstractArchitecture):
    """Affine encoder and decoder; ``width`` and ``depth`` are not used.

    With a diagonal Normal posterior and a Normal likelihood this is the linear variational autoencoder of Lucas et al.
    (2019), whose optimum is probabilistic PCA (Tipping & Bishop 1999) for one noise scale and factor analysis for one
    per column.
    """

    width: int = 0
    depth: int = 0

    def encoder(self, event_shape: tuple[int, ...], out_size: int, *, key: jax.Array) -> Perceptron:
        return Perceptron(math.prod(event_shape), (), (out_size,), key=key)

    def decoder(self, in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> Perceptron:
        return Perceptron(in_size, (), out_shape, key=key)
