"""One affine map and no hidden layer: with a Normal likelihood, probabilistic PCA and factor analysis."""

import math

import jax

from reparax.networks._base import AbstractArchitecture
from reparax.networks.mlp import Perceptron


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
