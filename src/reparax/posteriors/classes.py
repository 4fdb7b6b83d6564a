"""Posteriors of a class and of numbers given the class."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.distributions.classes import ClassNormal as ClassNormalDistribution
from reparax.networks import Network
from reparax.networks.mlp import Perceptron
from reparax.parts import option
from reparax.posteriors._base import AbstractPosterior, LatentSpace, MakeEncoder, Posterior
from reparax.pytrees import soft_bound

LARGEST = 10.0
"""What the encoder says of an example is softly bounded to this size."""


class ClassNormal(AbstractPosterior):
    """q(y, u | x) = Categorical(y; softmax(logits(x))) N(u; m(x, y), diag(s(x, y)^2)); z = (y, u), y one-hot.

    Kingma et al. (2014), "Semi-supervised learning with deep generative models", equations 4 and 5 (M2). Expectations
    are exact in y, as the gradient engine enumerates the classes. Without labels the classes are clusters.

    Args:
        num_classes: The number of classes; for the semi-supervised objective, by default that of the labels.
        hidden_units: Units of the hidden layer from (x, y) to u, and the numbers that the encoder gives besides logits.
    """

    latent_space: ClassVar[LatentSpace] = "class and real"
    default_prior: ClassVar[str] = "uniform-class"
    has_density: ClassVar[bool] = True
    num_classes: int = option(10, low=1, high=1000)
    hidden_units: int = option(128, low=1, high=100_000)

    def create(self, make_encoder: MakeEncoder, latent_dim: int, *, key: jax.Array) -> "ClassNormalEncoder":
        one, two = jax.random.split(key)
        encoder = make_encoder(self.num_classes + self.hidden_units, key=one)
        width = self.hidden_units
        given = Perceptron(self.num_classes + width, (width,), (2, latent_dim), key=two)
        return ClassNormalEncoder(
            part=self, network=encoder, of_class=given, latent_shape=(self.num_classes + latent_dim,)
        )


class ClassNormalEncoder(Posterior):
    """The weights of `ClassNormal`.

    Args:
        part: The posterior's options.
        network: The encoder: the logits, and what the second network gets to know of the example.
        of_class: From that and a class to mean and log standard deviation of u.
        latent_shape: The shape of one z.
    """

    part: AbstractPosterior
    network: Network
    of_class: Network
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        assert isinstance(self.part, ClassNormal)
        return self.part.num_classes

    def __call__(self, x: Float[Array, "*event"]) -> ClassNormalDistribution:
        logits, seen = jnp.split(self.network(x), (self.num_classes,))
        seen = soft_bound(seen, -LARGEST, LARGEST)

        def moments(y: Float[Array, " k"]) -> Float[Array, "2 d"]:
            return self.of_class(jnp.concatenate([y, seen]))

        of_classes = jax.vmap(moments)(jnp.eye(self.num_classes))
        scale = jnp.exp(soft_bound(of_classes[:, 1], -6.0, 4.0))
        return ClassNormalDistribution(soft_bound(logits, -30.0, 30.0), of_classes[:, 0], scale)
